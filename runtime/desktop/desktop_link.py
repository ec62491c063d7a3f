"""One session on the desktop's side: the machine of runtime/wire between a link, a journal and a desktop.

reads   link ─► machine ─► Act: begun in the journal, applied, settled, answered   (short ones at once, in the loop)
looks   damage, and credit from the car ─► capture ─► parts                        (large ones in a thread)
ticks   silence ends the session; the guard is told that this loop runs
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.gate.word import boottime_ns
from runtime.desktop.errors import DesktopLost
from runtime.desktop.frame import Frame
from runtime.desktop.guard import Guard
from runtime.desktop.inputs import Inputs, inputs_of
from runtime.desktop.journal import Journal
from runtime.desktop.kept import KeptStates
from runtime.desktop.limits import LimitKeeper
from runtime.desktop.outbox import Outbox
from runtime.desktop.protocol import Applied, Desktop
from runtime.transport.stream import Stream, StreamBroken
from runtime.wire.actions import Action
from runtime.wire.messages import FEATURE_KEEP, Act, Hello, Interest, Keep
from runtime.wire.session import HEARTBEAT_NS, Closed, State, Transmit
from runtime.wire.session_desktop import DesktopSession, Known, Refused
from runtime.wire.tables import CloseReason, Outcome, Refusal, name_of
from runtime.wire.tiles import FAST, LOCAL, SLOW, SLOW_BYTES_PER_S, TilePacker

_MANY_TILES = 64  # more than these are captured in a thread: about 0.5 ms
_SAME_MACHINE = ("uid:", "memory")  # how the peers of such links are called
_TELLING_BYTES = 1 << 20  # so many must be sent to tell how fast a link is: more than the buffers below it hold
_FRAMES_NAMED = 64  # whose hashes are kept for the log: an action refers to one of the last few
_FAREWELL_S = 1.0  # a link that does not take our last words in this is closed without them
_FRAME_INTERVAL_S = 0.004  # between two captures of a screen that never rests


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended: a CloseReason's name, a detail for people, what was done in it."""

    reason: str
    detail: str
    applied: int
    refused: int


class DesktopLink:
    """A peer of the connector. `greeting`, then `open` and `work` if it may have the desktop; `end` at any time."""

    def __init__(
        self,
        stream: Stream,
        desktop: Desktop,
        journal: Journal,
        tell: Callable[..., None],
        clock: Callable[[], int] = boottime_ns,
    ) -> None:
        self.peer = stream.peer
        self._clock = clock
        self.job = ""
        self.ended = asyncio.Event()
        self.guard: Guard | None = None
        self.keeper: LimitKeeper | None = None
        self.camera: Callable[[NDArray[np.uint8], Action], str] | None = None
        self._shown: Frame | None = None
        self._seen: dict[int, str] = {}
        self._stream, self._desktop, self._journal, self._tell = stream, desktop, journal, tell
        self._session = DesktopSession(self._clock())
        self._kept = KeptStates(journal.folder)
        self._outbox = Outbox(stream)
        self._over = asyncio.Event()
        self._acts: deque[tuple[Act, int]] = deque()
        self._acting: asyncio.Task[None] | None = None
        self._telling: asyncio.Future[None] | None = None
        self._packer = TilePacker(LOCAL if stream.peer.startswith(_SAME_MACHINE) else FAST)
        self._interest: tuple[int, int, int, int] | None = None
        self._look = asyncio.Event()
        self._is_damaged = True
        self._fault: DesktopLost | None = None
        self._is_released = False
        self._applied = self._refused = 0

    # Before the session is open.

    async def greeting(self) -> Hello | None:
        """Returns the peer's hello, None if it ended, was too slow or spoke something else."""
        while self._session.state is State.idle:
            data = await self._receive_until_deadline()
            events = self._session.receive(data, self._clock()) if data else self._session.tick(self._clock())
            for event in events:
                if isinstance(event, Hello):
                    self.job = event.job
                    return event
                self._common(event)
        return None

    def open(self, known: Known, session: int, tile_key: bytes) -> None:
        """Answers the hello."""
        width, height = self._desktop.size
        hello = self._session.hello
        features = (FEATURE_KEEP,) if hello is not None and FEATURE_KEEP in hello.features else ()
        for event in self._session.answer(
            known, session=session, width=width, height=height, tile_key=tile_key, features=features
        ):
            self._common(event)
        if features and self._session.state is State.open:
            self._outbox.put(self._session.send_kept(self._kept.get(self.job)))

    def end(self, reason: CloseReason, detail: str) -> None:
        """Ends the session from this side, with a bye. What is pressed is released first."""
        self._release(reason.name)
        if self._session.state not in (State.closed, State.closing):
            self._outbox.put(self._session.send_bye(reason, detail))
        self._over.set()

    def supersede(self, owner_epoch: int) -> None:
        """A newer owner has come, or the same one over a new link: this link may not act any more."""
        self._session.supersede(owner_epoch)
        self.end(CloseReason.superseded, f"owner {owner_epoch} took the session over")

    def take_over(self, active: bool) -> None:
        """A person has taken the desktop, or given it back: what is held is let go of, and the car is told."""
        if self._session.state is not State.open:
            return
        if active:
            self._let_go("takeover")
        self._outbox.put(self._session.send_takeover(active))
        self._telling = asyncio.ensure_future(self._flush())

    # While it is open.

    async def work(self) -> Ending:
        """Runs the session to its end. Raises DesktopLost if the desktop went away."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2, thread_name_prefix="desktop") as pool:
            self._pool = pool
            loop.add_reader(self._desktop.fileno(), self._on_damage)
            tasks = [asyncio.create_task(run) for run in (self._read(), self._show(), self._tick())]
            over = asyncio.create_task(self._over.wait())
            try:
                done, _ = await asyncio.wait([*tasks, over], return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                with suppress(ValueError, OSError):
                    loop.remove_reader(self._desktop.fileno())
                self._release("end")
                for task in [*tasks, over]:
                    task.cancel()
                await asyncio.gather(*tasks, over, return_exceptions=True)
                if self._acting is not None:
                    await asyncio.gather(self._acting, return_exceptions=True)
        if self._fault is not None:
            raise self._fault
        if self._session.state is State.closing:  # the car said bye, and everything is released
            assert self._session.closed is not None
            self._outbox.put(self._session.send_bye(self._session.closed.reason))
        closed = self._session.closed or Closed(CloseReason.end_of_stream, "the link broke", by_peer=True)
        return Ending(name_of(CloseReason, closed.reason), closed.detail, self._applied, self._refused)

    async def flush_and_close(self) -> None:
        """Sends what is queued, as far as the link takes it, and closes it."""
        with suppress(StreamBroken, asyncio.TimeoutError):
            await asyncio.wait_for(self._outbox.drain(), _FAREWELL_S)
        self._stream.close()

    # Reading and acting.

    async def _read(self) -> None:
        while not self._over.is_set():
            try:
                data = await self._stream.receive()
            except StreamBroken:
                data = b""
            now_ns = self._clock()
            events = self._session.receive(data, now_ns) if data else self._session.end_of_stream()
            for event in events:
                if self._over.is_set():
                    break  # what was to be kept could not be: the action after it must not happen
                if isinstance(event, Act):
                    self._act(event, now_ns)
                else:
                    self._common(event)
            await self._flush()
            if not data:
                return

    def _common(self, event: Any) -> None:
        if isinstance(event, Transmit):
            self._outbox.put(event.data)
        elif isinstance(event, Closed):
            self._release(name_of(CloseReason, event.reason))
            self._over.set()
        elif isinstance(event, Refused):
            self._note_refused(event.act, event.reason)
        elif isinstance(event, Keep):
            self._keep(event)
        else:
            if isinstance(event, Interest):
                self._interest = (event.x, event.y, event.w, event.h)
            self._look.set()  # credit, perhaps

    def _keep(self, keep: Keep) -> None:
        """Keeps what the next owner must know, or ends the session: an action must not happen without it."""
        try:
            self._kept.put(self.job, keep.data)
        except OSError as error:
            self.end(CloseReason.internal_error, f"the state folder does not take the job's state: {error.strerror}")

    def forget(self) -> None:
        """The job is over: nothing is kept of it."""
        self._kept.drop(self.job)

    def _act(self, act: Act, received_ns: int) -> None:
        """Applies `act` now if it is short and nothing is before it, else in its turn in a thread."""
        try:
            if self._acting is None and self._desktop.is_quick(act.action, act.precondition):
                self._apply(act, received_ns)
                return
        except DesktopLost as error:
            self._lose(error)
            return
        self._acts.append((act, received_ns))
        if self._acting is None:
            self._acting = asyncio.create_task(self._act_in_turn())

    async def _act_in_turn(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._acts and not self._over.is_set():
                act, received_ns = self._acts.popleft()
                if self._session.taken_over:  # a person came while it waited for its turn
                    self._journal.begin(act.job, act.seq)
                    self._settle(act, received_ns, Applied(Outcome.refused, Refusal.taken_over, self._clock()))
                    continue
                if self._is_limited(act, received_ns):
                    continue
                step = self._journal.begin(act.job, act.seq)
                applied = await loop.run_in_executor(
                    self._pool, self._desktop.apply, act.action, act.precondition, step
                )
                self._settle(act, received_ns, applied)
                await self._flush()
        except DesktopLost as error:
            self._lose(error)
        finally:
            self._acting = None

    def _apply(self, act: Act, received_ns: int) -> None:
        if self._is_limited(act, received_ns):
            return
        step = self._journal.begin(act.job, act.seq)
        self._settle(act, received_ns, self._desktop.apply(act.action, act.precondition, step))

    def _is_limited(self, act: Act, received_ns: int) -> bool:
        """Returns whether the desktop's owner does not allow `act`; it is refused then."""
        refusal = Refusal.none if self.keeper is None else self.keeper.check(act.action)
        if refusal is Refusal.none:
            return False
        self._journal.begin(act.job, act.seq)
        self._settle(act, received_ns, Applied(Outcome.refused, refusal, self._clock()))
        return True

    def _settle(self, act: Act, received_ns: int, applied: Applied) -> None:
        self._journal.finish(act.job, act.seq, applied.outcome, applied.reason)
        if self._session.state in (State.open, State.closing):
            self._outbox.put(
                self._session.send_result(
                    act.seq, applied.outcome, applied.reason, received_ns=received_ns, applied_ns=applied.applied_ns
                )
            )
        self._applied += applied.outcome is Outcome.applied
        self._refused += applied.outcome is Outcome.refused
        self._tell_action(act, applied.outcome, applied.reason, received_ns, applied.applied_ns, applied.grabbed_us)

    def _note_refused(self, act: Act, reason: Refusal) -> None:
        """The fence refused `act`: its seq is used up, also for the sessions to come, if it was this job's next."""
        self._refused += 1
        uses_up = reason not in (Refusal.wrong_job, Refusal.old_owner, Refusal.repeated_seq)
        if uses_up and self._acting is None:  # with one under way the journal stands at that one
            self._journal.begin(act.job, act.seq)
            self._journal.finish(act.job, act.seq, Outcome.refused, reason)
        self._tell_action(act, Outcome.refused, reason, self._clock(), 0, 0)

    def _tell_action(
        self, act: Act, outcome: Outcome, reason: Refusal, received_ns: int, applied_ns: int, grabbed_us: int
    ) -> None:
        inputs = inputs_of(act.action) if outcome is Outcome.applied else Inputs()
        told: dict[str, Any] = {
            "job": act.job,
            "owner_epoch": act.owner_epoch,
            "seq": act.seq,
            "frame": act.frame,
            "seen": self._seen.get(act.frame, ""),
            "kind": type(act.action).__name__.lower(),
            "outcome": outcome.name,
            "reason": reason.name,
            "buttons": len(inputs.buttons),
            "keys": inputs.keys,
            "received_ns": received_ns,
            "applied_ns": applied_ns,
            "grabbed_us": grabbed_us,
        }
        if self.camera is not None and self._shown is not None:
            told["picture"] = self.camera(self._shown.pixels, act.action)
        # After the result, which a car waits for.
        asyncio.get_running_loop().call_soon(partial(self._tell, "action", **told))

    # Looking.

    def _on_damage(self) -> None:
        try:
            if self._desktop.drain():
                self._is_damaged = True
                self._look.set()
        except DesktopLost as error:
            self._lose(error)

    async def _show(self) -> None:
        """Captures and sends whenever the screen has changed and the car has given credit."""
        loop = asyncio.get_running_loop()
        while True:
            await self._look.wait()
            self._look.clear()
            if not self._is_damaged or self._session.credits < 1 or self._session.state is not State.open:
                continue
            began = loop.time()
            try:
                frame = await self._capture(loop)
            except DesktopLost as error:
                self._lose(error)
                return
            if frame.frame_id > self._session.last_frame:
                await self._send(frame)
            if self._is_damaged and (wait_s := began + _FRAME_INTERVAL_S - loop.time()) > 0:
                await asyncio.sleep(wait_s)

    async def _send(self, frame: Frame) -> None:
        """Sends what the car lacks of `frame`; waits for the link between parts, and learns how fast it is."""
        parts = self._packer.parts(
            frame.frame_id,
            frame.pixels,
            frame.hashes,
            captured_ns=frame.captured_ns,
            capture_us=frame.capture_us,
            interest=self._interest,
        )
        self._shown = frame
        self._seen[frame.frame_id] = hashlib.blake2b(frame.hashes.tobytes(), digest_size=16).hexdigest()
        if len(self._seen) > _FRAMES_NAMED:
            del self._seen[next(iter(self._seen))]
        began_ns, sent_bytes = self._clock(), 0
        for part in parts:
            data = self._session.send_part(part)
            sent_bytes += len(data)
            self._outbox.put(data)
            await self._drain()
        took_ns = self._clock() - began_ns
        if sent_bytes > _TELLING_BYTES and self._packer.packing is not LOCAL:
            self._packer.packing = SLOW if sent_bytes * 1e9 < SLOW_BYTES_PER_S * took_ns else FAST

    async def _capture(self, loop: asyncio.AbstractEventLoop) -> Frame:
        tiles = self._desktop.drain()
        self._is_damaged = False
        if tiles <= _MANY_TILES:
            frame = self._desktop.capture(self._session.last_frame)
        else:
            loop.remove_reader(self._desktop.fileno())  # one at a time may use its connection
            try:
                frame = await loop.run_in_executor(self._pool, self._desktop.capture, self._session.last_frame)
            finally:
                loop.add_reader(self._desktop.fileno(), self._on_damage)
        self._on_damage()  # what came while we waited for the pixels lies in no socket any more
        return frame

    # Writing, time, the end.

    async def _flush(self) -> None:
        """Says what is to be said; a link that is gone ends the session."""
        try:
            await self._outbox.flush()
        except StreamBroken:
            self._broken()

    async def _drain(self) -> None:
        """As `_flush`, and waits until the link has taken everything: latest wins."""
        try:
            await self._outbox.drain()
        except StreamBroken:
            self._broken()

    def _broken(self) -> None:
        for event in self._session.end_of_stream():
            self._common(event)

    async def _tick(self) -> None:
        while not self._over.is_set():
            now_ns = self._clock()
            if self.guard is not None:
                self.guard.beat()
            for event in self._session.tick(now_ns):
                self._common(event)
            await self._flush()
            await asyncio.sleep(max(min(self._session.deadline_ns - self._clock(), HEARTBEAT_NS) / 1e9, 0.001))

    def _release(self, reason: str) -> None:
        """Lets go of everything, once; only a link that had the desktop has anything to let go of."""
        if self._is_released or self.guard is None:
            return
        self._is_released = True
        self._let_go(reason)

    def _let_go(self, reason: str) -> None:
        held = sorted(self._desktop.pressed())
        try:
            self._desktop.release_all()
        except DesktopLost as error:
            self._fault = error
        self._tell("released", job=self.job, reason=reason, held=held)

    def _lose(self, error: DesktopLost) -> None:
        self._fault = error
        self._over.set()

    async def _receive_until_deadline(self) -> bytes:
        """Returns bytes from the peer, b"" at the machine's deadline; a broken link ends the session."""
        seconds = max(self._session.deadline_ns - self._clock(), 0) / 1e9
        try:
            data = await asyncio.wait_for(self._stream.receive(), seconds)
        except asyncio.TimeoutError:
            return b""
        except StreamBroken:
            data = b""
        if not data:
            self._session.end_of_stream()
        return data
