"""The short form of the sessions under fire; the long one is `python -m tests.faults.sessions`."""

from __future__ import annotations

import pytest

from tests.faults.sessions import run


@pytest.mark.desktop
@pytest.mark.parametrize("seed", [3])
def test_nothing_is_doubled_stale_held_or_lost(seed: int) -> None:
    report = run(seed, 300)
    assert report.is_clean(), report
    assert report.outcomes["applied"] > 200
