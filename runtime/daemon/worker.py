"""The worker process: holds models and agents, runs sessions, and leaves when the car is wanted.

    daemon ──socket pair──► worker ──TLS──► desktop
                               │ maps the gate word read-only, polls it in every run

It is started by the daemon and dies with it. It dumps no core, is not traceable, and its memory is kept out of swap
where the limits allow. Ending it is how memory really comes back.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from kernels.errors import IdlehandsError
from kernels.gate.word import REASONS, GateReader
from runtime.agent.protocol import Agent, make_agent
from runtime.backends.protocol import Limits
from runtime.config.config import Worker as WorkerSettings
from runtime.daemon.assets import BundleAssets, assets_for
from runtime.daemon.channel import Channel
from runtime.daemon.control import LoadedModel
from runtime.daemon.worker_link import (
    Assign,
    Broken,
    Cancel,
    Ended,
    Intent,
    Kept,
    Leave,
    Models,
    Progress,
    StepTimes,
    ToWorker,
    Up,
    Used,
    Yielded,
)
from runtime.desktop.inputs import presses
from runtime.desktop.remote import RemoteDesktop
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.runner import RunEnd, Runner, Step
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Claim
from runtime.store.models import ModelStore
from runtime.telemetry.logs import configure_logs
from runtime.transport.dial import dial
from runtime.transport.identity import Identity
from runtime.wire.actions import describe, position

log = logging.getLogger("idlehands.worker")
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
HOLD_POLL_S = 0.01


class WorkerArguments(msgspec.Struct, frozen=True):
    """Handed over on the command line as JSON."""

    fd: int
    gate_word: str
    identity_folder: str
    models_folder: str
    settings: WorkerSettings
    log_level: str


class WorkerProcess:
    """One worker: takes assignments, runs each as a task, reports, and decides when to leave."""

    def __init__(self, arguments: WorkerArguments, channel: Channel[ToWorker]) -> None:
        self._settings = arguments.settings
        self._channel = channel
        self._gate = GateReader(arguments.gate_word)
        self._identity = Identity.load(Path(arguments.identity_folder))
        self._models = ModelStore(Path(arguments.models_folder))
        self._agents: dict[tuple[str, str], tuple[Agent, bytes]] = {}
        self._runs: dict[str, tuple[Runner, asyncio.Task[None]]] = {}
        self._assets: list[BundleAssets] = []
        self._told_models: tuple[LoadedModel, ...] = ()
        self._intents: dict[str, tuple[int, asyncio.Future[None]]] = {}
        self._think = ThreadPoolExecutor(max_workers=1, thread_name_prefix="think")

    async def serve(self, pid: int) -> None:
        """Runs until the daemon's end closes, it says so, or a closing of the gate ends this worker."""
        self._channel.send(Up(pid))
        listening = asyncio.create_task(self._listen())
        leaving = asyncio.create_task(self._leave_with_the_gate())
        await asyncio.wait((listening, leaving), return_when=asyncio.FIRST_COMPLETED)
        for runner, task in list(self._runs.values()):
            runner.cancel("the worker leaves")
            await task
        await self._channel.drain()

    async def _listen(self) -> None:
        while True:
            message = await self._channel.receive()
            if message is None or isinstance(message, Leave):
                return
            if isinstance(message, Cancel) and message.job in self._runs:
                self._runs[message.job][0].cancel(message.reason)
            elif isinstance(message, Kept):
                self._kept(message)
            elif isinstance(message, Assign):
                self._begin(message)

    def _begin(self, assigned: Assign) -> None:
        spec = JobSpec.decode(assigned.spec)
        try:
            agent, bundle_sha256 = self._agent(spec)
        except IdlehandsError as error:
            self._channel.send(Ended(assigned.job, assigned.owner_epoch, "failed", str(error), Used(0, 0.0, 0.0, ())))
            return
        runner = Runner(
            claim=Claim(
                assigned.job,
                assigned.owner_epoch,
                Checkpoint.decode(assigned.checkpoint) if assigned.checkpoint else None,
            ),
            spec=spec,
            agent=agent,
            dial=self._dial,
            gate=self._gate.token(assigned.gate_epoch),
            think=self._think,
            on_step=lambda step: self._report_step(assigned, runner, step),
            bundle_sha256=bundle_sha256,
            remember=lambda checkpoint: self._remember(assigned, runner, checkpoint),
        )
        task = asyncio.create_task(self._run(assigned, runner))
        self._runs[assigned.job] = (runner, task)

    def _agent(self, spec: JobSpec) -> tuple[Agent, bytes]:
        """Returns the agent of a job and its bundle's hash; agents are kept, so that a model is loaded once."""
        key = (spec.agent, spec.model)
        if key not in self._agents:
            limits = Limits(self._settings.threads, self._settings.memory_MiB << 20, self._models.root.parent / "cache")
            assets, bundle_sha256 = assets_for(spec, self._models, limits)
            if isinstance(assets, BundleAssets):
                self._assets.append(assets)
            self._agents[key] = make_agent(spec.agent, assets), bundle_sha256
        return self._agents[key]

    async def _dial(self, claim: Claim, spec: JobSpec) -> RemoteDesktop:
        stream = await dial(spec.desktop, self._identity)
        return await RemoteDesktop.connect(
            stream, job=claim.job, owner_epoch=claim.owner_epoch, token=spec.token, agent=spec.agent, model=spec.model
        )

    async def _run(self, assigned: Assign, runner: Runner) -> None:
        try:
            end = await runner.run()
        except Exception as error:
            log.exception("a run failed", extra={"job": assigned.job})
            end = RunEnd("broken", f"{type(error).__name__}: {error}")
        runner.agent.forget()
        self._report_models()
        self._channel.send(self._report(assigned, runner, end))
        await self._channel.drain()
        del self._runs[assigned.job]
        self._intents.pop(assigned.job, None)

    async def _remember(self, assigned: Assign, runner: Runner, checkpoint: Checkpoint) -> None:
        """Has the daemon keep the checkpoint; returns once it is in the store."""
        seq = runner.memory.pending_seq
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._intents[assigned.job] = (seq, kept)
        self._channel.send(Intent(assigned.job, assigned.owner_epoch, seq, checkpoint.encode()))
        await kept

    def _kept(self, message: Kept) -> None:
        seq, kept = self._intents.get(message.job, (0, None))
        if kept is not None and seq == message.seq and not kept.done():
            kept.set_result(None)

    def _report_models(self) -> None:
        loaded = tuple(model for assets in self._assets for model in assets.loaded())
        if loaded != self._told_models:
            self._told_models = loaded
            self._channel.send(Models(loaded))

    def _report(self, assigned: Assign, runner: Runner, end: RunEnd) -> Ended | Yielded | Broken:
        job, epoch = assigned.job, assigned.owner_epoch
        used = Used(end.actions, end.seconds, end.cpu_s, runner.memory.pending_presses)
        if end.kind == "yielded":
            reasons = " ".join(self._gate.read().reasons)
            return Yielded(job, epoch, reasons, runner.checkpoint().encode(), end.stopped_ns, end.released_ns, used)
        if end.kind == "broken":
            return Broken(job, epoch, end.text, runner.checkpoint().encode(), used)
        return Ended(job, epoch, end.kind, end.text, used)

    def _report_step(self, assigned: Assign, runner: Runner, step: Step) -> None:
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
                continue
            closed_for_s += HOLD_POLL_S
            urgent = any(REASONS[name].urgent for name in reading.reasons if name in REASONS)
            if urgent or closed_for_s >= self._settings.hold_s:
                while self._runs:
                    await asyncio.gather(*(task for _, task in self._runs.values()))
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
    asyncio.run(run_worker(arguments))


if __name__ == "__main__":
    main()
