"""What both sides of a session share: states, clocks, the receive loop, how a session ends. No I/O, no clock.

    bytes in ──receive(data, now)──► events: messages that may act now, Transmit(bytes to write), Closed(why)
    time  ─────tick(now)───────────► the same; `deadline_ns` says when it is next worth calling
    wishes ────send_…()────────────► bytes to write

Whatever the peer does, a machine holds at most one unfinished message and a handful of numbers. Times are ns of any
clock that does not go back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

import msgspec

from runtime.wire.errors import ProtocolError
from runtime.wire.framing import Splitter, decode, frame
from runtime.wire.messages import Bye
from runtime.wire.tables import CloseReason

MS = 1_000_000
HEARTBEAT_NS = 250 * MS
SILENCE_NS = 1_000 * MS
HELLO_NS = 5_000 * MS  # from the link to the hello's answer
STALL_NS = 10_000 * MS  # from the first to the last byte of one message
MAX_UNANSWERED = 16  # actions that await their result


class State(Enum):
    """Where a session stands; the charts are in session_car.py and session_desktop.py."""

    idle = "idle"
    greeting = "greeting"
    open = "open"
    closing = "closing"
    closed = "closed"


class NotOpen(ValueError):
    """Something was to be sent in a state that does not allow it: look at `state` before."""


@dataclass(frozen=True, slots=True)
class Transmit:
    """Write `data` to the link, before anything that is sent later."""

    data: bytes | bytearray


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over. `reason` is a CloseReason, or a number that only a newer peer knows."""

    reason: int
    detail: str
    by_peer: bool


E = TypeVar("E")
_TOO_EARLY = frozenset({State.idle})
_OVER = frozenset({State.closed})


class Session(Generic[E]):
    """One side. `on` maps each message type that the peer may send to the method that takes it."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Any], cap: int, now_ns: int) -> None:
        self.state = State.idle
        self.closed: Closed | None = None
        self._decoder = decoder
        self._splitter = Splitter(cap)
        self._began_ns = now_ns
        self._heard_ns = now_ns
        self._pending_since_ns = now_ns
        self._events: list[E | Transmit | Closed] = []
        self._on: dict[type, Callable[[Any, int], None]] = {}

    # What the shell calls.

    def receive(self, data: bytes | bytearray | memoryview, now_ns: int) -> list[E | Transmit | Closed]:
        """Takes bytes from the link; never raises for what a peer sends. Messages may hold views of `data`."""
        if self.state is State.closed or not data:
            return []
        if not self._splitter.pending_bytes:
            self._pending_since_ns = now_ns
        try:
            self._heard_bytes(now_ns)
            for payload in self._splitter.feed(data):
                message = decode(payload, self._decoder)
                self._pending_since_ns = self._heard_ns = now_ns
                self._on[type(message)](message, now_ns)
                if self._is_over():
                    break
        except ProtocolError as error:
            self._end(error.reason, error.message)
        return self._taken()

    def tick(self, now_ns: int) -> list[E | Transmit | Closed]:
        """Lets time act: heartbeats, silence, a hello or a message that does not come. Feed what has arrived before."""
        if self.state is not State.closed:
            self._time(now_ns)
        return self._taken()

    def end_of_stream(self) -> list[E | Transmit | Closed]:
        """The link ended, with or without an error."""
        if self.state is not State.closed:
            self._close(Closed(CloseReason.end_of_stream, "the link ended without a bye", by_peer=True))
        return self._taken()

    @property
    def deadline_ns(self) -> int:
        """The time at which `tick` has something to do if nothing arrives before."""
        raise NotImplementedError

    # For the two sides.

    def _time(self, now_ns: int) -> None:
        raise NotImplementedError

    def _heard_bytes(self, now_ns: int) -> None:
        """Called for any bytes at all; the car counts them as a sign of life."""

    def _is_over(self) -> bool:
        return self.state is State.closed

    def _check_stall(self, now_ns: int) -> None:
        if self._splitter.pending_bytes and now_ns - self._pending_since_ns >= STALL_NS:
            raise ProtocolError(
                CloseReason.stalled,
                f"{self._splitter.pending_bytes} bytes of a message came, its end did not within {STALL_NS // MS} ms",
            )

    def _require(self, *states: State) -> None:
        if self.state not in states:
            expected = " or ".join(state.value for state in states)
            raise NotOpen(f"this session is {self.state.value}, this may be sent when it is {expected}")

    def _emit(self, event: E | Transmit) -> None:
        self._events.append(event)

    def _taken(self) -> list[E | Transmit | Closed]:
        taken, self._events = self._events, []
        return taken

    def _end(self, reason: CloseReason, detail: str) -> None:
        """Ends the session from this side and tells the peer."""
        self._emit(Transmit(frame(Bye(reason, detail[:1024]))))
        self._close(Closed(reason, detail, by_peer=False))

    def _close(self, closed: Closed) -> None:
        self.state, self.closed = State.closed, closed
        self._splitter = Splitter(0)
        self._events.append(closed)


def out_of_order(message: object, state: State) -> ProtocolError:
    """Returns the error for a message that may not come in `state`."""
    return ProtocolError(CloseReason.wrong_order, f"{type(message).__name__} in a session that is {state.value}")
