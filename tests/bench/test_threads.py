"""The median's interval that `bench threads` reports."""

from __future__ import annotations

import random

import pytest

from bench.threads import median_interval


def test_it_is_the_order_statistics_of_a_table() -> None:
    # 95 % intervals of the median: ranks 2 and 9 of 10, 6 and 15 of 20 (Conover, Practical Nonparametric Statistics)
    assert median_interval([float(i) for i in range(1, 11)]) == (2.0, 9.0)
    assert median_interval([float(i) for i in range(1, 21)]) == (6.0, 15.0)


@pytest.mark.parametrize("count", [9, 30])
def test_it_holds_the_median_19_times_of_20(count: int) -> None:
    rng = random.Random(7)
    held = 0
    for _ in range(2000):
        low, high = median_interval([rng.gauss(0, 1) for _ in range(count)])
        held += low <= 0 <= high
    assert held >= 0.94 * 2000
