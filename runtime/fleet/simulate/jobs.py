"""Jobs on windows: who takes what when, who is cut off by a driver and goes on elsewhere, and when each job is done.

    arrivals ──► fresh queue (oldest first) ─┐
    cut off  ──► returned, goes before ──────┴─► waiting cars (who waited longest first) ──► run ──► done, or cut off

The queue is looked at every `step_s`, but times are exact: a run begins when both its job and its car are there, and
ends when its work is done or its car's window closes. A job that was cut off waits `handover_s` (or, where the car went
away without a word, `lease_s`) and loses `resume_s` of work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Handover:
    """What a change of car costs. `silent` is the share of closings without a word: a crash, a lost network."""

    handover_s: float = 0.02
    resume_s: float = 1.0
    silent: float = 0.002
    lease_s: float = 10.0


@dataclass(frozen=True)
class Outcome:
    """What became of the jobs, in the order of their arrival; NaN where a job was not done by the end.

    `busy_s` is the time that each window worked. `running` and `queued` are counted at every step's end, `starts`,
    `yields` and `ends` within it.
    """

    done_at: Times
    first_start: Times
    yields: npt.NDArray[np.int32]
    busy_s: Times
    running: Indices
    queued: Indices
    starts: Indices
    cut: Indices
    ends: Indices


class Waiting:
    """The windows that wait for a job, longest first: a ring in which each window is at most once."""

    def __init__(self, windows: int) -> None:
        self._ring = np.zeros(windows + 1, np.int64)
        self._head = self._tail = 0

    def __len__(self) -> int:
        return self._tail - self._head

    def push(self, windows: Indices) -> None:
        self._ring[(self._tail + np.arange(len(windows))) % len(self._ring)] = windows
        self._tail += len(windows)

    def pop(self, count: int) -> Indices:
        count = min(count, len(self))
        found: Indices = self._ring[(self._head + np.arange(count)) % len(self._ring)]
        self._head += count
        return found


class _State:
    """Everything that changes during the day; one method a step's phase."""

    def __init__(
        self, start: Times, end: Times, arrival: Times, work_s: Times, change: Handover, rng: np.random.Generator
    ) -> None:
        self.end, self.arrival, self.change, self.rng = end, arrival, change, rng
        self.free_since = start.copy()
        self.left_s = work_s.copy()
        self.done_at = np.full(len(arrival), np.nan)
        self.first_start = np.full(len(arrival), np.nan)
        self.yields = np.zeros(len(arrival), np.int32)
        self.busy_s = np.zeros(len(start))
        self.waiting = Waiting(len(start))
        self.fresh_head = self.fresh_tail = 0
        self.returned: Indices = np.zeros(0, np.int64)
        self.ready: Times = np.zeros(0)
        self.jobs: Indices = np.zeros(0, np.int64)  # under way, with their windows, begin and end
        self.windows: Indices = np.zeros(0, np.int64)
        self.run_start: Times = np.zeros(0)
        self.run_end: Times = np.zeros(0)

    def end_runs(self, until: float) -> tuple[int, int]:
        """Ends what ends before `until`; returns how many runs were cut off and how many jobs are done."""
        over = self.run_end < until
        if not over.any():
            return 0, 0
        jobs, windows, at = self.jobs[over], self.windows[over], self.run_end[over]
        ran_s = at - self.run_start[over]
        keep = ~over
        self.jobs, self.windows = self.jobs[keep], self.windows[keep]
        self.run_start, self.run_end = self.run_start[keep], self.run_end[keep]
        self.busy_s[windows] += ran_s
        self.free_since[windows] = at
        self.left_s[jobs] -= ran_s
        is_done = self.left_s[jobs] <= 1e-6
        self.done_at[jobs[is_done]] = at[is_done]
        open_still = is_done & (self.end[windows] > until)
        self.waiting.push(windows[open_still][np.argsort(at[open_still], kind="stable")])
        self._return(jobs[~is_done], at[~is_done])
        return int((~is_done).sum()), int(is_done.sum())

    def _return(self, jobs: Indices, at: Times) -> None:
        self.yields[jobs] += 1
        self.left_s[jobs] += self.change.resume_s
        is_silent = self.rng.random(len(jobs)) < self.change.silent
        ready = at + np.where(is_silent, self.change.lease_s, self.change.handover_s)
        self.returned = np.concatenate([self.returned, jobs])
        self.ready = np.concatenate([self.ready, ready])

    def begin_runs(self, until: float) -> int:
        """Gives waiting jobs to waiting windows; returns how many runs began."""
        is_ready = self.ready < until
        fresh = self.fresh_tail - self.fresh_head
        wanted = int(is_ready.sum()) + fresh
        windows = self._open_windows(wanted, until)
        if not len(windows):
            return 0
        again = np.flatnonzero(is_ready)[: len(windows)]
        new = np.arange(self.fresh_head, self.fresh_head + len(windows) - len(again))
        self.fresh_head += len(new)
        jobs = np.concatenate([self.returned[again], new])
        there = np.concatenate([self.ready[again], self.arrival[new]])
        if len(again):
            stays = np.ones(len(self.returned), bool)
            stays[again] = False
            self.returned, self.ready = self.returned[stays], self.ready[stays]
        begin = np.maximum(there, self.free_since[windows])
        self.first_start[new] = begin[len(again) :]
        self.jobs = np.concatenate([self.jobs, jobs])
        self.windows = np.concatenate([self.windows, windows])
        self.run_start = np.concatenate([self.run_start, begin])
        self.run_end = np.concatenate([self.run_end, np.minimum(begin + self.left_s[jobs], self.end[windows])])
        return len(jobs)

    def _open_windows(self, count: int, until: float) -> Indices:
        """Returns at most `count` waiting windows that are open beyond this step; those that closed are forgotten."""
        found: list[Indices] = []
        while count and len(self.waiting):
            popped = self.waiting.pop(count)
            still = popped[self.end[popped] > until]
            found.append(still)
            count -= len(still)
        return np.concatenate(found) if found else np.zeros(0, np.int64)


def run_jobs(
    start: Times,
    end: Times,
    arrival: Times,
    work_s: Times,
    *,
    step_s: float,
    until_s: float,
    change: Handover,
    rng: np.random.Generator,
) -> Outcome:
    """Works jobs (by rising `arrival`) on windows (by rising `start`) until `until_s`; looks every `step_s`."""
    state = _State(start, end, arrival, work_s, change, rng)
    steps = int(np.ceil(until_s / step_s))
    edges = np.arange(1, steps + 1) * step_s
    opened, arrived = np.searchsorted(start, edges), np.searchsorted(arrival, edges)
    counts = np.zeros((5, steps), np.int64)
    at_window = 0
    for step in range(steps):
        until = float(edges[step])
        cut, done = state.end_runs(until)
        if opened[step] > at_window:
            state.waiting.push(np.arange(at_window, opened[step]))
            at_window = int(opened[step])
        state.fresh_tail = int(arrived[step])
        began = state.begin_runs(until)
        queued = state.fresh_tail - state.fresh_head + len(state.returned)
        counts[:, step] = len(state.jobs), queued, began, cut, done
    return Outcome(state.done_at, state.first_start, state.yields, state.busy_s, *counts)
