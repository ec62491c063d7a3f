"""The car's machine, step by step, and what it does when a desktop lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.wire.actions import Click
from runtime.wire.framing import frame
from runtime.wire.messages import (
    MAX_CREDIT,
    ActResult,
    Bye,
    FramePart,
    Heartbeat,
    Hello,
    HelloAnswer,
    Takeover,
)
from runtime.wire.session import (
    HEARTBEAT_NS,
    HELLO_NS,
    MAX_UNANSWERED,
    MS,
    SILENCE_NS,
    STALL_NS,
    Closed,
    NotOpen,
    State,
    Transmit,
)
from runtime.wire.session_car import CarSession
from runtime.wire.tables import CloseReason, Encoding, Outcome
from tests.wire.reading import messages_in

HELLO = Hello(1, "job", 7)
ANSWER = HelloAnswer(1, 3, 128, 64, b"K" * 16, 7, 41, Outcome.applied)


def part(number: int, *, last: bool = True, tiles: int = 1, width: int = 128, height: int = 64) -> FramePart:
    return FramePart(number, width, height, 1, 1, memoryview(bytes(20 * tiles)), Encoding.raw, memoryview(b""), last)


def state(car: CarSession) -> str:
    return car.state.value


def opened(credit: int = 0) -> CarSession:
    car = CarSession(0)
    car.send_hello(HELLO, 0)
    assert car.receive(frame(ANSWER), 0) == [ANSWER]
    if credit:
        car.send_credit(credit)
    return car


def test_hello_answer_act_result_bye() -> None:
    car = CarSession(0)
    assert messages_in(car.send_hello(HELLO, 0)) == [HELLO]
    assert state(car) == "greeting"
    assert car.receive(frame(ANSWER), 5) == [ANSWER]
    assert state(car) == "open"
    seq, data = car.send_act(0, Click(1, 2))
    assert seq == 42, "the desktop's last seq is the truth"
    (act,) = messages_in(data)
    assert (act.job, act.owner_epoch, act.seq) == ("job", 7, 42)
    result = ActResult(42, Outcome.applied)
    assert car.receive(frame(result), 6) == [result]
    assert messages_in(car.send_bye(CloseReason.job_over, 7)) == [Bye(CloseReason.job_over)]
    assert state(car) == "closing"
    assert car.receive(frame(Bye(CloseReason.job_over)), 8) == [Closed(CloseReason.job_over, "", by_peer=True)]
    assert car.receive(frame(ANSWER), 9) == []
    assert car.tick(10**12) == []
    with pytest.raises(NotOpen, match="closed"):
        car.send_act(0, Click(1, 2))


def test_heartbeats_go_out_every_quarter_second_and_their_echo_tells_the_round_trip() -> None:
    car = opened()
    beats = []
    for now in range(0, 1000 * MS, 50 * MS):
        for event in car.tick(now):
            assert isinstance(event, Transmit)
            beats += messages_in(event.data)
            car.receive(frame(beats[-1]), now + 3 * MS)
    assert [beat.sent_ns // MS for beat in beats] == [0, 250, 500, 750]
    assert car.round_trip_ns == 3 * MS


def test_a_second_of_silence_ends_it_and_any_byte_is_a_sign_of_life() -> None:
    car = opened()
    heard = frame(part(1))
    car.send_credit()
    for at, byte in enumerate(heard[:10]):
        car.receive(bytes([byte]), at * 900 * MS)
    last = 9 * 900 * MS
    car.tick(last + SILENCE_NS - 1)
    assert car.state is State.open
    *_, closed = car.tick(last + SILENCE_NS)
    assert isinstance(closed, Closed)
    assert closed.reason == CloseReason.silence


def test_a_message_that_never_ends_is_a_stall() -> None:
    car = opened(1)
    whole = bytes(frame(part(1, tiles=2)))
    now = 0
    events: list[Any] = []
    for byte in whole:
        now += SILENCE_NS // 2
        events = car.receive(bytes([byte]), now)
        if events:
            break
    assert events[-1].reason == CloseReason.stalled
    assert now <= STALL_NS + SILENCE_NS


def test_no_answer_to_the_hello() -> None:
    car = CarSession(0)
    car.send_hello(HELLO, 100)
    assert car.deadline_ns == 100 + HELLO_NS
    assert car.tick(99 + HELLO_NS) == []
    *_, closed = car.tick(100 + HELLO_NS)
    assert isinstance(closed, Closed)
    assert closed.reason == CloseReason.hello_timeout


def test_a_bye_that_is_not_answered_ends_after_a_second() -> None:
    car = opened()
    car.send_bye(CloseReason.yielded, 0)
    assert car.deadline_ns <= SILENCE_NS
    assert car.tick(SILENCE_NS)[-1] == Closed(CloseReason.silence, "the desktop did not answer the bye", by_peer=False)


def test_results_still_arrive_while_closing_and_frames_no_longer_do() -> None:
    car = opened(1)
    seq, _ = car.send_act(0, Click(1, 2))
    car.send_bye(CloseReason.yielded, 0)
    result = ActResult(seq, Outcome.applied)
    assert car.receive(frame(part(1)) + frame(result), 0) == [result]


def test_an_answer_that_crosses_a_bye_opens_nothing() -> None:
    car = CarSession(0)
    car.send_hello(HELLO, 0)
    car.send_bye(CloseReason.cancelled, 0)
    assert car.receive(frame(ANSWER) + frame(Takeover(True)), 1) == [Takeover(True)]
    assert car.state is State.closing
    with pytest.raises(NotOpen):
        car.send_credit()


def test_the_desktop_may_refuse_the_hello() -> None:
    car = CarSession(0)
    car.send_hello(HELLO, 0)
    assert car.receive(frame(Bye(CloseReason.old_owner, "owner 9 is known")), 1) == [
        Closed(CloseReason.old_owner, "owner 9 is known", by_peer=True)
    ]


def test_the_end_of_the_stream_is_told_apart_from_a_bye() -> None:
    car = opened()
    (closed,) = car.end_of_stream()
    assert isinstance(closed, Closed)
    assert closed.reason == CloseReason.end_of_stream
    assert car.end_of_stream() == []


def test_what_may_not_be_sent_now_raises_and_changes_nothing() -> None:
    car = CarSession(0)
    for send in (lambda: car.send_act(0, Click(1, 1)), car.send_credit, lambda: car.send_interest(0, 0, 1, 1)):
        with pytest.raises(NotOpen, match="idle"):
            send()
    car = opened()
    with pytest.raises(ValueError, match="at most 8"):
        car.send_credit(MAX_CREDIT + 1)
    for _ in range(MAX_UNANSWERED):
        car.send_act(0, Click(1, 1))
    with pytest.raises(NotOpen, match="await their result"):
        car.send_act(0, Click(1, 1))


def test_takeover_is_told_and_kept() -> None:
    car = opened()
    assert car.receive(frame(Takeover(True)), 0) == [Takeover(True)]
    assert car.taken_over


def test_the_deadline_is_when_tick_has_something_to_do() -> None:
    car = opened()
    car.tick(car.deadline_ns)
    before = car.deadline_ns
    assert before == HEARTBEAT_NS
    assert car.tick(before - 1) == []
    assert len(car.tick(before)) == 1


def lie(*said: Any, credit: int = 1, hello: bool = True, tick: bool = False) -> CloseReason:
    """Returns the reason that a car gives for what a desktop `said`, and checks that it told the desktop."""
    car = opened(credit) if hello else CarSession(0)
    if not hello:
        car.send_hello(HELLO, 0)
    if tick:
        car.tick(HEARTBEAT_NS)
    data = b"".join(one if isinstance(one, bytes) else frame(one) for one in said)
    *_, bye, closed = car.receive(data, HEARTBEAT_NS)
    assert isinstance(bye, Transmit)
    assert isinstance(closed, Closed)
    assert messages_in(bye.data)[0].reason == closed.reason
    assert not closed.by_peer
    assert closed.detail
    assert car.state is State.closed
    return CloseReason(closed.reason)


LIES: dict[str, tuple[CloseReason, Callable[[], CloseReason]]] = {
    "bytes that are no message": (CloseReason.garbage, lambda: lie(b"\x01\0\0\0\xc1")),
    "a message of a car": (CloseReason.garbage, lambda: lie(HELLO)),
    "a length above the cap": (CloseReason.too_long, lambda: lie(b"\x01\0\x10\0")),
    "a second answer": (CloseReason.wrong_order, lambda: lie(ANSWER)),
    "a frame before the answer": (CloseReason.wrong_order, lambda: lie(part(1), hello=False)),
    "a result before the answer": (CloseReason.wrong_order, lambda: lie(ActResult(1, Outcome.applied), hello=False)),
    "a version that was not offered": (
        CloseReason.bad_version,
        lambda: lie(HelloAnswer(2, 3, 128, 64, b"K" * 16, 7), hello=False),
    ),
    "an answer to another owner": (
        CloseReason.wrong_order,
        lambda: lie(HelloAnswer(1, 3, 128, 64, b"K" * 16, 8), hello=False),
    ),
    "a screen beyond all memory": (
        CloseReason.bad_frame,
        lambda: lie(HelloAnswer(1, 3, 16_384, 16_384, b"K" * 16, 7), hello=False),
    ),
    "a frame beyond all memory": (CloseReason.bad_frame, lambda: lie(part(1, width=16_384, height=16_384))),
    "a frame without credit": (CloseReason.flood, lambda: lie(part(1), part(2))),
    "an older frame": (CloseReason.bad_frame, lambda: lie(part(2), part(1), credit=2)),
    "the same frame again": (CloseReason.bad_frame, lambda: lie(part(2), part(2), credit=2)),
    "two frames mixed": (CloseReason.bad_frame, lambda: lie(part(1, last=False), part(2))),
    "a size that changes within a frame": (CloseReason.bad_frame, lambda: lie(part(1, last=False), part(1, width=64))),
    "endless empty parts": (CloseReason.bad_frame, lambda: lie(part(1, last=False, tiles=0))),
    "endless parts": (CloseReason.bad_frame, lambda: lie(*[part(1, last=False)] * 3)),
    "records cut in two": (
        CloseReason.bad_frame,
        lambda: lie(FramePart(1, 128, 64, 1, 1, memoryview(bytes(30)), Encoding.raw, memoryview(b""), True)),
    ),
    "a result nobody awaits": (CloseReason.wrong_order, lambda: lie(ActResult(1, Outcome.applied))),
    "an echo of nothing": (CloseReason.wrong_order, lambda: lie(Heartbeat(HEARTBEAT_NS + 1), tick=True)),
    "the same echo twice": (
        CloseReason.wrong_order,
        lambda: lie(Heartbeat(HEARTBEAT_NS), Heartbeat(HEARTBEAT_NS), tick=True),
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_desktop_gets_a_reason(name: str) -> None:
    reason, tell = LIES[name]
    assert tell() is reason
