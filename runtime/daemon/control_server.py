"""The control socket's server: answers the command line, streams events, and outlives any client that sends garbage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kernels.errors import IdlehandsError
from runtime.daemon.channel import BadMessage, Channel
from runtime.daemon.control import (
    Answer,
    CancelJob,
    Event,
    Follow,
    GetResults,
    GetStatus,
    Jobs,
    JobView,
    ListJobs,
    Refused,
    Request,
    Results,
    Submit,
    Submitted,
)
from runtime.errors import RuntimeFault
from runtime.jobs.life import Job, JobState
from runtime.jobs.spec import JobSpec
from runtime.store.models import ModelStore
from runtime.transport.dial import shown

if TYPE_CHECKING:
    from runtime.daemon.serve import Daemon

log = logging.getLogger("idlehands.control")


_FIRST_LISTEN_FD = 3
RESULTS_BYTES = 256 * 1024  # of an answer; one more may go over it


class SocketBusy(RuntimeFault):
    """Another daemon answers on this control socket, or its path cannot be used."""

    next_step = "stop the other daemon, or give this one a runtime folder of its own"


class ControlServer:
    """Serves one Unix socket for the owner of the runtime folder (mode 0600)."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listens, on the socket that systemd opened if there is one: it then outlives this daemon.

        Raises SocketBusy if somebody answers there already; a socket nobody answers on is replaced.
        """
        inherited = inherited_socket()
        if inherited is not None:
            # From 3.13 on asyncio would unlink what is not its own.
            keeps: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
            self._server = await asyncio.start_unix_server(self._accept, sock=inherited, **keeps)
            return
        self._path = path
        if path.exists():
            if _answers(path):
                raise SocketBusy(f"somebody answers on {path} already")
            path.unlink()
        try:
            mask = os.umask(0o177)
            self._server = await asyncio.start_unix_server(self._accept, str(path))
        except OSError as error:
            raise SocketBusy(f"cannot listen on {path}: {error.strerror}") from error
        finally:
            os.umask(mask)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        channel: Channel[Request] = Channel(reader, writer, Request)
        try:
            await self._serve(channel)
        except BadMessage as error:
            channel.send(Refused(str(error), "speak the control protocol of runtime/daemon/control.py"))
            await channel.drain()
        except asyncio.CancelledError:
            pass  # the daemon stops
        finally:
            self._clients.discard(task)
            with contextlib.suppress(asyncio.CancelledError):
                await channel.close()

    async def _serve(self, channel: Channel[Request]) -> None:
        while (request := await channel.receive()) is not None:
            if isinstance(request, Follow):
                await self._stream(channel, request.job)
                return  # a connection that followed ends with it
            try:
                answer = await self._answer(request)
            except IdlehandsError as error:
                answer = Refused(error.message, error.advice)
            except Exception:
                log.exception("a %s was not answered", type(request).__name__)
                answer = Refused("the daemon failed to answer", "see its log")
            channel.send(answer)
            await channel.drain()

    async def _answer(self, request: Submit | ListJobs | CancelJob | GetStatus | GetResults) -> Answer:
        daemon = self._daemon
        if isinstance(request, Submit):
            spec = JobSpec.decode(request.spec)
            if spec.model:
                ModelStore(daemon.config.daemon.models_folder).get(spec.model)  # raises what the submitter must know
            name, new = await daemon.jobs.submit(spec)
            if new:
                daemon.metrics.add("jobs_submitted")
                daemon.events.publish("submitted", name)
                daemon.dispatcher.wake()
            return Submitted(name, new)
        if isinstance(request, ListJobs):
            states = [state for state in JobState if state.value in request.states]
            found = await daemon.jobs.list_jobs(states, request.limit)
            return Jobs(tuple(view(job) for job in found))
        if isinstance(request, CancelJob):
            return view(await daemon.cancel(request.job, request.reason))
        if isinstance(request, GetResults):
            job = await daemon.jobs.get(request.job)
            return _page(await daemon.jobs.results(request.job, request.since), job.state.is_over)
        return await daemon.status()

    async def _stream(self, channel: Channel[Request], job: str) -> None:
        """Sends events until the job is over, or until this follower goes away or falls behind."""
        queue = self._daemon.events.follow(job)
        gone = asyncio.ensure_future(channel.receive())  # a follower says nothing: anything from it ends the stream
        try:
            if job and (done := await self._daemon.jobs.get(job)).state.is_over:
                detail = msgspec.json.encode({"answer": done.answer, "reason": done.reason})
                channel.send(Event(done.updated_ns, job, done.state.value, detail, True))
                return
            while True:
                following = asyncio.ensure_future(queue.get())
                await asyncio.wait((following, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    following.cancel()
                    return
                event = following.result()
                if event is None:
                    channel.send(Refused("this follower did not read fast enough", "follow again"))
                    return
                channel.send(event)
                await channel.drain()
                if job and event.job == job and event.over:
                    return
        except IdlehandsError as error:
            channel.send(Refused(error.message, error.advice))
        finally:
            self._daemon.events.unfollow(queue)
            if not gone.done():
                gone.cancel()


def _page(results: list[tuple[int, bytes]], is_over: bool) -> Results:
    """Returns as many results as a message takes, one at least."""
    taken: list[tuple[int, bytes]] = []
    size = 0
    for one in results:
        if size > RESULTS_BYTES:
            break
        taken.append(one)
        size += len(one[1])
    return Results(tuple(taken), len(taken) < len(results), is_over)


def view(job: Job) -> JobView:
    return JobView(
        job=job.job,
        state=job.state.value,
        instruction=job.spec.instruction or f"a batch of {len(job.spec.batch.inputs)} inputs",
        desktop=shown(job.spec.desktop),
        agent=job.spec.agent,
        priority=job.spec.priority,
        owner_epoch=job.owner_epoch,
        attempts=job.attempts,
        actions=job.actions,
        submitted_ns=job.submitted_ns,
        updated_ns=job.updated_ns,
        reason=job.reason,
        answer=job.answer,
        joules=job.joules,
        price=job.price,
    )


def inherited_socket(environment: Mapping[str, str] | None = None) -> socket.socket | None:
    """Returns the listening Unix socket that the service manager handed over (sd_listen_fds(3)), None without one."""
    environment = os.environ if environment is None else environment
    if environment.get("LISTEN_PID") != str(os.getpid()) or environment.get("LISTEN_FDS", "0") == "0":
        return None
    found = socket.socket(fileno=os.dup(_FIRST_LISTEN_FD))
    if found.family is not socket.AF_UNIX or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.close()
        return None
    found.setblocking(False)
    return found


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
