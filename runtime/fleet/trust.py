"""How far a car is trusted, as functions of what it told: nothing here sends, keeps or draws anything.

    new ── ten valid in a row ──► checked with probability 1/n of the n valid in a row    (BOINC's rule)
     ▲                                 │
     └── released by an operator ◄── quarantined ◄── one failure, at any time

A car is compared with another by the accounts of their decisions (runtime.jobs.account): asked the same, an agent must
say the same. What only one of the two was asked says nothing. Where two differ a third is asked, and outvotes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

NEW_BELOW = 10  # valid in a row
LEAST_SHARE = 0.5  # of a car's decisions that the other was asked too, for a check to count
VERSION = 1
Accounts = Mapping[str, str]  # what was asked -> what was said


class Standing(msgspec.Struct, array_like=True, frozen=True):
    """One car. `valid` in a row since its last failure or release; `undecided` checks had no verdict.

    `quarantined` says why, empty: it is not.
    """

    version: int
    car: str
    valid: int = 0
    failures: int = 0
    undecided: int = 0
    quarantined: str = ""
    changed_ns: int = 0

    @property
    def is_new(self) -> bool:
        return self.valid < NEW_BELOW

    @property
    def check_rate(self) -> float:
        """The share of its jobs that is checked where the job asks for no more."""
        return 1.0 if self.is_new else 1 / self.valid


class Finding(str, Enum):
    """What comparing two cars has shown."""

    same = "same"
    differ = "differ"
    unknown = "unknown"


def must_check(standing: Standing, rate: float, coin: float) -> bool:
    """Returns whether a job is checked: `rate` is what the job asks for at least, `coin` is drawn from [0, 1)."""
    return coin < max(rate, standing.check_rate)


def judge(first: Accounts, again: Accounts, actions: int) -> Finding:
    """Compares the car that did `actions` with the one that did the job again.

    Who tells fewer decisions than it acted, or was mostly asked something else, is not found to be right.
    """
    common = first.keys() & again.keys()
    if disputed(first, again):
        return Finding.differ
    is_told = len(first) >= max(actions, 1)
    return Finding.same if is_told and len(common) >= LEAST_SHARE * len(first) else Finding.unknown


def disputed(first: Accounts, again: Accounts) -> set[str]:
    """Returns what both were asked and answered differently."""
    return {asked for asked in first.keys() & again.keys() if first[asked] != again[asked]}


def outvoted(first: Accounts, again: Accounts, third: Accounts) -> int | None:
    """Returns which of the first two the third contradicts: 0, 1, or None where it does not settle the dispute.

    It must side with the same one on all that they dispute and it was asked, and contradict that one nowhere else.
    """
    asked = disputed(first, again) & third.keys()
    if not asked:
        return None
    for number, (wrong, right) in enumerate(((first, again), (again, first))):
        if all(third[each] == right[each] for each in asked) and not disputed(right, third):
            assert disputed(wrong, third)
            return number
    return None


def add(accounts: dict[str, str], asked: str, said: str) -> None:
    """Takes one account in. Who says two things to the same question has said neither."""
    known = accounts.setdefault(asked, said)
    if known != said:
        accounts[asked] = "two answers"


def passed(standing: Standing, now_ns: int) -> Standing:
    return msgspec.structs.replace(standing, valid=standing.valid + 1, changed_ns=now_ns)


def failed(standing: Standing, why: str, now_ns: int) -> Standing:
    return msgspec.structs.replace(
        standing, valid=0, failures=standing.failures + 1, quarantined=why, changed_ns=now_ns
    )


def left_open(standing: Standing, now_ns: int) -> Standing:
    return msgspec.structs.replace(standing, undecided=standing.undecided + 1, changed_ns=now_ns)


def released(standing: Standing, now_ns: int) -> Standing:
    """Returns the car as a new one that has failed before."""
    return msgspec.structs.replace(standing, valid=0, quarantined="", changed_ns=now_ns)
