"""The connector: lets one owner of one job at a time look at a desktop and work it.

    link ─► DesktopSession (the fence) ─► journal: in progress ─► Desktop.apply ─► journal: settled ─► result
    damage ─► capture, when the car has given credit ─► changed tiles ─► link        latest wins: nothing is queued

However a session ends (bye, silence, cut, takeover by a newer owner, a fault here), every key and button is let go of
before anything else is done. What a `kill -9` leaves in progress is settled from the desktop's own mark at the start.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.gate.word import boottime_ns
from runtime.desktop.desktop_link import DesktopLink, Ending
from runtime.desktop.errors import DesktopLost
from runtime.desktop.grants import GrantBook
from runtime.desktop.guard import Guard, NoGuard
from runtime.desktop.journal import Journal
from runtime.desktop.limits import DesktopRules, LimitKeeper, WindowOf
from runtime.desktop.protocol import Desktop
from runtime.desktop.takeover import Holder, People, Signal, Takeover, TakeoverRules
from runtime.transport.dial import listen, shown
from runtime.transport.identity import Identity
from runtime.transport.stream import Server, Stream
from runtime.wire.actions import Action
from runtime.wire.messages import Hello
from runtime.wire.session_desktop import Known
from runtime.wire.tables import CloseReason

Events = Callable[[dict[str, Any]], None]
_TILE_KEY_BYTES = 16
_HANDOVER_S = 2.0
_REST_LOOK_S = 0.02


@dataclass
class Connector:
    """Serves `desktop`. `events` is called with JSON-able dicts; every one has "event" and "at_ns" (CLOCK_BOOTTIME).

    `allow` is asked for every hello, with who says it, and answers with why it is refused: "" if it is not.
    """

    desktop: Desktop
    journal: Journal
    events: Events
    guard: Guard
    people: People | None = None
    takeover: Takeover = field(default_factory=lambda: Takeover(TakeoverRules()))
    keeper: LimitKeeper | None = None
    camera: Callable[[NDArray[np.uint8], Action], str] | None = None
    allow: Callable[[Hello, str], str] = lambda hello, peer: ""
    clock: Callable[[], int] = boottime_ns

    def __post_init__(self) -> None:
        self._current: DesktopLink | None = None
        self._sessions = 0
        self._handing_back: asyncio.TimerHandle | None = None
        self._resting: asyncio.Task[None] | None = None
        self.lost: DesktopLost | None = None
        self.gone = asyncio.Event()

    def settle(self) -> None:
        """Lets go of what is pressed and settles what a connector before this one left in progress. Call it once."""
        self.desktop.release_all()
        settled = self.journal.settle(self.desktop.last_mark())
        self.desktop.sign_on(self.journal.journal_id)
        if settled:
            self.tell("settled", actions=settled)

    def watch_people(self) -> None:
        """From now on a person's input takes the desktop from the agent. Needs the running loop; `close` ends it."""
        if self.people is not None:
            asyncio.get_running_loop().add_reader(self.people.fileno(), self._on_people)
            self._on_people()

    async def handle(self, stream: Stream) -> None:
        """Serves one peer from its first byte to its end."""
        link = DesktopLink(stream, self.desktop, self.journal, self.tell, self.clock)
        try:
            hello = await link.greeting()
            if hello is not None and await self._admit(link, hello):
                await self._run(link, hello)
        except DesktopLost as error:
            self.lost = error
            link.end(CloseReason.desktop_lost, error.message)
            self.gone.set()
        finally:
            await link.flush_and_close()

    async def close(self) -> None:
        """Ends the session that is open, if one is, and the watch for people."""
        if self.people is not None:
            asyncio.get_running_loop().remove_reader(self.people.fileno())
        if self._handing_back is not None:
            self._handing_back.cancel()
        if self._current is not None:
            self._current.end(CloseReason.shutting_down, "the connector is being stopped")
            await self._current.ended.wait()
        await self._stop_resting()

    def tell(self, event: str, **fields: Any) -> None:
        """Calls `events` with one event."""
        self.events({"event": event, "at_ns": self.clock(), **fields})

    async def _admit(self, link: DesktopLink, hello: Hello) -> bool:
        """Decides whether `hello` may have the desktop. A newer owner of the same job ends the session before it."""
        if self.takeover.holder is Holder.stopped:
            return self._refuse(link, hello, CloseReason.stopped, CloseReason.stopped.meaning)
        if why_not := self.allow(hello, link.peer):
            return self._refuse(link, hello, CloseReason.bad_token, why_not)
        known = self.journal.record(hello.job)
        if hello.owner_epoch < known.owner_epoch:
            detail = f"owner {known.owner_epoch} of this job is known, this is {hello.owner_epoch}"
            return self._refuse(link, hello, CloseReason.old_owner, detail)
        while (current := self._current) is not None:
            if current.job != hello.job:
                return self._refuse(link, hello, CloseReason.busy, f"the desktop is worked for job {current.job!r}")
            current.supersede(hello.owner_epoch)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(current.ended.wait(), _HANDOVER_S)
        return True

    def _refuse(self, link: DesktopLink, hello: Hello, reason: CloseReason, detail: str) -> bool:
        link.end(reason, detail)
        told = {"job": hello.job, "owner_epoch": hello.owner_epoch, "peer": link.peer}
        self.tell("session_refused", **told, reason=reason.name, detail=detail)
        return False

    async def _run(self, link: DesktopLink, hello: Hello) -> None:
        self._current = link
        self._sessions += 1
        link.guard, link.keeper, link.camera = self.guard, self.keeper, self.camera
        if self.keeper is not None:
            self.keeper.session_opened()
        try:
            await self._stop_resting()
            self.journal.advance(hello.job, hello.owner_epoch)
            record = self.journal.record(hello.job)
            tile_key = os.urandom(_TILE_KEY_BYTES)
            self.desktop.rekey(tile_key)
            self.guard.beat()
            self.guard.session_opened()
            link.open(Known(record.owner_epoch, record.last_seq, record.last_outcome), self._sessions, tile_key)
            self.tell(
                "session_opened",
                job=hello.job,
                owner_epoch=hello.owner_epoch,
                agent=hello.agent,
                model=hello.model,
                peer=link.peer,
                last_seq=record.last_seq,
                last_outcome=record.last_outcome.name,
            )
            if self.takeover.holder is Holder.person:
                link.take_over(True)
            ending = await link.work()
            if ending.reason == CloseReason.job_over.name:
                link.forget()
            self._tell_end(hello, ending)
        finally:
            self._current = None
            link.ended.set()
            self.guard.session_closed()
            self._resting = asyncio.create_task(self._rest())

    async def _rest(self) -> None:
        """Puts back what the session has changed, once the desktop's programs are ready for it."""
        with suppress(DesktopLost):
            while not self.desktop.rest():
                await asyncio.sleep(_REST_LOOK_S)

    async def _stop_resting(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            await asyncio.gather(self._resting, return_exceptions=True)
            self._resting = None

    def _on_people(self) -> None:
        assert self.people is not None
        try:
            signals = self.people.drain()
        except DesktopLost as error:
            self.lost = error
            self.gone.set()
            asyncio.get_running_loop().remove_reader(self.people.fileno())
            return
        for signal in signals:
            if signal is Signal.approve and self.keeper is not None and self.keeper.approve():
                self.tell("approved")
            if self.takeover.hear(signal, self.clock()):
                self._change_hands()
        self._wait_for_quiet()

    def _wait_for_quiet(self) -> None:
        """Gives the desktop back to the agent when the takeover's time has come; one timer at a time."""
        if self.takeover.tick(self.clock()):
            self._change_hands()
        deadline_ns = self.takeover.deadline_ns
        if self._handing_back is not None:
            self._handing_back.cancel()
            self._handing_back = None
        if deadline_ns is not None:
            seconds = max(deadline_ns - self.clock(), 0) / 1e9
            self._handing_back = asyncio.get_running_loop().call_later(seconds, self._wait_for_quiet)

    def _change_hands(self) -> None:
        holder, link = self.takeover.holder, self._current
        if link is not None:
            if holder is Holder.stopped:
                link.end(CloseReason.stopped, "a person stopped the session")
            else:
                link.take_over(holder is Holder.person)
        if self.people is not None:
            self.people.show(holder)
        self.tell("holder", holder=holder.value)

    def _tell_end(self, hello: Hello, ending: Ending) -> None:
        self.tell(
            "session_closed",
            job=hello.job,
            owner_epoch=hello.owner_epoch,
            reason=ending.reason,
            detail=ending.detail,
            applied=ending.applied,
            refused=ending.refused,
        )


async def serve_desktop(
    desktop: Desktop,
    listen_url: str,
    identity: Identity | None,
    state: Journal | str | os.PathLike[str],
    events: Events,
    *,
    guard: Guard | None = None,
    people: People | None = None,
    rules: DesktopRules | None = None,
    window_of: WindowOf = lambda point: frozenset(),
    ready: Callable[[str], None] = lambda address: None,
    require_grant: bool = False,
) -> None:
    """Serves `desktop` at `listen_url` until it is cancelled; calls `ready` with the real address once it listens.

    `state` is the connector's state folder, or its journal if the caller holds that already; `rules` are the limits of
    the desktop's owner, `window_of` names windows for them. A job's token is checked where one is shown, and must be
    shown if `require_grant`. Raises StateFolderError if the folder cannot be used, a TransportError if the address
    cannot be listened on, DesktopLost when the desktop goes away.
    """
    journal = state if isinstance(state, Journal) else Journal(Path(state))
    server: Server | None = None
    try:
        rules = rules or DesktopRules()
        takeover = Takeover(rules.takeover.rules())
        keeper = LimitKeeper(rules.limits, boottime_ns, window_of=window_of)
        camera = None
        if rules.log.pictures:
            from runtime.desktop.pictures import keep_picture  # needs Pillow, only here

            camera = partial(keep_picture, journal.folder)
        connector = Connector(desktop, journal, events, guard or NoGuard(), people, takeover, keeper, camera)
        connector.allow = _allowing(identity, journal.folder, is_required=require_grant)
        connector.settle()
        connector.watch_people()
        server = await listen(listen_url, identity, connector.handle)
        connector.tell("listening", address=shown(server.address))
        ready(server.address)
        try:
            await connector.gone.wait()
        finally:
            await connector.close()
        if connector.lost is not None:
            raise connector.lost
    finally:
        if server is not None:
            await server.close()
        if journal is not state:
            journal.close()


def _allowing(identity: Identity | None, folder: Path, *, is_required: bool) -> Callable[[Hello, str], str]:
    """Returns who may come: any peer that the link let in, but a token that is shown, or required, must be a grant."""
    book = None if identity is None else GrantBook(identity, folder)

    def allow(hello: Hello, peer: str) -> str:
        if not hello.token:
            return "this desktop asks for a grant, and the job has no token" if is_required else ""
        if book is None:
            return "this desktop has no identity, and so has given no grants"
        return book.check(hello.token, hello.job, peer)

    return allow
