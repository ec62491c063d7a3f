"""Versions compared, ranges of them, and which installed one a range is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import RuntimeFault
from runtime.jobs.job_file import parse_jobs
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Capabilities
from runtime.store.versions import fits, is_range, newest

RISING = ["0.9", "1-alpha", "1-rc.2", "1-rc.10", "1", "1.2-rc1", "1.2", "1.2.1", "1.9", "1.10", "2-dev", "2.0", "10"]


def test_versions_rise_as_people_expect() -> None:
    shuffled = RISING[:]
    random.Random(1).shuffle(shuffled)
    for place, version in enumerate(RISING):
        below = [one for one in shuffled if fits(one, f"<{version}")]
        assert sorted(below, key=RISING.index) == RISING[:place]
    assert newest(shuffled, ">0") == "10"
    assert fits("1.2.0+build.7", "==1.2")
    assert not fits("1.2", "!=1.2.0")


@pytest.mark.parametrize(
    ("wanted", "expected"), [(">=1.2,<2", "2-dev"), (">=1.2,<2-0", "1.10"), (">1.10,<2-0", ""), ("<=1", "1")]
)
def test_the_newest_in_a_range(wanted: str, expected: str) -> None:
    assert is_range(wanted)
    assert newest(RISING, wanted) == expected


@given(st.from_regex(r"\A[0-9A-Za-z][0-9A-Za-z.+-]{0,31}\Z"), st.from_regex(r"\A[0-9A-Za-z][0-9A-Za-z.+-]{0,31}\Z"))
def test_any_two_versions_are_in_one_order(one: str, other: str) -> None:
    assert [fits(one, f"{rule}{other}") for rule in ("<", "==", ">")].count(True) == 1
    assert fits(one, f"<{other}") == fits(other, f">{one}")
    assert not is_range(one)


def test_a_job_of_a_range_waits_for_a_car_that_has_one() -> None:
    spec = parse_jobs({"desktop": "unix:/d", "instruction": "x", "model": "reader@>=1.2,<2"}, where="flags")[0]
    assert not Capabilities(versions={}).can_do(spec)
    assert not Capabilities(versions={"reader": ("1.1", "2.0"), "other": ("1.3",)}).can_do(spec)
    assert Capabilities(versions={"reader": ("1.1", "1.3")}).can_do(spec)
    assert Capabilities().can_do(spec)
    assert Capabilities(versions={}).can_do(JobSpec(desktop="unix:/d", instruction="x", model="reader"))
    assert JobSpec.decode(spec.encode()) == spec


@pytest.mark.parametrize("model", ["reader@>=", "reader@>=1,", "reader@~1", "reader@1,<2", "@>=1", "reader@>=1 "])
def test_a_range_that_is_none_is_refused(model: str) -> None:
    with pytest.raises(RuntimeFault, match=r"model must be a bundle: name, name@version or name@>=1\.2,<2"):
        parse_jobs({"desktop": "unix:/d", "instruction": "x", "model": model}, where="flags")
