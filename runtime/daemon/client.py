"""The control socket's client, for the command line and the demo."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import msgspec

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
    Results,
    Status,
    Submit,
    Submitted,
)
from runtime.errors import RuntimeFault
from runtime.jobs.spec import JobSpec

_T = TypeVar("_T")


class DaemonAbsent(RuntimeFault):
    """Nobody answers on the control socket."""

    next_step = "start the daemon with 'idlehands serve', or name its settings with --config"


class DaemonRefused(RuntimeFault):
    """The daemon refused the request; the message is its own."""


class Client:
    """One connection; requests are answered in turn. Use `async with await Client.connect(path)`."""

    def __init__(self, channel: Channel[Answer]) -> None:
        self._channel = channel

    @classmethod
    async def connect(cls, path: Path) -> Client:
        try:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
        except OSError as error:
            raise DaemonAbsent(f"no daemon answers on {path} ({error.strerror})") from error
        return cls(Channel(reader, writer, Answer))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def submit(self, spec: JobSpec) -> Submitted:
        return await self._ask(Submit(msgspec.msgpack.encode(spec)), Submitted)

    async def list_jobs(self, states: tuple[str, ...] = (), limit: int = 50) -> tuple[JobView, ...]:
        return (await self._ask(ListJobs(states, limit), Jobs)).jobs

    async def cancel(self, job: str, reason: str) -> JobView:
        return await self._ask(CancelJob(job, reason), JobView)

    async def results(self, job: str, since: int = 0) -> Results:
        return await self._ask(GetResults(job, since), Results)

    async def status(self) -> Status:
        return await self._ask(GetStatus(), Status)

    async def follow(self, job: str = "") -> AsyncIterator[Event]:
        """Yields events of `job` until it is over (empty: of every job, endlessly). Nothing else is asked meanwhile."""
        self._channel.send(Follow(job))
        while True:
            event = await self._receive(Event)
            yield event
            if job and event.job == job and event.over:
                return

    async def _ask(self, request: msgspec.Struct, expected: type[_T]) -> _T:
        self._channel.send(request)
        return await self._receive(expected)

    async def _receive(self, expected: type[_T]) -> _T:
        try:
            answer = await self._channel.receive()
        except BadMessage as error:
            raise DaemonRefused(f"the daemon speaks another version: {error}") from error
        if answer is None:
            raise DaemonAbsent("the daemon ended the connection")
        if isinstance(answer, Refused):
            raise DaemonRefused(answer.what, next_step=answer.next_step)
        if not isinstance(answer, expected):
            raise DaemonRefused(f"the daemon answered {type(answer).__name__}, expected {expected.__name__}")
        return answer
