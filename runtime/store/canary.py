"""A canary: a version of a model for a share of the jobs, judged while it works, and withdrawn when worse. Pure.

    start ─► jobs, each on its side by a hash of its name ─► tell(side, how it went) ─► judge
                 running ──► worse: the canary gets no job more      running ──► good: it may be made the active one

Three measures, each compared as canary against stable: the share of jobs done, the logarithm of the seconds an action,
and of the joules an action. The verdict may be asked after every job without being wrong more often for it: the bounds
hold at all times at once (asymptotic confidence sequences with a normal mixture, Waudby-Smith et al., "Time-uniform
central limit theory and asymptotic confidence sequences", 2021, theorem 2.2; Robbins 1970).
"""

from __future__ import annotations

import hashlib
import math
from typing import Annotated

import msgspec
from msgspec import Meta

from runtime.store.manifest import NAME, VERSION

ALPHA = 0.01  # of all canaries that are as good as the stable version, so many are withdrawn at most, for each measure
FEWEST = 20  # jobs on each side before anything is said: the bounds are asymptotic
_TUNED_FOR = 200.0  # jobs a side at which the bound is tightest

STABLE, CANARY = "stable", "canary"
_Version = Annotated[str, Meta(pattern=VERSION)]


class Sums(msgspec.Struct):
    """Mean and spread of what was told, by Welford's sums."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)

    @property
    def variance(self) -> float:
        return self.squares / (self.count - 1) if self.count > 1 else math.nan


class Side(msgspec.Struct):
    """What one version did: `done` is 1 or 0 a job; the logarithms are of jobs that were done with an action."""

    done: Sums = msgspec.field(default_factory=Sums)
    log_s: Sums = msgspec.field(default_factory=Sums)
    log_joules: Sums = msgspec.field(default_factory=Sums)


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much worse is worse: `success_drop` of the share of jobs done, the others as a ratio."""

    success_drop: Annotated[float, Meta(ge=0, le=1)] = 0.02
    seconds_ratio: Annotated[float, Meta(ge=1, le=100)] = 1.10
    joules_ratio: Annotated[float, Meta(ge=1, le=100)] = 1.10


class Trial(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One canary. `ended` is empty while it runs, else why it does not."""

    format: Annotated[int, Meta(ge=1, le=1)] = 1
    name: Annotated[str, Meta(pattern=NAME)]
    stable: _Version
    canary: _Version
    share_permille: Annotated[int, Meta(ge=1, le=999)]
    limits: Limits = Limits()
    began_ns: int = 0
    sides: dict[str, Side] = msgspec.field(default_factory=lambda: {STABLE: Side(), CANARY: Side()})
    ended: str = ""

    def side_of(self, job: str) -> str:
        """Returns the side of a job: the same on every car and at every try."""
        digest = hashlib.sha256(f"{self.name} {self.canary} {job}".encode()).digest()
        return CANARY if int.from_bytes(digest[:8], "big") % 1000 < self.share_permille else STABLE

    def version_of(self, job: str) -> str:
        """Returns the version that a job is given; the stable one for all once the trial has ended."""
        return self.canary if not self.ended and self.side_of(job) == CANARY else self.stable

    def tell(self, side: str, *, is_done: bool, actions: int, seconds: float, joules: float) -> None:
        """Counts a job that ended on `side`."""
        kept = self.sides[side]
        kept.done.add(float(is_done))
        if is_done and actions > 0 and seconds > 0:
            kept.log_s.add(math.log(seconds / actions))
            if joules > 0:
                kept.log_joules.add(math.log(joules / actions))


class Measure(msgspec.Struct, frozen=True):
    """One comparison. `harm` is how much worse the canary is, between `low` and `high`; worse is above `limit`."""

    name: str
    stable: float
    canary: float
    harm: float
    low: float
    high: float
    limit: float

    @property
    def is_worse(self) -> bool:
        return self.low > self.limit

    @property
    def is_good(self) -> bool:
        return self.high < self.limit


class Verdict(msgspec.Struct, frozen=True):
    """`state` is running, worse or good. `why` names what decided, or how many jobs are missing."""

    state: str
    why: str
    measures: tuple[Measure, ...]


def judge(trial: Trial) -> Verdict:
    """Returns what can be said by now."""
    stable, canary, limits = trial.sides[STABLE], trial.sides[CANARY], trial.limits
    measures = (
        _compare("jobs done", _smoothed(stable.done), _smoothed(canary.done), limits.success_drop, sign=-1),
        _compare("seconds an action", stable.log_s, canary.log_s, math.log(limits.seconds_ratio)),
        _compare("joules an action", stable.log_joules, canary.log_joules, math.log(limits.joules_ratio)),
    )
    known = tuple(measure for measure in measures if measure is not None)
    for measure in known:
        if measure.is_worse:
            return Verdict("worse", _told(measure), known)
    missing = FEWEST - min(stable.done.count, canary.done.count)
    if missing > 0:
        return Verdict("running", f"{missing} more jobs are needed on a side before anything can be said", known)
    if len(known) == len(measures) and all(measure.is_good for measure in known):
        return Verdict("good", "in no measure worse than the limits allow", known)
    open_ = ", ".join(measure.name for measure in known if not measure.is_good) or "nothing is measured"
    return Verdict("running", f"still open: {open_}", known)


def _smoothed(done: Sums) -> Sums:
    """Two made-up jobs, one done and one not: where none has failed yet, the spread is not taken for zero."""
    count = done.count + 2
    mean = (done.mean * done.count + 1) / count
    return Sums(done.count, mean, mean * (1 - mean) * max(0, done.count - 1))


def _compare(name: str, stable: Sums, canary: Sums, limit: float, sign: int = 1) -> Measure | None:
    if min(stable.count, canary.count) < FEWEST:
        return None
    harm = sign * (canary.mean - stable.mean)
    spread = stable.variance / stable.count + canary.variance / canary.count
    smaller = stable.count * canary.count / (stable.count + canary.count)
    radius = math.sqrt(spread) * _times(smaller)
    return Measure(name, stable.mean, canary.mean, harm, harm - radius, harm + radius, limit)


def _times(count: float) -> float:
    """Returns how many standard errors wide the bound is after `count` jobs, at any time with error ALPHA."""
    rho2 = _RHO2
    return math.sqrt((count * rho2 + 1) / (count * rho2) * 2 * math.log(math.sqrt(count * rho2 + 1) / ALPHA))


# The mixture's width that makes the bound tightest at _TUNED_FOR jobs (the same paper, section 3.5, its approximation).
_RHO2 = (-2 * math.log(ALPHA) + math.log(-2 * math.log(ALPHA) + 1)) / _TUNED_FOR


def _told(measure: Measure) -> str:
    if measure.name == "jobs done":
        return f"{measure.name}: {100 * measure.canary:.1f} % against {100 * measure.stable:.1f} %"
    more = 100 * (math.exp(measure.harm) - 1)
    return f"{measure.name}: {math.exp(measure.canary):.3g} against {math.exp(measure.stable):.3g}, {more:+.0f} %"
