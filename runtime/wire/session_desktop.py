"""The desktop's side of a session, as a machine without I/O: the fence that every action must pass.

                Hello                  answer                    Bye
      ┌──────┐ ───────► ┌──────────┐ ──────────► ┌──────┐ ─────────────► ┌─────────┐
      │ idle │          │ greeting │             │ open │                │ closing │ keys and buttons are being released
      └──┬───┘          └────┬─────┘             └──┬───┘                └────┬────┘
         │ 5 s, fault        │ old owner, send_bye  │ silence, fault, send_bye │ send_bye
         └───────────────────┴────► closed ◄────────┴──────────────────────────┘

Only whole messages are a sign of life here: what a car says is small, and keys are released by what is heard.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from runtime.wire.actions import INPUTS
from runtime.wire.errors import ProtocolError
from runtime.wire.framing import frame
from runtime.wire.messages import (
    MAX_CREDIT,
    REQUEST_CAP,
    Act,
    ActResult,
    Bye,
    Credit,
    FramePart,
    FromCar,
    Heartbeat,
    Hello,
    HelloAnswer,
    Interest,
    Keep,
    Kept,
    Takeover,
)
from runtime.wire.session import (
    HELLO_NS,
    MAX_UNANSWERED,
    MS,
    SILENCE_NS,
    Closed,
    Session,
    State,
    Transmit,
    out_of_order,
)
from runtime.wire.tables import OLDEST_VERSION, PROTOCOL_VERSION, CloseReason, Outcome, Refusal

MAX_MESSAGES_A_SECOND = 5_000
_DECODER: msgspec.msgpack.Decoder[FromCar] = msgspec.msgpack.Decoder(FromCar)


@dataclass(frozen=True, slots=True)
class Refused:
    """The fence refused `act`; its result is already on its way. For the log."""

    act: Act
    reason: Refusal


@dataclass(frozen=True, slots=True)
class Known:
    """What the desktop durably knows of a job: its highest owner_epoch, the last action and what became of it."""

    owner_epoch: int = 0
    last_seq: int = 0
    last_outcome: Outcome = Outcome.none


DesktopMessage = Hello | Credit | Act | Interest | Keep | Refused
DesktopEvent = Hello | Credit | Act | Interest | Keep | Refused | Transmit | Closed


class DesktopSession(Session[DesktopMessage]):
    """Lets one owner of one job in, gives its actions out one by one, each at most once.

    Events: Hello (then call `answer` or `send_bye`), Credit, Interest, Keep (before all that follows), Act (passed the
    fence: apply it, then `send_result`), Refused, Closed (release everything, then `send_bye` if `state` is closing).
    """

    def __init__(self, now_ns: int = 0) -> None:
        super().__init__(_DECODER, REQUEST_CAP, now_ns)
        self.hello: Hello | None = None
        self.credits = 0
        self.last_seq = 0
        self.last_frame = 0
        self.taken_over = False
        self._highest_epoch = 0
        self._unanswered: set[int] = set()
        self._begun_frame = 0  # a frame of which parts are sent and the last is not
        self._window_ns = now_ns
        self._in_window = 0
        self._on = {
            Hello: self._greeted,
            Credit: self._credited,
            Act: self._act,
            Heartbeat: self._beat,
            Bye: self._bye,
            Interest: self._interested,
            Keep: self._told_to_keep,
        }

    # Sending.

    def answer(
        self,
        known: Known,
        *,
        session: int,
        width: int,
        height: int,
        tile_key: bytes,
        features: tuple[str, ...] = (),
    ) -> list[DesktopEvent]:
        """Opens the session for the hello that came, or ends it (Closed among the events) if a newer owner is known.

        `known` is what is kept of hello.job; write the new owner_epoch durably *before* calling this. Answers nothing
        if the car has said bye meanwhile: its Closed is among the events that are still to be looked at.
        """
        if self._is_over():
            return []
        self._require(State.greeting)
        assert self.hello is not None
        if self.hello.owner_epoch < known.owner_epoch:
            self._end(CloseReason.old_owner, f"owner {known.owner_epoch} is known, this is {self.hello.owner_epoch}")
            return self._taken()
        self.state = State.open
        self._highest_epoch, self.last_seq = self.hello.owner_epoch, known.last_seq
        version = min(self.hello.version, PROTOCOL_VERSION)
        epoch, seq, outcome = self.hello.owner_epoch, known.last_seq, known.last_outcome
        made = HelloAnswer(version, session, width, height, tile_key, epoch, seq, outcome, features)
        self._emit(Transmit(frame(made)))
        return self._taken()

    def send_part(self, part: FramePart) -> bytes | bytearray:
        """One part of a frame; the first needs a credit, and a frame that was begun must be ended before another."""
        self._require(State.open)
        if self.credits < 1:
            raise ValueError(f"frame {part.frame}: the car has given no credit")
        if part.frame <= self.last_frame or self._begun_frame not in (0, part.frame):
            raise ValueError(f"frame {part.frame} after {self.last_frame}, while {self._begun_frame} is not complete")
        self._begun_frame = part.frame
        if part.last:
            self.last_frame, self._begun_frame = part.frame, 0
            self.credits -= 1
        return frame(part)

    def send_result(
        self,
        seq: int,
        outcome: Outcome,
        reason: Refusal = Refusal.none,
        *,
        received_ns: int = 0,
        applied_ns: int = 0,
    ) -> bytes | bytearray:
        """What became of an action that was given out; once for each. Raises ValueError for any other seq."""
        self._require(State.open, State.closing)
        if seq not in self._unanswered:
            raise ValueError(f"action {seq} awaits no result")
        self._unanswered.discard(seq)
        return frame(ActResult(seq, outcome, reason, received_ns, applied_ns))

    def send_kept(self, data: bytes) -> bytes | bytearray:
        """What was kept of the job; once, right after an answer with the feature."""
        self._require(State.open)
        return frame(Kept(data))

    def send_takeover(self, active: bool) -> bytes | bytearray:
        """A person took the desktop or gave it back; until then the fence refuses every action."""
        self._require(State.open)
        self.taken_over = active
        return frame(Takeover(active))

    def supersede(self, owner_epoch: int) -> None:
        """A newer owner is known from now on: the fence refuses this session's actions. Say bye next."""
        self._highest_epoch = max(self._highest_epoch, owner_epoch)

    def send_bye(self, reason: int, detail: str = "") -> bytes | bytearray:
        """Ends the session from this side, or confirms the car's bye: call it when every key and button is up."""
        self._require(State.idle, State.greeting, State.open, State.closing)
        if self.state is not State.closing:
            self.closed = Closed(reason, detail, by_peer=False)
        self.state = State.closed
        return frame(Bye(reason, detail[:1024]))

    # Time.

    @property
    def deadline_ns(self) -> int:
        if self.state in (State.idle, State.greeting):
            return self._began_ns + HELLO_NS
        return self._heard_ns + SILENCE_NS

    def _time(self, now_ns: int) -> None:
        if self.state in (State.idle, State.greeting):
            if now_ns - self._began_ns >= HELLO_NS:
                self._end(CloseReason.hello_timeout, f"no session was opened within {HELLO_NS // MS} ms")
        elif self.state is State.open and now_ns - self._heard_ns >= SILENCE_NS:
            self._end(CloseReason.silence, f"nothing was heard from the car for {SILENCE_NS // MS} ms")

    def _is_over(self) -> bool:
        return self.state in (State.closed, State.closing)

    # What the car says.

    def receive(self, data: bytes | bytearray | memoryview, now_ns: int) -> list[DesktopEvent]:
        """As Session.receive; once the car has said bye nothing more of it is heard."""
        return [] if self.state is State.closing else super().receive(data, now_ns)

    def _greeted(self, hello: Hello, now_ns: int) -> None:
        if self.state is not State.idle:
            raise out_of_order(hello, self.state)
        if hello.version < OLDEST_VERSION or hello.oldest_version > PROTOCOL_VERSION:
            raise ProtocolError(
                CloseReason.bad_version,
                f"the car speaks versions {hello.oldest_version} to {hello.version}, "
                f"this desktop {OLDEST_VERSION} to {PROTOCOL_VERSION}",
            )
        self.state, self.hello = State.greeting, hello
        self._emit(hello)

    def _credited(self, credit: Credit, now_ns: int) -> None:
        self._count(credit, now_ns)
        if self.credits + credit.frames > MAX_CREDIT:
            raise ProtocolError(CloseReason.flood, f"credit for more than {MAX_CREDIT} frames")
        self.credits += credit.frames
        self._emit(credit)

    def _act(self, act: Act, now_ns: int) -> None:
        self._count(act, now_ns)
        reason = self._fence(act)
        if reason in (Refusal.none, Refusal.taken_over, Refusal.not_an_input, Refusal.unknown_frame, Refusal.busy):
            self.last_seq = act.seq  # what was refused is decided too: the same seq is never applied later
        if reason is Refusal.none:
            self._unanswered.add(act.seq)
            self._emit(act)
            return
        self._emit(Transmit(frame(ActResult(act.seq, Outcome.refused, reason, now_ns, 0))))
        self._emit(Refused(act, reason))

    def _fence(self, act: Act) -> Refusal:
        assert self.hello is not None
        if act.job != self.hello.job:
            return Refusal.wrong_job
        if act.owner_epoch != self._highest_epoch:
            return Refusal.old_owner  # also one above our hello's: an owner says hello before it acts
        if act.seq <= self.last_seq:
            return Refusal.repeated_seq
        if self.taken_over:
            return Refusal.taken_over
        if not isinstance(act.action, INPUTS):
            return Refusal.not_an_input
        if not 0 < act.frame <= self.last_frame:
            return Refusal.unknown_frame
        return Refusal.busy if len(self._unanswered) >= MAX_UNANSWERED else Refusal.none

    def _beat(self, beat: Heartbeat, now_ns: int) -> None:
        self._count(beat, now_ns)
        self._emit(Transmit(frame(beat)))

    def _interested(self, interest: Interest, now_ns: int) -> None:
        self._count(interest, now_ns)
        self._emit(interest)

    def _told_to_keep(self, keep: Keep, now_ns: int) -> None:
        self._count(keep, now_ns)
        if self._highest_epoch == self._epoch():
            self._emit(keep)  # of an owner that was superseded nothing is kept

    def _epoch(self) -> int:
        assert self.hello is not None
        return self.hello.owner_epoch

    def _bye(self, bye: Bye, now_ns: int) -> None:
        closed = Closed(bye.reason, bye.detail, by_peer=True)
        self._close(closed)
        self.state = State.closing

    def _count(self, message: FromCar, now_ns: int) -> None:
        """Refuses messages out of order, and more of them than any session has use for."""
        if self.state is not State.open:
            raise out_of_order(message, self.state)
        if now_ns - self._window_ns >= 1_000 * MS:
            self._window_ns, self._in_window = now_ns, 0
        self._in_window += 1
        if self._in_window > MAX_MESSAGES_A_SECOND:
            raise ProtocolError(CloseReason.flood, f"more than {MAX_MESSAGES_A_SECOND} messages in a second")
