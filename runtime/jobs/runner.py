"""Runs one claimed job in a worker: look, decide, act, wait for the screen to answer.

      connect ─► look ─► decide ─► act ─► settle ─┐            every arrow also leads to *yield* (the gate closed),
                  ▲                               │            *broken* (the session is lost) or *cancelled*
                  └───────────────────────────────┘

What a run would need elsewhere is always at hand as a checkpoint: the agent's state, the action under way, and the
state that follows if that action was applied. It is kept (`remember`) *before* the action is sent; whoever goes on asks
the desktop's hello whether it was applied. So an action is neither lost nor repeated, whichever process dies when.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec

from kernels.gate.word import GateToken, boottime_ns
from runtime.agent.protocol import STATE_LIMIT_BYTES, Agent, Decision, Preempted
from runtime.desktop.errors import SessionError, SessionLost
from runtime.desktop.frame import Frame
from runtime.desktop.inputs import presses
from runtime.desktop.remote import RemoteDesktop
from runtime.jobs.account import Account, account_of
from runtime.jobs.checkpoint import Checkpoint, Memory
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Claim
from runtime.transport.errors import TransportError
from runtime.wire.actions import Action, Ask, Done, Fail, Precondition, Wait
from runtime.wire.tables import CloseReason, Outcome, Refusal

GATE_POLL_S = 0.002
# A closing waits so long for the thinking thread to say when it stopped; it is far above every kernel's bound.
LET_GO_S, LET_GO_POLL_S = 0.05, 0.0005
SETTLE_QUIET_MS = 20
SETTLE_AT_MOST_MS = 250
LONG_WAIT_MS = 250
TAKEN_OVER_POLL_S = 0.05
REFUSALS_IN_A_ROW = 20  # an animation under the target: give up rather than livelock
T = TypeVar("T")


@dataclass(slots=True)
class Step:
    """One action that ended, with where its time went."""

    seq: int
    action: Action
    outcome: Outcome
    reason: int
    capture_us: int
    transfer_us: int
    model_us: int
    inject_us: int
    settle_us: int
    total_us: int


@dataclass(slots=True)
class RunEnd:
    """How a run ended: `kind` is done, failed, asked, cancelled, yielded (the gate closed), given_back or broken.

    `stopped_ns` is when the last decision's kernels had returned, noted by their own thread: before the closing if
    nothing was being decided then, 0 if they had not yet when the job went back."""

    kind: str
    text: str = ""
    actions: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    stopped_ns: int = 0
    released_ns: int = 0


class Dial(Protocol):
    def __call__(self, claim: Claim, spec: JobSpec) -> Awaitable[RemoteDesktop]: ...


async def _forget(checkpoint: Checkpoint) -> None:
    """Keeps no checkpoint: for runs that nobody could go on with."""


class GateClosed(Exception):
    """The gate closed under a run."""


@dataclass
class Runner:
    """One run of one claim. `checkpoint()` is valid at any moment; `cancel()` ends the run from outside."""

    claim: Claim
    spec: JobSpec
    agent: Agent
    dial: Dial
    gate: GateToken | None
    think: Executor
    on_step: Callable[[Step], None] = lambda step: None
    on_account: Callable[[Account], None] = lambda account: None  # for jobs that are checked by doing them again
    remember: Callable[[Checkpoint], Awaitable[None]] = _forget
    bundle_sha256: bytes = b""
    memory: Memory = field(default_factory=Memory)
    _cancelled: str = ""
    _given_back: str = ""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped_ns: int = 0
    _is_thinking: bool = False
    _actions_before: int = 0
    _account: Account | None = None

    def __post_init__(self) -> None:
        if self.claim.checkpoint is not None:
            self.memory = msgspec.msgpack.decode(self.claim.checkpoint.state, type=Memory)
        self._actions_before = self.memory.actions

    @property
    def actions(self) -> int:
        """How many actions this run knows to be applied, also the last owner's last one if it had not heard."""
        return self.memory.actions - self._actions_before

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            agent_kind=self.agent.kind, bundle_sha256=self.bundle_sha256, state=msgspec.msgpack.encode(self.memory)
        )

    def cancel(self, reason: str) -> None:
        self._cancelled = reason or "cancelled"
        self._stop.set()

    def give_back(self, reason: str) -> None:
        """Ends the run so that another owner goes on with its checkpoint, though the gate is open."""
        self._given_back = reason
        self._stop.set()

    async def run(self) -> RunEnd:
        """Works until the job is over, the gate closes or the session breaks; never raises for those."""
        began, cpu_began = time.monotonic(), time.process_time()
        watch = asyncio.create_task(self._watch_gate())
        desktop: RemoteDesktop | None = None
        try:
            desktop = await self._unless_stopped(self.dial(self.claim, self.spec))
            end = await self._work(desktop)
        except GateClosed:
            end = self._stopped_end()
        except (SessionError, TransportError, TimeoutError, asyncio.TimeoutError) as error:
            end = RunEnd("broken", str(error))
        finally:
            watch.cancel()
        if desktop is not None:
            end.released_ns = await self._leave(desktop, end.kind)
        if end.kind == "yielded":
            end.stopped_ns = await self._kernels_stopped()
        end.actions = self.actions
        end.seconds = time.monotonic() - began
        end.cpu_s = time.process_time() - cpu_began
        return end

    def _stopped_end(self) -> RunEnd:
        if self._cancelled:
            return RunEnd("cancelled", self._cancelled)
        return RunEnd("given_back", self._given_back) if self._given_back else RunEnd("yielded")

    async def _work(self, desktop: RemoteDesktop) -> RunEnd:
        self._believe(desktop)
        deadline = time.monotonic() + self.spec.limits.max_s
        refused_in_a_row = 0
        await self._unless_stopped(desktop.next_frame(after_id=-1, timeout_s=10))
        while True:
            if self.memory.actions >= self.spec.limits.max_actions:
                return RunEnd("failed", f"the job's limit of {self.spec.limits.max_actions} actions is reached")
            if time.monotonic() > deadline:
                return RunEnd("failed", f"the job's limit of {self.spec.limits.max_s:g} s is reached")
            decided = await self._decide(desktop)
            if isinstance(decided.action, Done | Fail | Ask):
                self.memory.state = decided.state
                return _end_of(decided.action)
            outcome = await self._act(desktop, decided)
            refused_in_a_row = refused_in_a_row + 1 if outcome is Outcome.refused else 0
            if refused_in_a_row >= REFUSALS_IN_A_ROW:
                return RunEnd("failed", f"the desktop refused {refused_in_a_row} actions in a row")

    def _believe(self, desktop: RemoteDesktop) -> None:
        """Takes the desktop's word for the action that was under way when the last owner stopped."""
        hello, memory = desktop.hello, self.memory
        if memory.pending_seq and hello.last_seq == memory.pending_seq and hello.last_outcome == Outcome.applied:
            memory.state = memory.pending_state
            memory.actions += 1
        memory.pending_seq, memory.pending_state, memory.pending_presses = 0, b"", ()

    async def _decide(self, desktop: RemoteDesktop) -> Decision:
        """One decision on the newest frame, made in the thinking thread so that heartbeats go on."""
        self._decide_began = time.monotonic_ns()
        self._view = desktop.frame
        decided = await self._unless_stopped(
            asyncio.get_running_loop().run_in_executor(self.think, self._think, self._view)
        )
        if isinstance(decided, Preempted):
            raise GateClosed
        if len(decided.state) > STATE_LIMIT_BYTES:
            raise ValueError(
                f"{self.agent.kind} keeps {len(decided.state)} bytes of state, at most {STATE_LIMIT_BYTES}"
            )
        if self._account is not None:
            self.on_account(self._account)
        return decided

    def _think(self, view: Frame) -> Decision | Preempted:
        """In the thinking thread: decides, and notes when the kernels had returned (the loop hears of it later)."""
        self._is_thinking = True
        try:
            state = self.memory.state
            decided = self.agent.decide(view, self.spec.instruction, state, self.gate)
            if self.spec.verification.repeatable and isinstance(decided, Decision):
                self._account = account_of(view, self.spec.instruction, state, decided, self.bundle_sha256)
            return decided
        finally:
            self._stopped_ns = boottime_ns()
            self._is_thinking = False

    async def _kernels_stopped(self) -> int:
        """Returns when the last decision's kernels returned, 0 if they do not within LET_GO_S."""
        give_up_s = time.monotonic() + LET_GO_S
        while self._is_thinking and time.monotonic() < give_up_s:
            await asyncio.sleep(LET_GO_POLL_S)
        return 0 if self._is_thinking else self._stopped_ns or boottime_ns()

    async def _act(self, desktop: RemoteDesktop, decided: Decision) -> Outcome:
        view, memory = self._view, self.memory
        decided_ns = time.monotonic_ns()
        model_us = (decided_ns - self._decide_began) // 1000
        if isinstance(decided.action, Wait):
            memory.state = decided.state
            await self._unless_stopped(_wait(desktop, decided.action.ms))
            return Outcome.applied
        precondition = None
        if decided.region is not None:
            x, y, w, h = decided.region
            precondition = Precondition(x, y, w, h, desktop.hash_region(x, y, w, h))
        memory.pending_seq, memory.pending_state = desktop.next_seq, decided.state
        memory.pending_presses = presses(decided.action)
        await self._unless_stopped(self.remember(self.checkpoint()))
        sent_ns = time.monotonic_ns()
        result = await self._unless_stopped(desktop.act(decided.action, precondition))
        acted_ns = time.monotonic_ns()
        if result.outcome == Outcome.applied:
            memory.state = decided.state
            memory.actions += 1
        memory.pending_seq, memory.pending_state, memory.pending_presses = 0, b"", ()
        if result.outcome == Outcome.refused and result.reason == Refusal.old_owner:
            raise SessionLost(f"the desktop refused the action: {Refusal.old_owner.meaning}")
        if result.outcome == Outcome.refused and result.reason == Refusal.taken_over:
            await self._unless_stopped(_until_given_back(desktop))
            return Outcome.none
        inject_us = (result.applied_ns - result.received_ns) // 1000
        transfer_us = desktop.transfer_us + max(0, (acted_ns - sent_ns) // 1000 - inject_us)
        try:
            settled = desktop.settle(quiet_ms=SETTLE_QUIET_MS, at_most_ms=SETTLE_AT_MOST_MS, after_id=view.frame_id)
            await self._unless_stopped(settled)
        finally:  # it was applied, also when the gate closes while the screen settles
            settled_ns = time.monotonic_ns()
            self.on_step(
                Step(
                    seq=result.seq,
                    action=decided.action,
                    outcome=result.outcome,
                    reason=result.reason,
                    capture_us=view.capture_us,
                    transfer_us=transfer_us,
                    model_us=model_us,
                    inject_us=inject_us,
                    settle_us=(settled_ns - acted_ns) // 1000,
                    total_us=view.capture_us + desktop.transfer_us + (settled_ns - self._decide_began) // 1000,
                )
            )
        return result.outcome

    async def _leave(self, desktop: RemoteDesktop, kind: str) -> int:
        """Says goodbye, so that the desktop releases everything; returns when it said so, 0 if it did not."""
        reason = CloseReason.yielded if kind in ("yielded", "given_back") else CloseReason.job_over
        try:
            await asyncio.wait_for(desktop.bye(reason), 1.0)
        except (SessionLost, TransportError, TimeoutError, asyncio.TimeoutError):
            return 0
        return boottime_ns()

    async def _watch_gate(self) -> None:
        if self.gate is None:
            return
        while self.gate.is_open():
            await asyncio.sleep(GATE_POLL_S)
        self._stop.set()

    async def _unless_stopped(self, work: Awaitable[T]) -> T:
        """Awaits `work`, or raises GateClosed at once when the gate closes or the run is cancelled."""
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                raise GateClosed
            return await task  # type: ignore[no-any-return]
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()


async def _until_given_back(desktop: RemoteDesktop) -> None:
    """A person took the desktop: waits until they give it back. What was decided before counts no more."""
    while desktop.is_taken_over:
        await asyncio.sleep(TAKEN_OVER_POLL_S)
    await desktop.settle(quiet_ms=SETTLE_QUIET_MS, at_most_ms=SETTLE_AT_MOST_MS)


async def _wait(desktop: RemoteDesktop, ms: int) -> None:
    """A short wait is for the screen to answer and ends when it has; a long one was meant as a time."""
    if ms < LONG_WAIT_MS:
        await desktop.settle(quiet_ms=SETTLE_QUIET_MS, at_most_ms=ms)
    else:
        await asyncio.sleep(ms / 1000)
        await desktop.settle(quiet_ms=SETTLE_QUIET_MS, at_most_ms=SETTLE_QUIET_MS)


def _end_of(action: Done | Fail | Ask) -> RunEnd:
    if isinstance(action, Done):
        return RunEnd("done", action.answer)
    if isinstance(action, Fail):
        return RunEnd("failed", action.reason)
    return RunEnd("asked", action.question)
