"""Runs one claimed job in a worker: look, decide, act, wait for the screen to answer.

      connect ─► look ─► decide ─► act ─► answer ─┐            every arrow also leads to *yield* (the gate closed),
                  ▲                               │            *broken* (the session is lost) or *cancelled*
                  └───────────────────────────────┘

It decides on the first picture of the screen's answer, while it still waits for the screen to rest: most are at rest
from then on, so the thinking hides behind the waiting. If the screen does change, what was decided is dropped, and it
is decided anew once the screen rests; so it is after the next action, since such a screen is likely to change again.

What a run would need elsewhere is always at hand as a checkpoint: the agent's state, the action under way, and the
state that follows if that action was applied. It is kept (`remember`) *before* the action is sent, by the desktop too,
so that a fleet's store need not hear of each (`checkpoint.every_s`); whoever goes on asks the desktop's hello whether
it was applied. So an action is neither lost nor repeated, whichever process dies when.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import msgspec

from kernels.gate.word import boottime_ns
from runtime.agent.protocol import STATE_LIMIT_BYTES, Agent, Decision, Preempted
from runtime.desktop.errors import SessionError, SessionLost
from runtime.desktop.frame import Frame
from runtime.desktop.inputs import presses
from runtime.desktop.remote import RemoteDesktop
from runtime.jobs.account import Account, account_of
from runtime.jobs.checkpoint import Checkpoint, CheckpointError, Memory
from runtime.jobs.run import ClaimedRun, RunEnd, RunStopped
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Claim
from runtime.jobs.tempo import Tempo
from runtime.transport.errors import TransportError
from runtime.wire.actions import Action, Ask, Done, Fail, Precondition, Wait
from runtime.wire.messages import KEEP_CAP
from runtime.wire.tables import CloseReason, Outcome, Refusal

SETTLE_QUIET_MS = 20
SETTLE_AT_MOST_MS = 250
LONG_WAIT_MS = 250
TAKEN_OVER_POLL_S = 0.05
REFUSALS_IN_A_ROW = 20  # an animation under the target: give up rather than livelock


@dataclass(slots=True)
class Step:
    """One action that ended, with where its time went. `settle_us` is what was waited for the screen to rest, before
    and after it, but for the part in which it was thought."""

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


class Dial(Protocol):
    def __call__(self, claim: Claim, spec: JobSpec) -> Awaitable[RemoteDesktop]: ...


async def _forget(checkpoint: Checkpoint, elsewhere: bool) -> None:
    """Keeps no checkpoint: for runs that nobody could go on with."""


@dataclass(kw_only=True)
class Runner(ClaimedRun):
    """A run on a desktop."""

    agent: Agent
    dial: Dial
    on_step: Callable[[Step], None] = lambda step: None
    on_account: Callable[[Account], None] = lambda account: None  # for jobs that are checked by doing them again
    remember: Callable[[Checkpoint, bool], Awaitable[None]] = _forget  # True: the desktop keeps it too
    _account: Account | None = None
    _desktop: RemoteDesktop | None = None
    _tempo: Tempo = field(default_factory=Tempo)
    _is_early: bool = True  # whether the frame at hand, or after the action, is taken before the screen rests
    _answer_by_s: float = 0.0  # when the screen has had long enough to answer the last action
    _model_us: int = 0

    @property
    def kind(self) -> str:
        return self.agent.kind

    def forget(self) -> None:
        self.agent.forget()

    async def _work(self) -> RunEnd:
        try:
            self._desktop = await self._unless_stopped(self.dial(self.claim, self.spec))
            return await self._work_on(self._desktop)
        except (SessionError, TransportError, TimeoutError, asyncio.TimeoutError) as error:
            return RunEnd("broken", str(error))

    async def _work_on(self, desktop: RemoteDesktop) -> RunEnd:
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
            if self._tempo.is_too_slow:
                return RunEnd("asked", self._tempo.said())
            refused_in_a_row = refused_in_a_row + 1 if outcome is Outcome.refused else 0
            if refused_in_a_row >= REFUSALS_IN_A_ROW:
                return RunEnd("failed", f"the desktop refused {refused_in_a_row} actions in a row")

    def _believe(self, desktop: RemoteDesktop) -> None:
        """Takes the desktop's word for the action that was under way when the last owner stopped."""
        self._take_kept(desktop)
        hello, memory = desktop.hello, self.memory
        if memory.pending_seq and hello.last_seq == memory.pending_seq and hello.last_outcome == Outcome.applied:
            memory.state = memory.pending_state
            memory.actions += 1
        memory.pending_seq, memory.pending_state, memory.pending_presses = 0, b"", ()
        # The last owner may have told of its last action and died before it kept the state after it.
        self._actions_before = max(self._actions_before, min(self.counted, memory.actions))

    def _take_kept(self, desktop: RemoteDesktop) -> None:
        """Takes what the last owner left with the desktop, if that is newer than what the store knew."""
        try:
            kept = Checkpoint.decode(desktop.kept) if desktop.kept else None
            memory = msgspec.msgpack.decode(kept.state, type=Memory) if kept is not None else None
        except (CheckpointError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # the desktop's word is not to be trusted further than that
        if (
            kept is not None
            and memory is not None
            and kept.agent_kind == self.kind
            and memory.decisions > self.memory.decisions
            and memory.actions <= desktop.hello.last_seq
        ):
            self.memory = memory

    async def _keep(self, desktop: RemoteDesktop) -> bytes:
        """Has the state before and after the next action kept; returns what the desktop is to keep of it, which spares
        a fleet's store from hearing of every action (`checkpoint.every_s`)."""
        checkpoint = self.checkpoint()
        left = checkpoint.encode() if desktop.keeps and self.spec.checkpoint.every_s > 0 else b""
        left = left if len(left) <= KEEP_CAP else b""
        await self._unless_stopped(self.remember(checkpoint, bool(left)))
        return left

    async def _decide(self, desktop: RemoteDesktop) -> Decision:
        """One decision on the newest frame at rest, made in the thinking thread so that heartbeats go on."""
        self._decide_began = time.monotonic_ns()
        thought = asyncio.ensure_future(self._thought(desktop.frame))
        try:
            rests = not self._is_early or await self._unless_stopped(desktop.rests(SETTLE_QUIET_MS))
            decided = await self._unless_stopped(thought)  # it looks at the frame, which stands still until it is done
        finally:
            thought.cancel()
            thought.add_done_callback(_hear)
        if self._is_early and not (rests and desktop.is_newest):
            self._is_early = False
            await self._unless_stopped(self._settled(desktop, SETTLE_QUIET_MS, desktop.frame.frame_id))
            decided = await self._unless_stopped(self._thought(desktop.frame))
        else:
            self._is_early = True
        if len(decided.state) > STATE_LIMIT_BYTES:
            raise ValueError(
                f"{self.agent.kind} keeps {len(decided.state)} bytes of state, at most {STATE_LIMIT_BYTES}"
            )
        if self._account is not None:
            self.on_account(self._account)
        self.memory.decisions += 1
        return decided

    async def _thought(self, view: Frame) -> Decision:
        """What the agent decides on `view`. Raises RunStopped if the gate closed meanwhile."""
        began_ns = time.monotonic_ns()
        self._view = view
        decided = await asyncio.get_running_loop().run_in_executor(
            self.think, self._thinking, partial(self._think, view)
        )
        self._model_us = (time.monotonic_ns() - began_ns) // 1000
        if isinstance(decided, Preempted):
            raise RunStopped
        return decided

    def _think(self, view: Frame) -> Decision | Preempted:
        state = self.memory.state
        decided = self.agent.decide(view, self.spec.instruction, state, self.gate)
        if self.spec.verification.repeatable and isinstance(decided, Decision):
            self._account = account_of(view, self.spec.instruction, state, decided, self.bundle_sha256)
        return decided

    async def _act(self, desktop: RemoteDesktop, decided: Decision) -> Outcome:
        view, memory = self._view, self.memory
        model_us = self._model_us
        rested_us = max(0, (time.monotonic_ns() - self._decide_began) // 1000 - model_us)
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
        left = await self._keep(desktop)
        sent_ns = time.monotonic_ns()
        result = await self._unless_stopped(desktop.act(decided.action, precondition, keep=left))
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
            self._answer_by_s = time.monotonic() + SETTLE_AT_MOST_MS / 1000
            quiet_ms = 0 if self._is_early else SETTLE_QUIET_MS
            await self._unless_stopped(self._settled(desktop, quiet_ms, view.frame_id))
        finally:  # it was applied, also when the gate closes while the screen settles
            settled_ns = time.monotonic_ns()
            self._tempo.acted(decided.action, (settled_ns - self._decide_began) / 1e9)
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
                    settle_us=rested_us + (settled_ns - acted_ns) // 1000,
                    total_us=view.capture_us + desktop.transfer_us + (settled_ns - self._decide_began) // 1000,
                )
            )
        return result.outcome

    async def _settled(self, desktop: RemoteDesktop, quiet_ms: float, after_id: int) -> Frame:
        """The screen's answer to the last action, at rest for `quiet_ms` unless that takes too long."""
        left_ms = 1000 * (self._answer_by_s - time.monotonic())
        return await desktop.settle(quiet_ms, max(SETTLE_QUIET_MS, left_ms), after_id=after_id)

    async def _leave(self, kind: str) -> int:
        """Says goodbye, so that the desktop releases everything; returns when it said so, 0 if it did not."""
        if self._desktop is None:
            return 0
        reason = CloseReason.yielded if kind in ("yielded", "given_back") else CloseReason.job_over
        try:
            await asyncio.wait_for(self._desktop.bye(reason), 1.0)
        except (SessionLost, TransportError, TimeoutError, asyncio.TimeoutError):
            return 0
        return boottime_ns()


def _hear(thought: asyncio.Future[Decision]) -> None:
    """Takes note of how a thought ended of which nobody wants to know any more."""
    if not thought.cancelled():
        thought.exception()


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
