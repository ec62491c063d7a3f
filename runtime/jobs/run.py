"""What every run of a claimed job is: it works until it is over, or is stopped by the gate, its owner or the daemon.

    run() ─► work ─► RunEnd        the gate closed · cancel() · give_back() ─► at once, with `checkpoint()` as it stands

runner.py works a desktop so, batch.py a list of inputs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from kernels.gate.word import GateToken, boottime_ns
from runtime.jobs.checkpoint import Checkpoint, Memory
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Claim

GATE_POLL_S = 0.002
# A closing waits so long for the thinking thread to say when it stopped; it is far above every kernel's bound.
LET_GO_S, LET_GO_POLL_S = 0.05, 0.0005
T = TypeVar("T")


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


class RunStopped(Exception):
    """The gate closed under a run, or its owner or the daemon stopped it."""


@dataclass(kw_only=True)
class ClaimedRun:
    """One run of one claim. `checkpoint()` is valid at any moment; `cancel()` ends the run from outside.

    `counted` are the job's actions that are known by the runs before: what a run before did and could not tell is this
    one's, so that receipts add up to what was done.
    """

    claim: Claim
    spec: JobSpec
    gate: GateToken | None
    think: Executor
    bundle_sha256: bytes = b""
    counted: int = 0
    memory: Memory = field(default_factory=Memory)
    _stopped_as: RunEnd | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped_ns: int = 0
    _is_thinking: bool = False
    _actions_before: int = 0

    def __post_init__(self) -> None:
        if self.claim.checkpoint is not None:
            self.memory = msgspec.msgpack.decode(self.claim.checkpoint.state, type=Memory)
        self._actions_before = self.memory.actions

    @property
    def actions(self) -> int:
        """How many actions this run knows to be applied, also the last owner's last one if it had not heard."""
        return self.memory.actions - self._actions_before

    @property
    def kind(self) -> str:
        """Who may read the checkpoint's state."""
        return self.spec.agent

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            agent_kind=self.kind, bundle_sha256=self.bundle_sha256, state=msgspec.msgpack.encode(self.memory)
        )

    def cancel(self, reason: str, kind: str = "cancelled") -> None:
        """Ends the run, and the job as `kind`: cancelled or failed."""
        self._end_as(RunEnd(kind, reason or kind))

    def give_back(self, reason: str) -> None:
        """Ends the run so that another owner goes on with its checkpoint, though the gate is open."""
        self._end_as(RunEnd("given_back", reason))

    def forget(self) -> None:
        """Drops everything that was seen."""

    async def run(self) -> RunEnd:
        """Works until the job is over or the run is stopped; raises what no run can go on with."""
        began, cpu_began = time.monotonic(), time.process_time()
        watch = asyncio.create_task(self._watch_gate())
        try:
            end = await self._work()
        except RunStopped:
            end = self._stopped_as or RunEnd("yielded")
        finally:
            watch.cancel()
        end.released_ns = await self._leave(end.kind)
        if end.kind == "yielded":
            end.stopped_ns = await self._kernels_stopped()
        end.actions = self.actions
        end.seconds = time.monotonic() - began
        end.cpu_s = time.process_time() - cpu_began
        return end

    async def _work(self) -> RunEnd:
        raise NotImplementedError

    async def _leave(self, kind: str) -> int:
        """Lets go of what the run held outside; returns when it had, 0 if there is nothing or it is not known."""
        return 0

    def _end_as(self, end: RunEnd) -> None:
        if self._stopped_as is None or end.kind != "given_back":
            self._stopped_as = end
        self._stop.set()

    def _thinking(self, think: Callable[[], T]) -> T:
        """In the thinking thread: calls, and notes when the kernels had returned (the loop hears of it later)."""
        self._is_thinking = True
        try:
            return think()
        finally:
            self._stopped_ns = boottime_ns()
            self._is_thinking = False

    async def _kernels_stopped(self) -> int:
        """Returns when the last decision's kernels returned, 0 if they do not within LET_GO_S."""
        give_up_s = time.monotonic() + LET_GO_S
        while self._is_thinking and time.monotonic() < give_up_s:
            await asyncio.sleep(LET_GO_POLL_S)
        return 0 if self._is_thinking else self._stopped_ns or boottime_ns()

    async def _watch_gate(self) -> None:
        if self.gate is None:
            return
        while self.gate.is_open():
            await asyncio.sleep(GATE_POLL_S)
        self._stop.set()

    async def _unless_stopped(self, work: Awaitable[T]) -> T:
        """Awaits `work`, or raises RunStopped at once when the gate closes or the run is cancelled."""
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                raise RunStopped
            return await task  # type: ignore[no-any-return]
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
