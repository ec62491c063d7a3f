"""What a worker computes, and when: sessions are admitted to lanes, each decision waits its turn and keeps to the duty.

    job ──admit──► Session ──submit(decide)──► its lane, earliest deadline first ──► models lent ──► decide ──► result
             │                                     (schedule.py)                (residency)   (at the gate's pace)
             │                                       └─ those of one agent and bundle meet at their models' runs
             │                                          (meeting.py), where that is known to cost less (company.py)
             └─► AdmissionRefused: it would break a promise that was made (admission.py), and says which

A session is promised one decision every `action_ms`, within `action_ms`. One that asks sooner is served when nobody
with a promise is waiting: its deadline counts from when it was due (the constant-bandwidth server of Abeni and
Buttazzo, 1998), so a quick session takes nothing from the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kernels.errors import IdlehandsError
from kernels.gate.word import GateReader, GateReading, GateToken, boottime_ns
from runtime.agent.assets import Assets, NoAssets
from runtime.agent.protocol import Agent, Preempted, make_agent
from runtime.backends.memory import rss_bytes
from runtime.backends.protocol import Gathering, Limits, Model
from runtime.config.config import Worker as WorkerSettings
from runtime.daemon.assets import BundleAssets
from runtime.daemon.calibrate import GAINS
from runtime.daemon.company import Company
from runtime.daemon.control import Computing, LoadedModel
from runtime.jobs.spec import JobSpec
from runtime.residency.admission import Admission, AdmissionRefused, Demand, Device
from runtime.residency.costs import Costs
from runtime.residency.lent import LentModel
from runtime.residency.meeting import Meeting
from runtime.residency.models import Residency, Resident
from runtime.residency.pace import Pacer
from runtime.residency.schedule import Punctuality, Scheduler
from runtime.residency.together import Gain, Gains, gain_key, measuring
from runtime.store.bundle import Bundle
from runtime.store.errors import StoreError

log = logging.getLogger("idlehands.worker")
FAR_NS = 3600 * 10**9  # the deadline of what may wait for everything else
CLOSED_LOOK_S = 0.005
_T = TypeVar("_T")


class Turn(NamedTuple):
    """One decision of a session, waiting."""

    session: Session
    decide: Callable[[], Any]
    is_measure: bool = False


class LentAssets(BundleAssets):
    """The parts of a bundle, its models lent by residency while a decision is made."""

    def __init__(self, bundle: Bundle, residency: Residency, priority: int) -> None:
        super().__init__(bundle, Limits())
        self._residency, self._priority = residency, priority
        self.models: dict[str, LentModel] = {}
        self.lane = 0

    def load(self, role: str) -> Model:
        with self._residency.use(self.bundle, role, priority=self._priority, lane=self.lane) as model:
            self.models[role] = LentModel(model)
        return self.models[role]

    @contextmanager
    def lent(self, pacer: Pacer, meeting: Meeting | None = None) -> Iterator[None]:
        """Has all models that were asked for in memory, and bound."""
        with ExitStack() as held:
            for role, lent in self.models.items():
                borrowed = self._residency.use(self.bundle, role, priority=self._priority, lane=self.lane)
                lent.bind(held.enter_context(borrowed), pacer, meeting)
                held.callback(lent.release)
            yield

    @property
    def bytes_read(self) -> int:
        """Weights that the last decision's runs read."""
        return sum(lent.bytes_read for lent in self.models.values())


class Session(Executor):
    """An admitted job: what its runner has its decisions made by, one at a time."""

    def __init__(self, lanes: Lanes, job: str, key: str, period_ms: float, assets: LentAssets | None) -> None:
        self._lanes = lanes
        self.job, self.key, self.period_ms, self.assets = job, key, period_ms, assets
        self._lane = self._released_ns = 0

    @property
    def lane(self) -> int:
        """Where its decisions are made, from the next one on."""
        return self._lane

    @lane.setter
    def lane(self, lane: int) -> None:
        self._lane = lane
        if self.assets is not None:
            self.assets.lane = lane

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Waits for the session's turn on its lane, then calls `fn` there. See the top for deadlines."""
        period_ns = int(self.period_ms * 1e6)
        self._released_ns = max(boottime_ns(), self._released_ns + period_ns)
        turn = Turn(self, lambda: fn(*args, **kwargs))
        return self._lanes.queue(turn, self._released_ns + period_ns)

    def make_agent(self, kind: str) -> Agent:
        """Returns an agent of its own, so that nothing that it saw is another session's; loads its models."""
        assets: Assets = self.assets or NoAssets()
        return make_agent(kind, assets)

    def load(self, role: str) -> Model:
        """Returns the model `role` of its bundle, lent for each of its decisions. Raises AssetMissing, BackendError."""
        return (self.assets or NoAssets()).model(role)


class Lanes:
    """The computing half of a worker. `queue` and what sessions do may come from any thread, the rest from one."""

    def __init__(self, settings: WorkerSettings, gate: GateReader, device: Device | None, cache: Path) -> None:
        self._settings, self._gate, self._cache = settings, gate, cache
        self._lanes = max(1, min(settings.sessions, settings.threads))
        self._is_calibrated = device is not None
        known = device or Device(self._lanes, float("inf"), float("inf"))
        self._admission = Admission(Device(self._lanes, known.read_GBps, known.int8_GOPs), takes_first=True)
        self._costs = Costs(cache / "costs.json")
        budget_bytes = settings.memory_MiB << 20
        self._allowed = (0, 0)
        self._refused = 0
        self._sessions: dict[str, Session] = {}
        limits = Limits(max(1, settings.threads // self._lanes), budget_bytes, cache)
        self._threads = limits.threads
        self.residency = Residency(limits, budget_bytes)
        self._gains = Gains(cache / GAINS)
        self._company = Company(settings.together, lambda key: self.demand(key, 1.0).measured_ms)
        self._scheduler: Scheduler[Turn] = Scheduler(
            self._lanes,
            self._compute,
            self._company.cost_ns,
            most=self._company.most,
            allowance=self._allowance,
            counts=lambda result: not isinstance(result, Preempted),
        )

    def admit(self, job: str, spec: JobSpec, bundle: Bundle | None) -> Session:
        """Promises a job one decision every `action_ms`. Raises AdmissionRefused: what stands against it."""
        self._refresh()
        key = f"{spec.agent}/{bundle.sha256 if bundle else ''}"
        period_ms = spec.limits.action_ms
        prefer = self.residency.lanes_of(bundle) if bundle else set()
        try:
            lane = self._admission.admit(job, self.demand(key, period_ms), prefer)
        except AdmissionRefused:
            self._refused += 1
            raise
        assets = LentAssets(bundle, self.residency, spec.priority) if bundle else None
        session = self._sessions[job] = Session(self, job, key, period_ms, assets)
        session.lane = lane
        return session

    def leave(self, job: str) -> None:
        """A session is over. What its decisions cost is kept."""
        self._admission.leave(job)
        self._sessions.pop(job, None)

    def save_costs(self) -> None:
        """Keeps what was seen for the worker after this one. Raises StoreUnusable."""
        self._costs.save()

    def adjust(self, reading: GateReading) -> dict[str, str]:
        """Takes the gate's duty and threads; returns the jobs whose promise cannot be kept any more, and why."""
        allowed = (reading.duty_permille, reading.max_threads)
        if allowed == self._allowed:
            return {}
        self._allowed = allowed
        threads = max(1, min(self._settings.threads, reading.max_threads))
        lanes = min(self._lanes, threads)
        self._threads = threads // lanes
        self.residency.limit_threads(self._threads)
        for session in self._sessions.values():
            self._keep_company(session)
        self._refresh()
        gone = self._admission.broken(reading.duty_permille / 1000, lanes)
        for job, session in self._sessions.items():
            if job not in gone:
                session.lane = self._admission.lane_of(job)
        said = f"the gate allows {reading.duty_permille / 10:.0f} % of {threads} thread{'s' * (threads > 1)}"
        return {job: f"{said}: {reason}" for job, reason in gone.items()}

    def queue(self, turn: Turn, deadline_ns: int) -> Future[Any]:
        """Has a decision made in its turn."""
        session = turn.session
        return self._scheduler.submit(session.lane, session.job, session.key, turn, deadline_ns)

    def warm(self, bundle: Bundle, *, pin: bool) -> None:
        """Loads a bundle's models on the first lane, in the background; `pin` keeps them."""
        for role in bundle.manifest.models:
            if pin:
                self.residency.pin(bundle, role)
            self.residency.warm(bundle, role)

    def told(self) -> tuple[tuple[LoadedModel, ...], Computing]:
        """Returns what is in memory, and how it went so far."""
        models = tuple(
            LoadedModel(
                bundle=one.reference,
                role=one.role,
                backend=one.backend,
                resident_bytes=one.resident_bytes,
                stop_bound_us=one.stop_bound_us,
                lane=one.lane,
                threads=one.threads,
                uses=one.uses,
                load_ms=round(one.load_ms, 3),
                is_pinned=one.is_pinned,
                together=self._told_of(one),
            )
            for one in self.residency.residents()
        )
        counts, kept = self.residency.counts, self._scheduler.punctuality
        return models, Computing(
            lanes=self._admission.lanes,
            sessions=self._admission.sessions,
            refused=self._refused,
            decisions=kept.decisions,
            misses=kept.misses,
            latest_ms=round(max(kept.late_ns, default=0) / 1e6, 2),
            loads=counts.loads,
            hits=counts.hits,
            evictions=counts.evictions,
            rss_bytes=rss_bytes(),
            is_calibrated=self._is_calibrated,
            together=kept.together,
        )

    def _told_of(self, one: Resident) -> str:
        gain = self._gains.get(gain_key(one.bundle_sha256, one.role, one.backend, one.threads))
        return "" if gain is None else gain.told()

    @property
    def punctuality(self) -> Punctuality:
        """What became of the deadlines so far; a copy."""
        return replace(self._scheduler.punctuality)

    def _allowance(self) -> int:
        reading = self._gate.read()
        return reading.duty_permille if reading.is_open(boottime_ns()) else 0

    def demand(self, key: str, period_ms: float) -> Demand:
        """Returns what decisions of an agent with a bundle are taken to ask for."""
        ms, bytes_read = self._costs.cost(key) or (self._settings.decision_ms, 0)
        return Demand(period_ms, period_ms, bytes_read=bytes_read, operations=0, measured_ms=ms)

    def _refresh(self) -> None:
        """Promises are weighed by what their decisions turned out to cost."""
        for job, session in self._sessions.items():
            self._admission.update(job, self.demand(session.key, session.period_ms))

    async def measure_together(self, session: Session) -> None:
        """Finds out what runs of a session's models cost at once, if that is not known, before its first decision.

        Only while nothing else was promised, in turns of its lane, each a run or a few. A gate that closes ends it.
        """
        assets = session.assets
        if assets is None or self._settings.together == 1:
            return
        for role, lent in assets.models.items():
            key = self._key(assets, role, session.lane)
            if lent.can_gather and key and self._gains.get(key) is None and self._admission.sessions == 1:
                await self._measure(session, role, key)
        self._keep_company(session)

    async def _measure(self, session: Session, role: str, key: str) -> None:
        assert session.assets is not None
        lent = session.assets.models[role]
        token = self._gate.token(self._gate.read().gate_epoch)
        name = f"{session.assets.bundle.reference} {role}"
        steps: Iterator[Gain | None] | None = None

        def step() -> Preempted | tuple[Gain | None]:
            nonlocal steps
            if steps is None:
                model = lent.bound
                assert isinstance(model, Gathering)
                steps = measuring(model, name, token, most=self._settings.together)
            found = next(steps, Preempted())
            return found if isinstance(found, Preempted) else (found,)

        gain: Gain | None = None
        while gain is None:
            turn = Turn(session, step, is_measure=True)
            made = await self._unless_closed(
                self._scheduler.submit(session.lane, "", "", turn, boottime_ns() + FAR_NS), token
            )
            if not isinstance(made, tuple):
                return
            (gain,) = made
        log.info("%s: %s", name, gain.told())
        try:
            await asyncio.to_thread(self._gains.put, key, gain)
        except StoreError as error:
            log.warning("what runs cost together is not kept: %s", error)

    async def _unless_closed(self, turn: Future[Any], token: GateToken) -> Any:
        """Returns what a turn made, None if it raised, or the gate closed before it came to it."""
        waiting = asyncio.wrap_future(turn)
        while not waiting.done():
            await asyncio.wait((waiting,), timeout=CLOSED_LOOK_S)
            if not token.is_open() and turn.cancel():
                return None
        try:
            return waiting.result()
        except (IdlehandsError, MemoryError, asyncio.CancelledError) as error:
            log.warning("what several runs cost at once is not known: %s", error)
            return None

    def _key(self, assets: LentAssets, role: str, lane: int) -> str:
        known = self.residency.resident(assets.bundle, role, lane)
        return "" if known is None else gain_key(known.bundle_sha256, known.role, known.backend, self._threads)

    def _keep_company(self, session: Session) -> None:
        """Has a session's decisions made with others' if what is known of its models says so."""
        assets = session.assets
        if assets is None:
            return
        found = {
            role: self._gains.get(self._key(assets, role, session.lane))
            for role, lent in assets.models.items()
            if lent.can_gather
        }
        known = {role: gain for role, gain in found.items() if gain is not None}
        self._company.set(session.key, known)
        for role, gain in known.items():
            assets.models[role].most = gain.best(self._settings.together)

    def _compute(self, model: Hashable, turns: list[Turn], pacer: Pacer) -> list[Any]:
        if len(turns) == 1:
            return [self._decide(turns[0], pacer)]
        meeting = Meeting(pacer)
        return meeting.hold([partial(self._decide, turn, pacer, meeting) for turn in turns])

    def _decide(self, turn: Turn, pacer: Pacer, meeting: Meeting | None = None) -> Any:
        assets = turn.session.assets
        began_ns, paused_ns = time.perf_counter_ns(), pacer.paused_ns
        with assets.lent(pacer, meeting) if assets is not None else ExitStack():
            result = turn.decide()
        # What a decision costs is what it costs alone: that is promised. In company nobody knows whose time it was.
        if not isinstance(result, Preempted) and meeting is None and not turn.is_measure:
            busy_ns = time.perf_counter_ns() - began_ns - (pacer.paused_ns - paused_ns)
            self._costs.note(turn.session.key, busy_ns / 1e6, assets.bytes_read if assets is not None else 0)
            if assets is not None:
                ran = {role: lent.ran_ns for role, lent in assets.models.items()}
                self._company.note(turn.session.key, busy_ns, ran)
        return result
