"""Which sessions a worker may promise: a model of the device, and a test that holds for all of them together.

A session asks for one decision every `period_ms`, each within `deadline_ms`. It is admitted to one lane (a core) if
afterwards every promise on that lane still holds, and refused with the reason otherwise. Runs are scheduled earliest
deadline first and not interrupted by one another, so for every interval t that begins when a lane is busy:

    demand(t) + blocking(t)  <=  supply(t)

    demand(t)    the cost of all decisions that are released and due within t    (Baruah, Rosier, Howell 1990)
    blocking(t)  the longest run that is due later and was just begun            (Jeffay, Stanat, Martel 1991)
    supply(t)    duty * (t - the part of a 100 ms window that may not be worked) (Shin and Lee 2003, linear bound)

Besides, all lanes share the memory: what they read in a second must stay below its bandwidth.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar

from runtime.errors import RuntimeFault

DUTY_WINDOW_MS = 100.0
HEADROOM = 0.9  # of what was measured: the rest is for the system, and for what a model does not say
_LONGEST_MS = 1e6


class AdmissionRefused(RuntimeFault):
    """One more session would break the promises that were made to those that run."""

    next_step: ClassVar[str] = "wait until one ends, ask for slower decisions, or use a smaller variant"


@dataclass(frozen=True)
class Device:
    """What `calibrate` (calibration.py) measured: memory read by all lanes together, and int8 work of one."""

    lanes: int
    read_GBps: float
    int8_GOPs: float


@dataclass(frozen=True)
class Demand:
    """What a session asks for. `bytes_read` and `operations` (a multiply-add is two) are of one decision.

    `measured_ms` is the cost of one decision on an idle lane where that is known; the device's model is used where not.
    """

    period_ms: float
    deadline_ms: float
    bytes_read: int
    operations: int
    measured_ms: float = 0.0

    def __post_init__(self) -> None:
        if not (self.deadline_ms > 0 and self.period_ms > 0 and self.bytes_read >= 0 and self.operations >= 0):
            raise ValueError(f"no session can ask for {self}")

    def cost_ms(self, device: Device) -> float:
        """Returns the time of one decision: what was measured, or the longer of reading and computing."""
        reading_ms = self.bytes_read / device.read_GBps / 1e6
        computing_ms = self.operations / device.int8_GOPs / 1e6
        return self.measured_ms or max(reading_ms, computing_ms)


@dataclass
class Admission:
    """The sessions that were promised something. `duty` is the gate's share of each window, 0 to 1.

    `takes_first`: a session that has all lanes to itself is taken, and the last one kept, whatever it needs: it is as
    quick as it can be, and breaks no promise but its own.
    """

    device: Device
    duty: float = 1.0
    takes_first: bool = False
    lanes: int = field(init=False)  # how many may compute; the gate may allow fewer than there are
    _lanes: list[dict[str, Demand]] = field(init=False)

    def __post_init__(self) -> None:
        self._lanes = [{} for _ in range(self.device.lanes)]
        self.lanes = self.device.lanes

    @property
    def sessions(self) -> int:
        """How many sessions are admitted."""
        return sum(map(len, self._lanes))

    def admit(self, session: str, demand: Demand, prefer: Collection[int] = ()) -> int:
        """Promises `demand` to `session`; returns its lane: the fullest that it fits, those of `prefer` first.

        `prefer` are lanes that have its models already. Raises AdmissionRefused: why.
        """
        if any(session in lane for lane in self._lanes):
            raise ValueError(f"session {session!r} is admitted already")
        by_load = sorted(range(self.lanes), key=lambda lane: (lane not in prefer, -self._load(lane)))
        if self.takes_first and not self.sessions:
            self._lanes[by_load[0]][session] = demand
            return by_load[0]
        self._check_memory(demand)
        reasons = []
        for lane in by_load:
            reason = self._why_not([*self._lanes[lane].values(), demand])
            if reason is None:
                self._lanes[lane][session] = demand
                return lane
            reasons.append(reason)
        raise AdmissionRefused(f"{self.sessions} sessions are promised: {reasons[-1]}")

    def leave(self, session: str) -> None:
        """Takes a promise back; an unknown session is none."""
        for lane in self._lanes:
            lane.pop(session, None)

    def update(self, session: str, demand: Demand) -> None:
        """What a session was promised turns out to cost something else; counts from the next `admit` on."""
        for lane in self._lanes:
            if session in lane:
                lane[session] = demand

    def lane_of(self, session: str) -> int:
        """Returns where an admitted session computes now; `broken` may move it."""
        return next(number for number, lane in enumerate(self._lanes) if session in lane)

    def broken(self, duty: float, lanes: int | None = None) -> dict[str, str]:
        """Returns the sessions that must go, and why, if the gate's duty becomes `duty` and only `lanes` may compute.

        The last admitted of each lane go first. What computed on a lane that is gone moves to another where it fits.
        """
        gone: dict[str, str] = {}
        self.duty = duty
        self.lanes = len(self._lanes) if lanes is None else min(lanes, len(self._lanes))
        homeless = {session: demand for lane in self._lanes[self.lanes :] for session, demand in lane.items()}
        for lane in self._lanes[self.lanes :]:
            lane.clear()
        for lane in self._lanes[: self.lanes]:
            while lane and (reason := self._why_not(list(lane.values()))) is not None:
                if self.takes_first and self.sessions == 1:
                    break
                session, _ = lane.popitem()
                gone[session] = reason
        for session, demand in homeless.items():
            try:
                self.admit(session, demand)
            except AdmissionRefused as error:
                gone[session] = error.message
        return gone

    def _load(self, lane: int) -> float:
        return sum(demand.cost_ms(self.device) / demand.period_ms for demand in self._lanes[lane].values())

    def _check_memory(self, demand: Demand) -> None:
        demands = [demand, *(each for lane in self._lanes for each in lane.values())]
        wanted_GBps = sum(each.bytes_read / each.period_ms / 1e6 for each in demands)
        have_GBps = self.device.read_GBps * HEADROOM * self.duty
        if wanted_GBps > have_GBps:
            raise AdmissionRefused(
                f"{self.sessions} sessions are promised: one more would read {wanted_GBps:.2f} GB/s in all, "
                f"{have_GBps:.2f} of the measured {self.device.read_GBps:.2f} may be used"
            )

    def _why_not(self, demands: list[Demand]) -> str | None:
        """Returns why these cannot share a lane, None if they can."""
        speed = self.duty * HEADROOM
        tasks = [(demand.cost_ms(self.device), demand.period_ms, demand.deadline_ms) for demand in demands]
        load = sum(cost / period for cost, period, _ in tasks)
        if load > speed - 1e-9:
            return f"a lane would be busy for {load:.0%} of the time, {speed:.0%} may be used"
        dark_ms = (1 - self.duty) * DUTY_WINDOW_MS
        longest = max(cost for cost, _, _ in tasks)
        # Beyond this interval the load alone says that it holds (the bound of Baruah et al., with supply and blocking).
        slack = sum(max(0.0, period - deadline) * cost / period for cost, period, deadline in tasks)
        end_ms = min(max((slack + longest + speed * dark_ms) / (speed - load), *(d for _, _, d in tasks)), _LONGEST_MS)
        for t in sorted(_deadlines(tasks, end_ms)):
            demand_ms = sum(
                int((t - deadline) // period + 1) * cost for cost, period, deadline in tasks if deadline <= t
            )
            blocking_ms = max((cost for cost, _, deadline in tasks if deadline > t), default=0.0)
            supply_ms = speed * (t - dark_ms)
            if demand_ms + blocking_ms > supply_ms + 1e-9:
                return (
                    f"within {t:.0f} ms a lane would have to work {demand_ms + blocking_ms:.1f} ms, "
                    f"{max(0.0, supply_ms):.1f} may be used"
                )
        return None


def _deadlines(tasks: list[tuple[float, float, float]], end_ms: float) -> set[float]:
    """Returns every moment up to `end_ms` at which a decision is due, if all sessions begin at once."""
    found = set()
    for _, period, deadline in tasks:
        t = deadline
        while t <= end_ms:
            found.add(t)
            t += period
    return found
