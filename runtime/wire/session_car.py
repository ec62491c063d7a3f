"""The car's side of a session, as a machine without I/O.

                 send_hello              HelloAnswer                send_bye
      ┌──────┐ ───────────► ┌──────────┐ ───────────► ┌──────┐ ───────────► ┌─────────┐
      │ idle │              │ greeting │              │ open │              │ closing │
      └──────┘              └────┬─────┘              └──┬───┘              └────┬────┘
                  Bye, 5 s, fault│      Bye, silence, fault│          Bye, 1 s     │
                                 └───────────► closed ◄────┴───────────────────────┘

The desktop answers a bye when every key and button is up: `closing` waits for that, at most a second. Any byte is a
sign of life here, so that a large frame on a slow link is not taken for silence.
"""

from __future__ import annotations

import msgspec

from runtime.wire.actions import Action, Precondition
from runtime.wire.errors import ProtocolError
from runtime.wire.framing import frame
from runtime.wire.messages import (
    FEATURE_KEEP,
    MAX_CREDIT,
    MAX_PIXELS,
    MESSAGE_CAP,
    Act,
    ActResult,
    Bye,
    Credit,
    FramePart,
    FromDesktop,
    Heartbeat,
    Hello,
    HelloAnswer,
    Interest,
    Keep,
    Kept,
    Takeover,
)
from runtime.wire.records import RECORD_BYTES, tile_count
from runtime.wire.session import (
    HEARTBEAT_NS,
    HELLO_NS,
    MAX_UNANSWERED,
    MS,
    SILENCE_NS,
    STALL_NS,
    Closed,
    NotOpen,
    Session,
    State,
    Transmit,
    out_of_order,
)
from runtime.wire.tables import CloseReason

CarMessage = HelloAnswer | FramePart | ActResult | Takeover | Kept
CarEvent = HelloAnswer | FramePart | ActResult | Takeover | Kept | Transmit | Closed
_DECODER: msgspec.msgpack.Decoder[FromDesktop] = msgspec.msgpack.Decoder(FromDesktop)


class CarSession(Session[CarMessage]):
    """Says hello, gives credits, sends actions one after the other, keeps the heart beating.

    Events are the desktop's own messages: HelloAnswer (once: the session is open), Kept (at most once, next),
    FramePart, ActResult, Takeover.
    """

    def __init__(self, now_ns: int = 0) -> None:
        super().__init__(_DECODER, MESSAGE_CAP, now_ns)
        self.answer: HelloAnswer | None = None
        self.kept: Kept | None = None
        self.taken_over = False
        self.credits = 0
        self.next_seq = 1
        self.round_trip_ns = 0
        self.last_frame = 0
        self._hello: Hello | None = None
        self._unanswered: set[int] = set()
        self._beat_ns = now_ns
        self._echoed_ns = -1
        self._begun: FramePart | None = None  # the first part of a frame that is not complete
        self._begun_tiles = 0
        self._on = {
            HelloAnswer: self._answered,
            FramePart: self._part,
            ActResult: self._result,
            Takeover: self._takeover,
            Kept: self._was_kept,
            Heartbeat: self._echo,
            Bye: self._bye,
        }

    # Sending.

    def send_hello(self, hello: Hello, now_ns: int) -> bytes | bytearray:
        """The first bytes of a session."""
        self._require(State.idle)
        self.state, self._hello = State.greeting, hello
        self._began_ns = self._heard_ns = now_ns
        return frame(hello)

    def send_credit(self, frames: int = 1) -> bytes | bytearray:
        """Lets the desktop send `frames` more frames. Raises ValueError above MAX_CREDIT at once."""
        self._require(State.open)
        if not 0 < frames <= MAX_CREDIT - self.credits:
            raise ValueError(f"{frames} more frames beside {self.credits} under way: at most {MAX_CREDIT} at once")
        self.credits += frames
        return frame(Credit(frames))

    def send_act(
        self, frame_id: int, action: Action, precondition: Precondition | None = None
    ) -> tuple[int, bytes | bytearray]:
        """Returns the seq that the action was given, and its bytes. Its ActResult carries the same seq."""
        self._require(State.open)
        assert self._hello is not None
        if len(self._unanswered) >= MAX_UNANSWERED:
            raise NotOpen(f"{MAX_UNANSWERED} actions await their result already")
        seq, self.next_seq = self.next_seq, self.next_seq + 1
        self._unanswered.add(seq)
        return seq, frame(Act(self._hello.job, self._hello.owner_epoch, seq, frame_id, action, precondition))

    @property
    def keeps(self) -> bool:
        """Whether the desktop keeps what `send_keep` gives it."""
        return self.answer is not None and FEATURE_KEEP in self.answer.features

    def send_keep(self, data: bytes) -> bytes | bytearray:
        """Has the desktop keep `data` for the job's next owner, before the action that is sent next."""
        self._require(State.open)
        if not self.keeps:
            raise ValueError("this desktop keeps nothing")
        return frame(Keep(data))

    def send_interest(self, x: int, y: int, w: int, h: int) -> bytes | bytearray:
        """Asks for this region first in frames that need several parts."""
        self._require(State.open)
        return frame(Interest(x, y, w, h))

    def send_bye(self, reason: CloseReason, now_ns: int, detail: str = "") -> bytes | bytearray:
        """Begins the end; `Closed` follows when the desktop has released everything, or after a second."""
        self._require(State.greeting, State.open)
        self.state, self._began_ns = State.closing, now_ns
        return frame(Bye(reason, detail[:1024]))

    # Time.

    @property
    def deadline_ns(self) -> int:
        if self.state in (State.idle, State.greeting):
            return self._began_ns + HELLO_NS
        soonest = min(self._beat_ns + HEARTBEAT_NS, self._heard_ns + SILENCE_NS)
        if self.state is State.closing:
            soonest = min(soonest, self._began_ns + SILENCE_NS)
        return min(soonest, self._pending_since_ns + STALL_NS) if self._splitter.pending_bytes else soonest

    def _time(self, now_ns: int) -> None:
        if self.state in (State.idle, State.greeting):
            if now_ns - self._began_ns >= HELLO_NS:
                self._end(CloseReason.hello_timeout, f"no answer to the hello within {HELLO_NS // MS} ms")
            return
        if self.state is State.closing and now_ns - self._began_ns >= SILENCE_NS:
            self._close(Closed(CloseReason.silence, "the desktop did not answer the bye", by_peer=False))
            return
        if now_ns - self._heard_ns >= SILENCE_NS:
            self._end(CloseReason.silence, f"nothing was heard from the desktop for {SILENCE_NS // MS} ms")
            return
        try:
            self._check_stall(now_ns)
        except ProtocolError as error:
            self._end(error.reason, error.message)
            return
        if now_ns - self._beat_ns >= HEARTBEAT_NS:
            self._beat_ns = now_ns
            self._emit(Transmit(frame(Heartbeat(now_ns))))

    def _heard_bytes(self, now_ns: int) -> None:
        self._heard_ns = now_ns
        self._check_stall(now_ns)

    # What the desktop says.

    def _answered(self, answer: HelloAnswer, now_ns: int) -> None:
        if self.state is State.closing and self.answer is None:
            self.answer = answer  # it crossed our bye: nothing opens, but what follows it is no fault
            return
        if self.state is not State.greeting or self._hello is None:
            raise out_of_order(answer, self.state)
        if not self._hello.oldest_version <= answer.version <= self._hello.version:
            raise ProtocolError(CloseReason.bad_version, f"the desktop answered in version {answer.version}")
        if answer.owner_epoch != self._hello.owner_epoch:
            raise ProtocolError(
                CloseReason.wrong_order,
                f"the desktop answered to owner {answer.owner_epoch}, this car is owner {self._hello.owner_epoch}",
            )
        _check_screen(answer)
        self.state, self.answer = State.open, answer
        self.next_seq = answer.last_seq + 1
        self._beat_ns = now_ns - HEARTBEAT_NS  # the first heartbeat goes out with the next tick
        self._emit(answer)

    def _part(self, part: FramePart, now_ns: int) -> None:
        self._only_when_open(part)
        if self.credits < 1:
            raise ProtocolError(CloseReason.flood, f"frame {part.frame} came without a credit")
        first = self._begun or part
        if self._begun is None:
            _check_screen(part)
            if part.frame <= self.last_frame:
                raise ProtocolError(CloseReason.bad_frame, f"frame {part.frame} came after frame {self.last_frame}")
        if (part.frame, part.width, part.height) != (first.frame, first.width, first.height):
            raise ProtocolError(CloseReason.bad_frame, f"a part of frame {part.frame} within frame {first.frame}")
        tiles, odd = divmod(len(part.tiles), RECORD_BYTES)
        self._begun_tiles += tiles
        if odd or self._begun_tiles > tile_count(part.width, part.height) or not (tiles or part.last):
            raise ProtocolError(CloseReason.bad_frame, f"frame {part.frame} has too many tiles, or a part without any")
        self._begun = None if part.last else first
        if part.last:
            self._begun_tiles = 0
            self.last_frame = part.frame
            self.credits -= 1
        if self.state is State.open:
            self._emit(part)

    def _result(self, result: ActResult, now_ns: int) -> None:
        self._only_when_open(result)
        if result.seq not in self._unanswered:
            raise ProtocolError(CloseReason.wrong_order, f"a result for action {result.seq}, which awaits none")
        self._unanswered.discard(result.seq)
        self._emit(result)

    def _takeover(self, takeover: Takeover, now_ns: int) -> None:
        self._only_when_open(takeover)
        self.taken_over = takeover.active
        self._emit(takeover)

    def _was_kept(self, kept: Kept, now_ns: int) -> None:
        self._only_when_open(kept)
        if self.kept is not None or not self.keeps:
            raise out_of_order(kept, self.state)
        self.kept = kept
        self._emit(kept)

    def _echo(self, beat: Heartbeat, now_ns: int) -> None:
        self._only_when_open(beat)
        if not self._echoed_ns < beat.sent_ns <= self._beat_ns:
            raise ProtocolError(CloseReason.wrong_order, "an echo of a heartbeat that was not sent")
        self._echoed_ns = beat.sent_ns
        self.round_trip_ns = now_ns - beat.sent_ns

    def _bye(self, bye: Bye, now_ns: int) -> None:
        self._close(Closed(bye.reason, bye.detail, by_peer=True))

    def _only_when_open(self, message: FromDesktop) -> None:
        if self.state is not State.open and not (self.state is State.closing and self.answer is not None):
            raise out_of_order(message, self.state)


def _check_screen(said: HelloAnswer | FramePart) -> None:
    """Refuses a screen that a mirror would need more than 144 MB for."""
    if said.width * said.height > MAX_PIXELS:
        raise ProtocolError(
            CloseReason.bad_frame,
            f"a screen of {said.width}x{said.height} pixels, at most {MAX_PIXELS} are taken",
        )
