"""Two owners of one job and a desktop, over links that delay, cut into pieces and break, against a model.

Hypothesis chooses what happens: who connects, what arrives when, how time passes, what is replayed by force. The model
knows which actions each car *decided*, and checks what the desktop *applied*:

    at most once · only by the owner of the highest epoch that was let in · only on frames that were sent
    every outcome that a car hears is the true one · never more frames under way than credit · always an end
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from runtime.wire.actions import Click, Done
from runtime.wire.framing import frame
from runtime.wire.messages import MAX_CREDIT, Act, ActResult, FramePart, Hello, HelloAnswer
from runtime.wire.session import MAX_UNANSWERED, MS, SILENCE_NS, Closed, State, Transmit
from runtime.wire.session_car import CarSession
from runtime.wire.session_desktop import DesktopSession, Known, Refused
from runtime.wire.tables import CloseReason, Encoding, Outcome


@dataclass(eq=False)
class Link:
    """One connection: both machines and what is under way between them."""

    epoch: int
    car: CarSession
    desktop: DesktopSession
    to_desktop: bytearray = field(default_factory=bytearray)
    to_car: bytearray = field(default_factory=bytearray)
    acts: dict[int, bytes] = field(default_factory=dict)  # what the car said, for replays
    given_out: list[int] = field(default_factory=list)  # seqs that await the desktop's hand
    frames_sent: int = 0
    credit_given: int = 0
    tampered: bool = False  # bytes were put in by force: the car's own account no longer holds
    is_cut: bool = False


class Sessions(RuleBasedStateMachine):
    links = Bundle("links")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.known = Known()
        self.present: Link | None = None
        self.all: list[Link] = []
        self.applied: dict[int, int] = {}  # seq -> owner_epoch
        self.outcomes: dict[int, Outcome] = {}

    @rule(target=links, epoch=st.integers(1, 4))
    def connect(self, epoch: int) -> Link:
        link = Link(epoch, CarSession(self.now), DesktopSession(self.now))
        link.to_desktop += link.car.send_hello(Hello(1, "job", epoch), self.now)
        self.all.append(link)
        return link

    @rule(link=links, size=st.integers(1, 400))
    def deliver_to_desktop(self, link: Link, size: int) -> None:
        if not link.is_cut:
            data, link.to_desktop = bytes(link.to_desktop[:size]), link.to_desktop[size:]
            self.desktop_hears(link, link.desktop.receive(data, self.now))

    @rule(link=links, size=st.integers(1, 400))
    def deliver_to_car(self, link: Link, size: int) -> None:
        if not link.is_cut:
            data, link.to_car = bytes(link.to_car[:size]), link.to_car[size:]
            self.car_hears(link, link.car.receive(data, self.now))

    @rule(link=links, frame_id=st.integers(0, 3), is_input=st.booleans())
    def decide(self, link: Link, frame_id: int, is_input: bool) -> None:
        unanswered = len(link.acts) - sum(1 for seq in link.acts if seq in self.heard(link))
        if link.car.state is State.open and unanswered < MAX_UNANSWERED:
            seq, data = link.car.send_act(frame_id, Click(seq_x(link), 1) if is_input else Done())
            link.acts[seq] = bytes(data)
            link.to_desktop += data

    @rule(link=links)
    def give_credit(self, link: Link) -> None:
        if link.car.state is State.open and link.car.credits < MAX_CREDIT:
            link.to_desktop += link.car.send_credit()
            link.credit_given += 1

    @rule(link=links, parts=st.integers(1, 3))
    def show(self, link: Link, parts: int) -> None:
        if link.desktop.state is State.open and link.desktop.credits:
            link.frames_sent += 1
            for number in range(parts):
                tiles = memoryview(bytes(20))
                part = FramePart(
                    link.frames_sent, 256, 64, 1, 1, tiles, Encoding.raw, memoryview(b""), number == parts - 1
                )
                link.to_car += link.desktop.send_part(part)

    @rule(link=links, outcome=st.sampled_from([Outcome.applied, Outcome.refused, Outcome.unknown]))
    def carry_out(self, link: Link, outcome: Outcome) -> None:
        """The desktop's hand: does the oldest action that the fence let through."""
        if not link.given_out or link.desktop.state is not State.open:
            return
        seq = link.given_out.pop(0)
        assert seq not in self.applied, "applied twice"
        assert link.epoch == self.known.owner_epoch, "applied for an old owner"
        if outcome is Outcome.applied:
            self.applied[seq] = link.epoch
        self.outcomes[seq] = outcome
        self.known = Known(self.known.owner_epoch, max(self.known.last_seq, seq), outcome)
        link.to_car += link.desktop.send_result(seq, outcome)

    @rule(link=links, ms=st.sampled_from([1, 30, 120, 249, 250, 400]))
    def time_passes(self, link: Link, ms: int) -> None:
        self.now += ms * MS
        for each in self.all:
            self.car_hears(each, each.car.tick(self.now))
            self.desktop_hears(each, each.desktop.tick(self.now))

    @rule(link=links)
    def person_takes_over_or_gives_back(self, link: Link) -> None:
        if link.desktop.state is State.open:
            link.to_car += link.desktop.send_takeover(not link.desktop.taken_over)

    @rule(link=links)
    def say_bye(self, link: Link) -> None:
        if link.car.state in (State.greeting, State.open):
            link.to_desktop += link.car.send_bye(CloseReason.yielded, self.now)

    @rule(link=links)
    def cut(self, link: Link) -> None:
        link.is_cut = True
        self.car_hears(link, link.car.end_of_stream())
        self.desktop_hears(link, link.desktop.end_of_stream())

    @rule(link=links, onto=links, data=st.data())
    def replay_by_force(self, link: Link, onto: Link, data: st.DataObject) -> None:
        """Some car says again what was said before, here or on another link: a bug, or an attacker with its key."""
        if link.acts and not onto.is_cut and not onto.to_desktop:
            seq = data.draw(st.sampled_from(sorted(link.acts)))
            onto.tampered = True
            self.desktop_hears(onto, onto.desktop.receive(link.acts[seq], self.now))

    # The shells around the machines, as simple as can be.

    def desktop_hears(self, link: Link, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Transmit):
                link.to_car += event.data
            elif isinstance(event, Hello):
                self.let_in(link, event)
            elif isinstance(event, Act):
                assert link.desktop.state is State.open
                assert event.owner_epoch == self.known.owner_epoch, "the fence let an old owner through"
                assert event.seq > self.known.last_seq, "the fence let a heard seq through"
                assert 0 < event.frame <= link.frames_sent
                assert not link.desktop.taken_over
                link.given_out.append(event.seq)
                self.known = Known(self.known.owner_epoch, event.seq, Outcome.unknown)
            elif isinstance(event, Closed):
                link.given_out.clear()
                if link.desktop.state is State.closing:
                    link.to_car += link.desktop.send_bye(event.reason)
                if self.present is link:
                    self.present = None
            else:
                assert isinstance(event, Refused) or not isinstance(event, Closed)

    def let_in(self, link: Link, hello: Hello) -> None:
        if link.desktop.state is not State.greeting:
            return  # its bye came in the same breath
        if self.present is not None and hello.owner_epoch >= self.known.owner_epoch:
            before, self.present = self.present, None
            before.desktop.supersede(hello.owner_epoch)
            before.given_out.clear()
            before.to_car += before.desktop.send_bye(CloseReason.superseded)
        known = self.known
        self.known = Known(max(known.owner_epoch, hello.owner_epoch), known.last_seq, known.last_outcome)
        events = link.desktop.answer(self.known, session=1, width=256, height=64, tile_key=bytes(16))
        if link.desktop.closed is None:
            self.present = link
        self.desktop_hears(link, events)

    def car_hears(self, link: Link, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Transmit):
                link.to_desktop += event.data
            elif isinstance(event, HelloAnswer):
                assert event.owner_epoch == link.epoch
            elif isinstance(event, ActResult) and not link.tampered:
                self.heard(link).add(event.seq)
                if event.outcome is not Outcome.refused:
                    assert self.outcomes[event.seq] == event.outcome
                if event.outcome is Outcome.applied:
                    assert self.applied[event.seq] == link.epoch

    def heard(self, link: Link) -> set[int]:
        return self.__dict__.setdefault("_heard", {}).setdefault(id(link), set())  # type: ignore[no-any-return]

    @invariant()
    def frames_never_outrun_credit(self) -> None:
        for link in self.all:
            assert link.desktop.last_frame <= link.credit_given
            assert 0 <= link.desktop.credits <= MAX_CREDIT
            assert 0 <= link.car.credits <= MAX_CREDIT

    @invariant()
    def at_most_one_session_is_open(self) -> None:
        assert sum(link.desktop.state is State.open for link in self.all) <= 1

    @invariant()
    def honest_machines_never_accuse_each_other(self) -> None:
        honest = {
            CloseReason.yielded,
            CloseReason.silence,
            CloseReason.hello_timeout,
            CloseReason.end_of_stream,
            CloseReason.old_owner,
            CloseReason.superseded,
        }
        for link in self.all:
            for machine in (link.car, link.desktop):
                if machine.closed is not None and not link.tampered:
                    assert machine.closed.reason in honest, machine.closed

    def teardown(self) -> None:
        """Whatever happened, time alone ends every session."""
        for _ in range(2):
            self.now += 10 * SILENCE_NS
            for link in self.all:
                self.desktop_hears(link, link.desktop.tick(self.now))
                self.car_hears(link, link.car.tick(self.now))
        for link in self.all:
            assert link.desktop.state is State.closed
            assert link.car.state is State.closed


def seq_x(link: Link) -> int:
    """Returns a coordinate that tells this car's actions from another's."""
    return link.epoch * 100 + len(link.acts)


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_an_act_replayed_onto_a_new_session_of_the_same_owner_is_not_given_out_again() -> None:
    """The case that matters most, spelled out: the link broke after the action and before its result."""
    known = Known(7, 41, Outcome.applied)
    said = b""
    for attempt in range(2):
        desktop = DesktopSession(0)
        desktop.receive(frame(Hello(1, "job", 7)), 0)
        desktop.answer(known, session=attempt, width=64, height=64, tile_key=bytes(16))
        desktop.credits = 1
        desktop.send_part(FramePart(1, 64, 64, 1, 1, memoryview(bytes(20)), Encoding.raw, memoryview(b""), True))
        said = bytes(frame(Act("job", 7, 42, 1, Click(1, 1))))
        events = desktop.receive(said, 0)
        if attempt == 0:
            assert isinstance(events[0], Act)
            known = Known(7, 42, Outcome.unknown)
        else:
            assert [type(event) for event in events] == [Transmit, Refused]
