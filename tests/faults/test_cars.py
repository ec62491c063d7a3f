"""The short form of a whole car under fire; the long one is `python -m tests.faults.cars`."""

from __future__ import annotations

import pytest

from tests.faults.cars import BOXES, run


@pytest.mark.desktop
def test_a_job_is_done_once_and_counted_right_whoever_is_killed_in_it() -> None:
    report = run(11, 1)
    assert report.is_clean(), report
    assert report.clicks == BOXES
