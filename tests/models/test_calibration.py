"""How sure an agent may be believed: bins, the distance from the truth, and where it had better ask."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.agent.deeds import Memory, keys_of
from runtime.agent.elements import Element
from runtime.agent.features import look_of
from runtime.agent.geometry import Box

torch = pytest.importorskip("torch", reason="needs torch: make train-smoke")

from models.screen_agent.calibration import (  # noqa: E402
    FEWEST,
    RIGHT_AT_MOST,
    Point,
    ask_below,
    calibration_error,
    elements_in,
    reliability,
    spelled_out,
)

WHITE = (255, 255, 255)


def points(confidence: float, right: int, wrong: int) -> list[Point]:
    return [Point(confidence, number < right) for number in range(right + wrong)]


def test_a_bin_says_how_many_and_how_often_right() -> None:
    rows = reliability([*points(0.95, 19, 1), *points(1.0, 1, 0), *points(0.15, 1, 3)])
    assert [(row["from"], row["steps"], row["right"]) for row in rows] == [
        (0.1, 4, 0.25),
        (0.9, 21, pytest.approx(0.952)),
    ]
    assert spelled_out(rows).startswith("0.1-0.2: 0.25 of 4, 0.9-1.0:")


def test_who_is_right_as_often_as_he_is_sure_has_no_error() -> None:
    assert calibration_error([*points(0.75, 75, 25), *points(0.25, 25, 75)]) == pytest.approx(0, abs=1e-6)
    assert calibration_error(points(0.95, 0, 50)) == pytest.approx(0.95)
    assert calibration_error([]) == 0


def test_it_asks_where_it_is_mostly_wrong_and_nowhere_else() -> None:
    rng = np.random.default_rng(1)
    sure = rng.random(4000)
    threshold = ask_below([Point(float(one), bool(rng.random() < one)) for one in sure])
    assert 2 * RIGHT_AT_MOST * 0.7 < threshold < 2 * RIGHT_AT_MOST * 1.3, "below t a calibrated one is right t/2 times"
    assert ask_below(points(0.9, 900, 100)) == 0
    assert ask_below(points(0.1, 0, FEWEST - 1)) == 0, "too few to say so"


def test_a_look_gives_back_kinds_boxes_and_which_texts_are_the_same() -> None:
    pixels = np.full((60, 200, 4), 255, dtype=np.uint8)
    elements = [
        Element("button", Box(10, 5, 60, 20), "Send", 1.0, WHITE, WHITE),
        Element("line", Box(80, 10, 40, 10), "Send", 1.0, WHITE, WHITE),
        Element("shape", Box(130, 5, 20, 20), "", 0.0, WHITE, WHITE),
    ]
    found = elements_in(look_of(pixels, elements, "Send it", Memory(), keys_of(pixels, elements)))
    assert [(one.kind, one.box) for one in found] == [(one.kind, one.box) for one in elements]
    assert found[0].text == found[1].text != ""
    assert found[2].text == ""
