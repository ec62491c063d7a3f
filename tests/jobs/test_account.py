"""Two digests of a decision: everything that it was made of counts, and nothing else."""

from __future__ import annotations

import numpy as np

from runtime.agent.protocol import Decision
from runtime.desktop.frame import Frame
from runtime.jobs.account import account_of
from runtime.wire.actions import Click

CLICK = Decision(Click(3, 4), b"after", 1.0)


def frame(pixels: np.ndarray, frame_id: int = 1) -> Frame:
    tiles = (1, 1)
    return Frame(frame_id, pixels, np.ones(tiles, np.bool_), np.zeros((*tiles, 16), np.uint8), frame_id, frame_id)


def test_what_was_asked_is_the_pixels_the_instruction_and_the_state() -> None:
    pixels = np.arange(6 * 5 * 4, dtype=np.uint8).reshape(6, 5, 4)
    known = account_of(frame(pixels), "do it", b"before", CLICK)
    padded = pixels.copy()
    padded[..., 3] = 255
    assert account_of(frame(padded, 99), "do it", b"before", CLICK) == known, "neither times nor the fourth byte"
    for channel in range(3):
        other = pixels.copy()
        other[5, 4, channel] ^= 1
        assert account_of(frame(other), "do it", b"before", CLICK).asked != known.asked
    turned = pixels.reshape(5, 6, 4)
    asked = {
        known.asked,
        account_of(frame(turned), "do it", b"before", CLICK).asked,
        account_of(frame(pixels), "do it!", b"before", CLICK).asked,
        account_of(frame(pixels), "do it", b"", CLICK).asked,
    }
    asked.add(account_of(frame(pixels), "do it", b"before", CLICK, b"b" * 32).asked)
    assert len(asked) == 5


def test_what_was_said_is_the_action_and_the_state_after_it() -> None:
    view = frame(np.zeros((6, 5, 4), np.uint8))
    said = [
        account_of(view, "do it", b"", decided).said
        for decided in (CLICK, Decision(Click(3, 5), b"after", 1.0), Decision(Click(3, 4), b"", 1.0))
    ]
    assert len(set(said)) == 3
    assert account_of(view, "do it", b"", Decision(Click(3, 4), b"after", 0.1, (0, 0, 1, 1))).said == said[0]
