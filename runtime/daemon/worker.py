"""The worker process: holds models and agents, runs sessions, and leaves when the car is wanted.

    daemon ──socket pair──► worker ──TLS──► desktop
                               │ decides on its lanes (lanes.py)
                               │ maps the gate word read-only, polls it in every run

It is started by the daemon and dies with it. It dumps no core, is not traceable, and its memory is kept out of swap
where the limits allow. Ending it is how memory really comes back.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kernels.errors import IdlehandsError
from kernels.gate.word import REASONS, GateReader, State
from runtime.config.config import Worker as WorkerSettings
from runtime.daemon.bundle_choice import bundle_for
from runtime.daemon.channel import Channel
from runtime.daemon.lanes import Lanes
from runtime.daemon.worker_link import (
    Accounted,
    Assign,
    Broken,
    Cancel,
    Ended,
    GivenBack,
    Intent,
    Kept,
    Leave,
    Models,
    Outputs,
    Progress,
    StepTimes,
    ToWorker,
    Up,
    Used,
    Yielded,
)
from runtime.desktop.inputs import presses
from runtime.desktop.remote import RemoteDesktop
from runtime.jobs.batch import BatchRun
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.run import ClaimedRun, RunEnd
from runtime.jobs.runner import Runner, Step
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Claim
from runtime.residency.admission import AdmissionRefused
from runtime.residency.calibration import read_device
from runtime.store.errors import StoreError
from runtime.store.models import ModelStore
from runtime.telemetry.logs import configure_logs
from runtime.transport.dial import dial
from runtime.transport.identity import Identity
from runtime.wire.actions import describe, position

log = logging.getLogger("idlehands.worker")
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
HOLD_POLL_S = 0.01
TELL_S = 1.0  # how often the daemon hears of models and deadlines while they change
NOTHING_USED = Used(0, 0.0, 0.0, ())
# The loop must answer to the car while a thread thinks in Python: it gets the interpreter so soon (5 ms by default,
# and a yield takes it several times).
SWITCH_S = 0.0005


class WorkerArguments(msgspec.Struct, frozen=True):
    """Handed over on the command line as JSON."""

    fd: int
    gate_word: str
    identity_folder: str
    models_folder: str
    device_path: str
    settings: WorkerSettings
    log_level: str


@dataclass
class Work:
    """An assignment. `runner` is there once its models are; what is said before that is kept for it."""

    assigned: Assign
    task: asyncio.Task[None] | None = None
    runner: ClaimedRun | None = None
    cancelled: tuple[str, str] | None = None  # why, and as what the job ends
    given_back: str = ""

    def cancel(self, reason: str, kind: str) -> None:
        self.cancelled = (reason, kind)
        if self.runner is not None:
            self.runner.cancel(reason, kind)

    def give_back(self, reason: str) -> None:
        self.given_back = reason
        if self.runner is not None:
            self.runner.give_back(reason)


class WorkerProcess:
    """One worker: takes assignments, runs each as a task, reports, and decides when to leave."""

    def __init__(self, arguments: WorkerArguments, channel: Channel[ToWorker]) -> None:
        self._settings = arguments.settings
        self._channel = channel
        self._gate = GateReader(arguments.gate_word)
        self._identity = Identity.load(Path(arguments.identity_folder))
        self._models = ModelStore(Path(arguments.models_folder))
        state = self._models.root.parent
        device = read_device(Path(arguments.device_path))
        self._lanes = Lanes(arguments.settings, self._gate, device, state / "cache")
        self._works: dict[str, Work] = {}
        self._told: Models | None = None
        self._intents: dict[str, tuple[int, asyncio.Future[None]]] = {}

    async def serve(self, pid: int) -> None:
        """Runs until the daemon's end closes, it says so, or a closing of the gate ends this worker."""
        self._channel.send(Up(pid))
        listening = asyncio.create_task(self._listen())
        leaving = asyncio.create_task(self._leave_with_the_gate())
        helping = asyncio.create_task(self._warm()), asyncio.create_task(self._tell())
        await asyncio.wait((listening, leaving), return_when=asyncio.FIRST_COMPLETED)
        for task in helping:
            task.cancel()
        for work in list(self._works.values()):
            work.give_back("the worker leaves")
        await self._all_over()
        await self._channel.drain()

    async def _all_over(self) -> None:
        while self._works:
            await asyncio.gather(*(work.task for work in self._works.values() if work.task is not None))

    async def _listen(self) -> None:
        while True:
            message = await self._channel.receive()
            if message is None or isinstance(message, Leave):
                return
            if isinstance(message, Cancel) and message.job in self._works:
                self._works[message.job].cancel(message.reason, message.state)
            elif isinstance(message, Kept):
                self._kept(message)
            elif isinstance(message, Assign):
                work = self._works[message.job] = Work(message)
                work.task = asyncio.create_task(self._do(work))

    async def _do(self, work: Work) -> None:
        """One assignment from its admission to its end; whatever happens, the daemon hears of it once."""
        assigned = work.assigned
        job = assigned.job
        try:
            end = await self._admitted(work, JobSpec.decode(assigned.spec))
        except AdmissionRefused as error:
            end = GivenBack(job, assigned.owner_epoch, error.message, assigned.checkpoint, NOTHING_USED)
        except IdlehandsError as error:
            end = Ended(job, assigned.owner_epoch, "failed", str(error), NOTHING_USED)
        finally:
            self._lanes.leave(job)
            self._intents.pop(job, None)
        self._tell_models()
        self._channel.send(end)
        await self._channel.drain()
        del self._works[job]
        try:
            await asyncio.to_thread(self._lanes.save_costs)
        except StoreError as error:
            log.warning("what decisions cost is not kept: %s", error)

    async def _admitted(self, work: Work, spec: JobSpec) -> Ended | Yielded | Broken | GivenBack:
        """Admits, loads and runs a job. Raises AdmissionRefused, and what finding and loading its models raises."""
        assigned = work.assigned
        bundle = await asyncio.to_thread(bundle_for, spec, self._models)
        session = self._lanes.admit(assigned.job, spec, bundle)
        checkpoint = Checkpoint.decode(assigned.checkpoint) if assigned.checkpoint else None
        common: dict[str, Any] = {
            "claim": Claim(assigned.job, assigned.owner_epoch, checkpoint),
            "spec": spec,
            "gate": self._gate.token(assigned.gate_epoch),
            "think": session,
            "counted": assigned.counted,
            "bundle_sha256": bytes.fromhex(bundle.sha256) if bundle else b"",
        }
        runner: ClaimedRun
        if spec.is_batch:
            model = await asyncio.to_thread(session.load, spec.batch.role)
            await self._lanes.measure_together(session)
            runner = BatchRun(**common, model=model, put=lambda *kept: self._put_results(assigned, *kept))
        else:
            agent = await asyncio.to_thread(session.make_agent, spec.agent)
            await self._lanes.measure_together(session)
            runner = Runner(
                **common,
                agent=agent,
                dial=self._dial,
                on_step=lambda step: self._report_step(assigned, step),
                on_account=lambda account: self._channel.send(Accounted(assigned.job, assigned.owner_epoch, *account)),
                remember=lambda *kept: self._remember(assigned, runner, *kept),
            )
        gc.freeze()  # what is loaded stays: a collection that walks it stops every thread for 50 ms
        work.runner = runner
        if work.cancelled is not None:
            runner.cancel(*work.cancelled)
        elif work.given_back:
            runner.give_back(work.given_back)
        return await self._run(assigned, runner)

    async def _dial(self, claim: Claim, spec: JobSpec) -> RemoteDesktop:
        stream = await dial(spec.desktop, self._identity)
        return await RemoteDesktop.connect(
            stream, job=claim.job, owner_epoch=claim.owner_epoch, token=spec.token, agent=spec.agent, model=spec.model
        )

    async def _run(self, assigned: Assign, runner: ClaimedRun) -> Ended | Yielded | Broken | GivenBack:
        try:
            end = await runner.run()
        except Exception as error:
            log.exception("a run failed", extra={"job": assigned.job})
            end = RunEnd("broken", f"{type(error).__name__}: {error}")
        runner.forget()
        return self._report(assigned, runner, end)

    async def _remember(self, assigned: Assign, runner: ClaimedRun, checkpoint: Checkpoint, elsewhere: bool) -> None:
        """Has the daemon keep the checkpoint; returns once it is in the store."""
        seq = runner.memory.pending_seq
        await self._until_kept(Intent(assigned.job, assigned.owner_epoch, seq, checkpoint.encode(), elsewhere), seq)

    async def _put_results(
        self, assigned: Assign, first: int, results: tuple[bytes, ...], checkpoint: Checkpoint
    ) -> None:
        """Has the daemon keep results; returns once they are in the store."""
        message = Outputs(assigned.job, assigned.owner_epoch, first, results, checkpoint.encode())
        await self._until_kept(message, first + len(results))

    async def _until_kept(self, message: Intent | Outputs, seq: int) -> None:
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._intents[message.job] = (seq, kept)
        self._channel.send(message)
        await kept

    def _kept(self, message: Kept) -> None:
        seq, kept = self._intents.get(message.job, (0, None))
        if kept is not None and seq == message.seq and not kept.done():
            kept.set_result(None)

    def _tell_models(self) -> None:
        told = Models(*self._lanes.told())
        if told != self._told:
            self._told = told
            self._channel.send(told)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            self._tell_models()

    async def _warm(self) -> None:
        """Loads what shall always be in memory; a model that is not there does not keep the worker from its jobs."""
        for name in filter(None, map(str.strip, self._settings.resident.split(","))):
            try:
                self._lanes.warm(await asyncio.to_thread(self._models.get, name), pin=True)
            except IdlehandsError as error:
                log.error("worker.resident: %s", error)

    def _report(self, assigned: Assign, runner: ClaimedRun, end: RunEnd) -> Ended | Yielded | Broken | GivenBack:
        job, epoch = assigned.job, assigned.owner_epoch
        used = Used(runner.actions, end.seconds, end.cpu_s, runner.memory.pending_presses, runner.memory.actions)
        if end.kind == "yielded":
            reasons = " ".join(self._gate.read().reasons)
            return Yielded(job, epoch, reasons, runner.checkpoint().encode(), end.stopped_ns, end.released_ns, used)
        if end.kind == "given_back":
            return GivenBack(job, epoch, end.text, runner.checkpoint().encode(), used)
        if end.kind == "broken":
            return Broken(job, epoch, end.text, runner.checkpoint().encode(), used)
        return Ended(job, epoch, end.kind, end.text, used)

    def _report_step(self, assigned: Assign, step: Step) -> None:
        x, y = position(step.action) or (-1, -1)
        times = StepTimes(
            step.capture_us, step.transfer_us, step.model_us, step.inject_us, step.settle_us, step.total_us
        )
        self._channel.send(
            Progress(
                assigned.job,
                assigned.owner_epoch,
                step.seq,
                step.outcome,
                step.reason,
                describe(step.action),
                x,
                y,
                presses(step.action),
                times,
            )
        )

    async def _leave_with_the_gate(self) -> None:
        """Returns when this worker must end: at once for an urgent reason, after hold_s for another."""
        closed_for_s = 0.0
        while True:
            await asyncio.sleep(HOLD_POLL_S)
            reading = self._gate.read()
            if self._gate.is_open(reading.gate_epoch):
                closed_for_s = 0.0
                for job, reason in self._lanes.adjust(reading).items():
                    self._works[job].give_back(reason)
                continue
            closed_for_s += HOLD_POLL_S
            has_lapsed = reading.state is State.OPEN  # no lease: nobody knows whether the car is wanted
            urgent = has_lapsed or any(REASONS[name].urgent for name in reading.reasons if name in REASONS)
            if urgent or closed_for_s >= self._settings.hold_s:
                await self._all_over()
                return


def protect_process() -> None:
    """Ends with the daemon, dumps no core, cannot be traced by its user, and stays out of swap where limits allow."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        log.warning("memory is not locked and may be swapped: raise LimitMEMLOCK (errno %d)", ctypes.get_errno())


async def run_worker(arguments: WorkerArguments) -> None:
    link = socket.socket(fileno=arguments.fd)
    link.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=link, limit=1 << 20)
    worker = WorkerProcess(arguments, Channel(reader, writer, ToWorker))
    # A stop signal is the daemon's to give, over the link: a Ctrl-C in a terminal must not race it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    await worker.serve(os.getpid())
    os._exit(0)  # the car wants its memory now: no waiting for a thread inside a model's run, no interpreter shutdown


def main() -> None:
    arguments = msgspec.json.decode(sys.argv[1], type=WorkerArguments)
    configure_logs(arguments.log_level)
    protect_process()
    sys.setswitchinterval(SWITCH_S)
    asyncio.run(run_worker(arguments))


if __name__ == "__main__":
    main()
