"""Drawing tokens: what each setting keeps, and that (seed, position) alone fix the draw."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.lm import _lm

LOGITS = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625], np.float32))


def draws(
    logits: np.ndarray,
    count: int = 4000,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> np.ndarray:
    scratch = np.empty(2 * len(logits), np.float32)
    found = [_lm.sample(logits, scratch, temperature, top_k, top_p, min_p, 7, at) for at in range(count)]
    return np.bincount(found, minlength=len(logits)) / count


def test_frequencies_follow_the_probabilities() -> None:
    np.testing.assert_allclose(draws(LOGITS), np.exp(LOGITS), atol=0.03)


def test_temperature_sharpens() -> None:
    sharp = np.exp(LOGITS * 2)
    np.testing.assert_allclose(draws(LOGITS, temperature=0.5), sharp / sharp.sum(), atol=0.03)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 2}, [0, 1]),
        ({"top_k": 1}, [0]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.7}, [0, 1]),
        ({"top_p": 0.76}, [0, 1, 2]),
        ({"top_p": 0.01}, [0]),
        ({"min_p": 0.2}, [0, 1, 2]),
        ({"min_p": 1.0}, [0]),
        ({"top_k": 3, "top_p": 0.85}, [0, 1]),  # of the three best's weight, two have 0.857
        ({"top_k": 3, "min_p": 0.3}, [0, 1]),
    ],
)
def test_what_is_kept(options: dict[str, float], kept: list[int]) -> None:
    shuffled = np.array([3, 0, 4, 1, 2])
    logits = np.empty(5, np.float32)
    logits[shuffled] = LOGITS
    found = draws(logits, **options)  # type: ignore[arg-type]
    assert sorted(np.flatnonzero(found)) == sorted(shuffled[kept])


def test_large_vocabularies_keep_the_best() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=49152).astype(np.float32) * 3
    order = np.argsort(-logits)
    found = draws(logits, 300, top_k=40)
    assert set(np.flatnonzero(found)) <= set(order[:40])
    p = np.exp(logits[order].astype(np.float64))
    nucleus = int(np.searchsorted(np.cumsum(p / p.sum()), 0.5)) + 1
    assert set(np.flatnonzero(draws(logits, 300, top_p=0.5))) <= set(order[: nucleus + 1])


def test_the_same_seed_and_position_draw_the_same() -> None:
    rng = np.random.default_rng(1)
    logits, scratch = rng.normal(size=300).astype(np.float32), np.empty(600, np.float32)
    one = [_lm.sample(logits, scratch, 1.0, 0, 1.0, 0.0, 5, at) for at in range(50)]
    assert one == [_lm.sample(logits, scratch, 1.0, 0, 1.0, 0.0, 5, at) for at in range(50)]
    assert one != [_lm.sample(logits, scratch, 1.0, 0, 1.0, 0.0, 6, at) for at in range(50)]


def test_greedy_takes_the_lowest_of_equals_and_bears_nan() -> None:
    logits = np.array([1, 3, 3, 2] * 40, np.float32)
    assert _lm.argmax(logits) == 1
    logits[1] = np.nan
    assert _lm.argmax(logits) == 2
    assert _lm.argmax(np.full(5, np.nan, np.float32)) == 0
    scratch = np.empty(10, np.float32)
    for bad in (np.nan, -np.inf, np.inf):
        drawn = _lm.sample(np.full(5, bad, np.float32), scratch, 1.0, 3, 0.9, 0.1, 1, 1)
        assert 0 <= drawn < 5
