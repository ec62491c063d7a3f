"""The desktop's machine: the fence, and what it does when a car lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.wire.actions import Action, Click, Done, Key
from runtime.wire.framing import frame
from runtime.wire.messages import (
    MAX_CREDIT,
    REQUEST_CAP,
    Act,
    ActResult,
    Bye,
    Credit,
    FramePart,
    Heartbeat,
    Hello,
    HelloAnswer,
    Interest,
    Takeover,
)
from runtime.wire.session import HELLO_NS, MAX_UNANSWERED, MS, SILENCE_NS, Closed, NotOpen, State, Transmit
from runtime.wire.session_desktop import MAX_MESSAGES_A_SECOND, DesktopSession, Known, Refused
from runtime.wire.tables import CloseReason, Encoding, Outcome, Refusal
from tests.wire.reading import messages_in

HELLO = Hello(1, "job", 7)


def part(number: int, *, last: bool = True) -> FramePart:
    return FramePart(number, 64, 64, 1, 1, memoryview(bytes(20)), Encoding.raw, memoryview(b""), last)


def act(seq: int, *, epoch: int = 7, job: str = "job", frame_id: int = 1, action: Action = Click(1, 2)) -> Act:  # noqa: B008
    return Act(job, epoch, seq, frame_id, action)


def answer(desktop: DesktopSession, known: Known) -> list[Any]:
    return list(desktop.answer(known, session=3, width=64, height=64, tile_key=b"K" * 16))


def opened(known: Known = Known(7, 41, Outcome.applied), *, frames: int = 1) -> DesktopSession:  # noqa: B008
    desktop = DesktopSession(0)
    assert desktop.receive(frame(HELLO), 0) == [HELLO]
    (event,) = answer(desktop, known)
    assert isinstance(event, Transmit)
    if frames:
        desktop.receive(frame(Credit(frames)), 0)
        for number in range(1, frames + 1):
            desktop.send_part(part(number))
    return desktop


def test_hello_answer_act_result_bye() -> None:
    desktop = DesktopSession(0)
    assert desktop.receive(frame(HELLO), 0) == [HELLO]
    (transmit,) = answer(desktop, Known(6, 41, Outcome.unknown))
    assert messages_in(transmit.data) == [HelloAnswer(1, 3, 64, 64, b"K" * 16, 7, 41, Outcome.unknown)]
    assert desktop.receive(frame(Credit(1)), 0) == [Credit(1)]
    assert messages_in(desktop.send_part(part(1)))[0].frame == 1
    assert desktop.receive(frame(act(42)), 5) == [act(42)]
    data = desktop.send_result(42, Outcome.applied, received_ns=5, applied_ns=6)
    assert messages_in(data) == [ActResult(42, Outcome.applied, 0, 5, 6)]
    assert desktop.receive(frame(Bye(CloseReason.yielded)), 7) == [Closed(CloseReason.yielded, "", by_peer=True)]
    assert desktop.state is State.closing
    assert answer(desktop, Known()) == [], "nothing is opened any more"
    assert desktop.receive(frame(act(43)), 8) == [], "after its bye nothing of a car is heard"
    assert messages_in(desktop.send_bye(CloseReason.yielded)) == [Bye(CloseReason.yielded)]
    assert desktop.state.value == "closed"


def test_an_older_owner_is_told_so_and_never_let_in() -> None:
    desktop = DesktopSession(0)
    desktop.receive(frame(HELLO), 0)
    transmit, closed = answer(desktop, Known(8, 1, Outcome.applied))
    assert messages_in(transmit.data)[0].reason == CloseReason.old_owner
    assert closed.reason == CloseReason.old_owner
    assert desktop.receive(frame(act(42)), 0) == []


FENCE: dict[str, tuple[Act, Refusal]] = {
    "of an older owner": (act(42, epoch=6), Refusal.old_owner),
    "of an owner that has not said hello": (act(42, epoch=8), Refusal.old_owner),
    "of another job": (act(42, job="other"), Refusal.wrong_job),
    "heard before the hand-over": (act(41), Refusal.repeated_seq),
    "on a frame that was never sent": (act(42, frame_id=2), Refusal.unknown_frame),
    "on no frame": (act(42, frame_id=0), Refusal.unknown_frame),
    "that is the car's own affair": (act(42, action=Done()), Refusal.not_an_input),
}


@pytest.mark.parametrize("name", FENCE)
def test_the_fence_refuses_an_action(name: str) -> None:
    wrong, reason = FENCE[name]
    desktop = opened()
    transmit, refused = desktop.receive(frame(wrong), 9)
    assert isinstance(transmit, Transmit)
    assert messages_in(transmit.data) == [ActResult(wrong.seq, Outcome.refused, reason, 9)]
    assert refused == Refused(wrong, reason)
    assert desktop.state is State.open
    with pytest.raises(ValueError, match="awaits no result"):
        desktop.send_result(wrong.seq, Outcome.applied)


def test_a_seq_is_given_out_once_even_before_its_result() -> None:
    desktop = opened()
    assert desktop.receive(frame(act(42)), 0) == [act(42)]
    for _ in range(2):
        assert Refused(act(42), Refusal.repeated_seq) in desktop.receive(frame(act(42)), 0)
        desktop.last_seq += 0
    assert desktop.receive(frame(act(50)), 0) == [act(50)], "gaps are allowed"
    assert Refused(act(49), Refusal.repeated_seq) in desktop.receive(frame(act(49)), 0)


def test_what_was_refused_is_decided_too() -> None:
    desktop = opened()
    desktop.send_takeover(True)
    assert Refused(act(42), Refusal.taken_over) in desktop.receive(frame(act(42)), 0)
    assert messages_in(desktop.send_takeover(False)) == [Takeover(False)]
    assert Refused(act(42), Refusal.repeated_seq) in desktop.receive(frame(act(42)), 0)
    assert desktop.receive(frame(act(43)), 0) == [act(43)]


def test_too_many_unanswered_actions_are_refused_as_busy() -> None:
    desktop = opened()
    for seq in range(42, 42 + MAX_UNANSWERED):
        assert desktop.receive(frame(act(seq)), 0) == [act(seq)]
    late = act(42 + MAX_UNANSWERED)
    assert Refused(late, Refusal.busy) in desktop.receive(frame(late), 0)


def test_a_superseded_session_can_do_nothing_more() -> None:
    desktop = opened()
    desktop.supersede(8)
    assert Refused(act(42), Refusal.old_owner) in desktop.receive(frame(act(42)), 0)
    assert messages_in(desktop.send_bye(CloseReason.superseded))[0].reason == CloseReason.superseded


def test_a_result_is_given_once_for_each_action() -> None:
    desktop = opened()
    desktop.receive(frame(act(42)), 0)
    desktop.send_result(42, Outcome.unknown)
    with pytest.raises(ValueError, match="awaits no result"):
        desktop.send_result(42, Outcome.applied)


def test_frames_need_credit_order_and_an_end() -> None:
    desktop = opened(frames=0)
    with pytest.raises(ValueError, match="no credit"):
        desktop.send_part(part(1))
    desktop.receive(frame(Credit(3)), 0)
    desktop.send_part(part(2, last=False))
    with pytest.raises(ValueError, match="not complete"):
        desktop.send_part(part(3))
    desktop.send_part(part(2))
    with pytest.raises(ValueError, match="after 2"):
        desktop.send_part(part(2))
    assert desktop.credits == 2
    assert desktop.last_frame == 2


def test_a_heartbeat_is_echoed_and_keeps_the_session() -> None:
    desktop = opened()
    for now in range(0, 5000 * MS, 250 * MS):
        assert desktop.tick(now) == []
        (echo,) = desktop.receive(frame(Heartbeat(now)), now)
        assert isinstance(echo, Transmit)
        assert messages_in(echo.data) == [Heartbeat(now)]


def test_a_second_without_a_whole_message_is_silence() -> None:
    desktop = opened()
    beat = bytes(frame(Heartbeat(2**60)))
    for at in range(9):
        desktop.receive(beat[at : at + 1], at * 100 * MS)
    assert desktop.deadline_ns == SILENCE_NS
    assert desktop.tick(SILENCE_NS - 1) == []
    bye, closed = desktop.tick(SILENCE_NS)
    assert isinstance(bye, Transmit)
    assert isinstance(closed, Closed)
    assert closed.reason == CloseReason.silence


@pytest.mark.parametrize("greeted", [False, True])
def test_a_session_that_is_not_opened_in_time_ends(greeted: bool) -> None:
    desktop = DesktopSession(10)
    if greeted:
        desktop.receive(frame(HELLO), 20)
    assert desktop.deadline_ns == 10 + HELLO_NS
    *_, closed = desktop.tick(10 + HELLO_NS)
    assert isinstance(closed, Closed)
    assert closed.reason == CloseReason.hello_timeout


def test_a_bye_may_come_at_any_time() -> None:
    desktop = DesktopSession(0)
    assert desktop.receive(frame(Bye(CloseReason.cancelled, "x")), 0) == [
        Closed(CloseReason.cancelled, "x", by_peer=True)
    ]


def test_what_may_not_be_sent_now_raises() -> None:
    desktop = DesktopSession(0)
    with pytest.raises(NotOpen):
        answer(desktop, Known())
    with pytest.raises(NotOpen):
        desktop.send_takeover(True)
    with pytest.raises(NotOpen):
        desktop.send_part(part(1))
    desktop.send_bye(CloseReason.busy)
    with pytest.raises(NotOpen):
        desktop.send_bye(CloseReason.busy)


def test_interest_is_passed_on() -> None:
    assert opened().receive(frame(Interest(1, 2, 3, 4)), 0) == [Interest(1, 2, 3, 4)]


def lie(*said: Any, hello: bool = True, answered: bool = True) -> CloseReason:
    """Returns the reason that a desktop gives for what a car `said`, and checks that it told the car."""
    desktop = opened() if hello and answered else DesktopSession(0)
    if hello and not answered:
        desktop.receive(frame(HELLO), 0)
    data = b"".join(one if isinstance(one, bytes) else frame(one) for one in said)
    *_, bye, closed = desktop.receive(data, 0)
    assert isinstance(bye, Transmit)
    assert isinstance(closed, Closed)
    assert messages_in(bye.data)[0].reason == closed.reason
    assert closed.detail
    assert desktop.state is State.closed
    assert desktop.receive(frame(act(42)), 0) == []
    return CloseReason(closed.reason)


LIES: dict[str, tuple[CloseReason, Callable[[], CloseReason]]] = {
    "bytes that are no message": (CloseReason.garbage, lambda: lie(b"\x01\0\0\0\xc1", hello=False)),
    "an HTTP request": (CloseReason.too_long, lambda: lie(b"GET / HTTP/1.1\r\n\r\n", hello=False)),
    "a TLS hello": (CloseReason.too_long, lambda: lie(bytes.fromhex("160301020001"), hello=False)),
    "a message of a desktop": (CloseReason.garbage, lambda: lie(Takeover(True))),
    "a length above the cap": (CloseReason.too_long, lambda: lie((REQUEST_CAP + 1).to_bytes(4, "little"))),
    "a length of nothing": (CloseReason.garbage, lambda: lie(bytes(4))),
    "an action instead of a hello": (CloseReason.wrong_order, lambda: lie(act(1), hello=False)),
    "a heartbeat instead of a hello": (CloseReason.wrong_order, lambda: lie(Heartbeat(1), hello=False)),
    "a second hello": (CloseReason.wrong_order, lambda: lie(HELLO)),
    "an action before the answer": (CloseReason.wrong_order, lambda: lie(act(42), answered=False)),
    "two hellos at once": (CloseReason.wrong_order, lambda: lie(HELLO, HELLO, hello=False)),
    "a version of the past": (CloseReason.bad_version, lambda: lie(Hello(0, "job", 7), hello=False)),
    "a version of the future": (
        CloseReason.bad_version,
        lambda: lie(Hello(9, "job", 7, oldest_version=2), hello=False),
    ),
    "credit without end": (CloseReason.flood, lambda: lie(Credit(MAX_CREDIT), Credit(1))),
    "messages without end": (CloseReason.flood, lambda: lie(*[Heartbeat(1)] * (MAX_MESSAGES_A_SECOND + 1))),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_car_gets_a_reason(name: str) -> None:
    reason, tell = LIES[name]
    assert tell() is reason


def test_keys_of_the_vocabulary_pass() -> None:
    assert opened().receive(frame(act(42, action=Key("ctrl+s"))), 0) == [act(42, action=Key("ctrl+s"))]
