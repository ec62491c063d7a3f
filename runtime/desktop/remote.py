"""The car's side of a session: a mirror of the desktop's screen, and one action at a time.

    link ─► CarSession ─► parts ─► the mirror: always the newest screen, kept up to date beside everything else
                                        └─ next_frame, settle ─► `frame`: stands still while an agent looks at it,
                                           and `rests` tells whether it still is the newest

Credit goes back with the next action, with the next wait, or 30 ms after a frame: what an agent sees after it has
thought is at most about that old, and a busy screen does not eat the car's time in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from kernels.frames.tiles import hash_region
from kernels.gate.word import boottime_ns
from runtime.desktop.errors import SessionLost, SessionRefused
from runtime.desktop.frame import Frame
from runtime.desktop.mirror import Mirror
from runtime.desktop.outbox import Outbox
from runtime.transport.stream import Stream, StreamBroken
from runtime.wire.actions import Action, Precondition
from runtime.wire.errors import ProtocolError
from runtime.wire.messages import FEATURE_KEEP, ActResult, FramePart, Hello, HelloAnswer, Kept, Takeover
from runtime.wire.session import Closed, State, Transmit
from runtime.wire.session_car import CarEvent, CarSession
from runtime.wire.tables import PROTOCOL_VERSION, CloseReason, name_of

__all__ = ["RemoteDesktop", "SessionLost", "SessionRefused"]

_CREDITS = 2  # one frame on its way while another is unpacked
_CREDIT_INTERVAL_S = 0.03
_CLOCKS_APART_NS = 10_000_000_000
_FAREWELL_S = 1.0


class RemoteDesktop:
    """A session with a desktop, from `connect` to `bye`. One task uses it; it keeps its own heart beating.

    Every method raises SessionLost once the session is over, with the reason. `transfer_us` is how long the newest
    frame took from its capture to here.
    """

    def __init__(self, stream: Stream, clock: Callable[[], int] = boottime_ns) -> None:
        self._stream = stream
        self._clock = clock
        self._session = CarSession(self._clock())
        self._mirror = Mirror()
        self._frame: Frame | None = None
        self._outbox = Outbox(stream)
        self._waiter: asyncio.Future[bool] | None = None
        self._results: dict[int, asyncio.Future[ActResult]] = {}
        self._owed_credit = 0
        self._paying: asyncio.TimerHandle | None = None
        self._began_ns = 0
        self._stirred_at_s = 0.0  # when the newest frame came, or the last action was over
        self._tasks: list[asyncio.Task[None]] = []
        self._tick_early = asyncio.Event()
        self.transfer_us = 0
        self.hello: HelloAnswer

    @classmethod
    async def connect(
        cls,
        stream: Stream,
        *,
        job: str,
        owner_epoch: int,
        token: bytes | str = b"",
        agent: str = "",
        model: str = "",
        features: tuple[str, ...] = (FEATURE_KEEP,),
        clock: Callable[[], int] = boottime_ns,
    ) -> RemoteDesktop:
        """Opens a session for `job` over `stream` as its owner `owner_epoch`.

        Raises SessionRefused with the desktop's reason, SessionLost if the link ends before it answers.
        """
        remote = cls(stream, clock)
        secret = token.encode() if isinstance(token, str) else token
        hello = Hello(PROTOCOL_VERSION, job, owner_epoch, secret, agent, model, features)
        remote._outbox.put(remote._session.send_hello(hello, clock()))
        remote._tasks = [asyncio.create_task(run) for run in (remote._read(), remote._tick())]
        try:
            while remote._session.state is State.greeting or remote._awaits_kept:
                await remote._wait(None)
        except SessionLost as error:
            await remote._end()
            closed = remote._session.closed
            if closed is not None and closed.by_peer and closed.reason != CloseReason.end_of_stream:
                raise SessionRefused(error.message) from error
            raise
        except BaseException:
            await remote._end()
            raise
        answer = remote._session.answer
        assert answer is not None
        remote.hello = answer
        remote._give_credit(_CREDITS)
        return remote

    @property
    def frame(self) -> Frame:
        """The frame that `next_frame` or `settle` returned last; it does not change until they are called again."""
        if self._frame is None:
            raise SessionLost("no frame was awaited yet: call next_frame first")
        return self._frame

    @property
    def is_newest(self) -> bool:
        """Whether the desktop has shown nothing newer than `frame`."""
        return self._mirror.newest is None or self._mirror.newest.frame == self.frame.frame_id

    @property
    def next_seq(self) -> int:
        """The seq that the next action will carry."""
        return self._session.next_seq

    @property
    def keeps(self) -> bool:
        """Whether the desktop keeps what `act` is given to keep."""
        return self._session.keeps

    @property
    def kept(self) -> bytes:
        """What the job's last owner had the desktop keep; empty if nothing."""
        return self._session.kept.data if self._session.kept is not None else b""

    @property
    def _awaits_kept(self) -> bool:
        return self._session.state is State.open and self._session.keeps and self._session.kept is None

    @property
    def is_taken_over(self) -> bool:
        """Whether a person uses the desktop: until they give it back every action is refused."""
        return self._session.taken_over

    async def next_frame(self, after_id: int = -1, timeout_s: float = 10.0) -> Frame:
        """Returns the newest frame, as soon as it is newer than `after_id`. Raises TimeoutError after `timeout_s`."""
        until = asyncio.get_running_loop().time() + timeout_s
        while self._mirror.newest is None or self._mirror.newest.frame <= after_id:
            left_s = until - asyncio.get_running_loop().time()
            if left_s <= 0 or not await self._wait(left_s):
                raise TimeoutError(f"the desktop showed no frame after {after_id} within {timeout_s:g} s")
        return self._take()

    async def settle(self, quiet_ms: float = 20.0, at_most_ms: float = 1000.0, after_id: int | None = None) -> Frame:
        """Waits until the screen has changed since `after_id` (the present frame) and rested for `quiet_ms` since then
        and since the last action.

        Returns the newest frame, after `at_most_ms` in any case: also of a screen that never changes, or never rests.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + at_most_ms / 1000
        known = after_id if after_id is not None else self._frame.frame_id if self._frame is not None else -1
        while (left_s := until - loop.time()) > 0:
            if self._mirror.newest is not None and self._mirror.newest.frame > known:
                left_s = min(left_s, self._stirred_at_s + quiet_ms / 1000 - loop.time())
                if left_s <= 0:
                    break
            await self._wait(left_s)
        return self._take()

    async def rests(self, quiet_ms: float = 20.0) -> bool:
        """Waits until the screen has rested for `quiet_ms` since `frame` came and the last action was over. Returns
        False at once if it changes.

        `frame` stays as it is.
        """
        loop = asyncio.get_running_loop()
        while self.is_newest:
            left_s = self._stirred_at_s + quiet_ms / 1000 - loop.time()
            if left_s <= 0:
                return True
            await self._wait(left_s)
        return False

    async def act(self, action: Action, precondition: Precondition | None = None, keep: bytes = b"") -> ActResult:
        """Does `action`, decided on `frame`. Returns what became of it. The desktop has `keep` before, if it is given.

        Raises SessionLost if the session ends before the result: the action is unknown until the next hello tells.
        """
        self._check_open()
        if keep:
            self._outbox.put(self._session.send_keep(keep))
        seq, data = self._session.send_act(self.frame.frame_id, action, precondition)
        self._give_credit(self._owed_credit)
        self._outbox.put(data)
        result: asyncio.Future[ActResult] = asyncio.get_running_loop().create_future()
        self._results[seq] = result
        await self._flush()
        try:
            return await result
        finally:
            self._stirred_at_s = asyncio.get_running_loop().time()

    def hash_region(self, x: int, y: int, w: int, h: int) -> bytes:
        """Returns the session's hash of a region of `frame`, for a precondition. ValueError if it leaves the frame."""
        return hash_region(self.frame.pixels, x, y, w, h, self.hello.tile_key)

    async def bye(self, reason: CloseReason = CloseReason.job_over) -> None:
        """Ends the session; returns when the desktop has said that every key and button is up.

        Raises SessionLost if it did not say so.
        """
        self._check_open()
        self._outbox.put(self._session.send_bye(reason, self._clock()))
        try:
            with suppress(SessionLost):
                while True:
                    await self._wait(None)
        finally:
            await self._end()
        closed = self._session.closed
        if closed is None or not closed.by_peer or closed.reason == CloseReason.end_of_stream:
            raise self._lost()

    async def __aenter__(self) -> RemoteDesktop:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session.state is State.open:
            with suppress(SessionLost):
                await self.bye(CloseReason.job_over if kind is None else CloseReason.unspecified)
        await self._end()

    # What happens beside the caller.

    async def _read(self) -> None:
        while self._session.state is not State.closed:
            try:
                data = await self._stream.receive()
            except StreamBroken:
                data = b""
            self._take_in(self._session.receive(data, self._clock()) if data else self._session.end_of_stream())
            await self._flush()

    async def _flush(self) -> None:
        try:
            await self._outbox.flush()
        except StreamBroken:
            self._take_in(self._session.end_of_stream())

    async def _tick(self) -> None:
        while self._session.state is not State.closed:
            now_ns = self._clock()
            self._take_in(self._session.tick(now_ns))
            self._give_credit(self._owed_credit)
            await self._flush()
            self._tick_early.clear()
            with suppress(asyncio.TimeoutError):
                seconds = max((self._session.deadline_ns - self._clock()) / 1e9, 0.001)
                await asyncio.wait_for(self._tick_early.wait(), seconds)

    def _take_in(self, events: list[CarEvent]) -> None:
        for event in events:
            if isinstance(event, Transmit):
                self._outbox.put(event.data)
            elif isinstance(event, FramePart):
                self._take_part(event)
            elif isinstance(event, ActResult):
                result = self._results.pop(event.seq, None)
                if result is not None and not result.done():
                    result.set_result(event)
            elif isinstance(event, HelloAnswer | Kept | Takeover | Closed):
                self._wake()
                self._tick_early.set()  # the heart beats from now on
        if self._session.state is State.closed:
            self._fail_results()
            self._wake()

    def _take_part(self, part: FramePart) -> None:
        if not self._began_ns:
            self._began_ns = self._clock()
        try:
            is_complete = self._mirror.add(part)
        except ProtocolError as error:
            self._outbox.put(self._session.send_bye(error.reason, self._clock(), error.message))
            self._take_in(self._session.end_of_stream())
            return
        if is_complete:
            now_ns = self._clock()
            since_ns = now_ns - part.captured_ns - part.capture_us * 1000
            is_same_clock = 0 <= since_ns < _CLOCKS_APART_NS
            self.transfer_us = (
                since_ns if is_same_clock else now_ns - self._began_ns + self._session.round_trip_ns // 2
            ) // 1000
            self._began_ns = 0
            self._stirred_at_s = asyncio.get_running_loop().time()
            self._wake()
            self._owed_credit += 1
            if self._paying is None:
                self._paying = asyncio.get_running_loop().call_later(_CREDIT_INTERVAL_S, self._tick_early.set)

    def _give_credit(self, frames: int) -> None:
        """Puts credit for `frames` more frames before what is said next; it is not worth a write of its own."""
        if frames and self._session.state is State.open:
            self._outbox.put(self._session.send_credit(frames))
        self._owed_credit = 0
        if self._paying is not None:
            self._paying.cancel()
            self._paying = None

    # For the caller.

    async def _wait(self, seconds: float | None) -> bool:
        """Waits for a frame, the hello's answer or the end. Returns whether anything came; raises SessionLost."""
        self._check_alive()
        self._give_credit(self._owed_credit)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = None if seconds is None else loop.call_later(seconds, _give_up, waiter)
        try:
            await self._flush()
            has_come = await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        self._check_alive()
        return has_come

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    def _take(self) -> Frame:
        """Brings `frame` up to the newest complete one."""
        if self._mirror.newest is None:
            raise SessionLost("the desktop has shown no frame yet")
        self._frame = self._mirror.take()
        return self._frame

    def _check_alive(self) -> None:
        if self._session.state is State.closed:
            raise self._lost()

    def _check_open(self) -> None:
        if self._session.state is not State.open:
            raise self._lost()

    def _lost(self) -> SessionLost:
        closed = self._session.closed
        if closed is None:
            return SessionLost(f"the session with {self._stream.peer} is {self._session.state.value}")
        who = "the desktop" if closed.by_peer else "this side"
        reason = name_of(CloseReason, closed.reason)
        return SessionLost(f"{who} ended the session with {self._stream.peer}: {reason}: {closed.detail}")

    def _fail_results(self) -> None:
        for result in self._results.values():
            if not result.done():
                result.set_exception(self._lost())
                result.exception()  # who was cancelled in the meantime does not ask for it
        self._results.clear()

    async def _end(self) -> None:
        """Ends the tasks and the link, after what is queued has been handed on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with suppress(StreamBroken, asyncio.TimeoutError):
            await asyncio.wait_for(self._outbox.drain(), _FAREWELL_S)
        self._stream.close()
        self._mirror.wipe()
        self._fail_results()


def _give_up(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
