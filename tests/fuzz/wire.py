"""Fuzzes what a stranger's bytes meet: the splitter, the decoder, both machines, the tile mirror.

    python -m tests.fuzz.guided wire FOLDER [libFuzzer options]     coverage-guided, with atheris (PyPI)
    python -m tests.fuzz.wire SECONDS [--seed N]                    without it: mutations of real messages

An input is a script: its first byte picks the side that is attacked, then come chunks `u8 kind | u8 size | bytes`; they
are delivered as they are, as the body of a well-formed message, or pass time. Whatever comes, a machine must not raise,
must hold bounded memory, and must end with a reason when it ends.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgpack

from runtime.wire.actions import Click
from runtime.wire.errors import ProtocolError
from runtime.wire.framing import PREFIX, frame
from runtime.wire.messages import MESSAGE_CAP, Act, Credit, FramePart, Hello, HelloAnswer
from runtime.wire.session import MAX_UNANSWERED, MS, Closed, State, Transmit
from runtime.wire.session_car import CarSession
from runtime.wire.session_desktop import DesktopSession, Known
from runtime.wire.tables import CloseReason, Encoding, Outcome
from runtime.wire.tiles import TileMirror
from tests.wire.samples import MESSAGES

TILE_KEY = bytes(16)


def run(script: bytes) -> CloseReason | None:
    """Plays one input; returns why the session ended, None if it did not. Raises whatever must not be raised."""
    attack = attack_desktop if script[:1] < b"\x80" else attack_car
    return attack(script[1:])


def chunks(script: bytes) -> Sequence[tuple[int, bytes]]:
    """Returns the chunks of a script as (kind, bytes)."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 2 <= len(script) and len(found) < 200:
        kind, size = script[at], script[at + 1]
        found.append((kind, script[at + 2 : at + 2 + size]))
        at += 2 + size
    return found


def attack_desktop(script: bytes) -> CloseReason | None:
    desktop, now = DesktopSession(0), 0
    if script[:1] > b"\x40":  # most inputs get past the hello
        events: list[Any] = desktop.receive(frame(Hello(1, "job", 7)), 0)
        events += desktop.answer(Known(7, 3), session=1, width=64, height=64, tile_key=TILE_KEY)
        desktop.receive(frame(Credit(1)), 0)
        part = FramePart(1, 64, 64, 0, 0, memoryview(bytes(20)), Encoding.raw, memoryview(b""), True)
        desktop.send_part(part)
    highest = 3
    for kind, data in chunks(script[1:]):
        now += (kind >> 2) * 10 * MS
        events = [*desktop.receive(shaped(kind, data), now), *desktop.tick(now)]
        for event in events:
            if isinstance(event, Act):
                assert event.seq > highest, "a seq was given out twice"
                assert event.owner_epoch == 7
                highest = event.seq
                if desktop.state is State.open:
                    desktop.send_result(event.seq, Outcome.applied)
            elif isinstance(event, Hello):
                desktop.answer(Known(7, 3), session=1, width=64, height=64, tile_key=TILE_KEY)
        check(desktop, events)
    return reason_of(desktop)


def attack_car(script: bytes) -> CloseReason | None:
    car, mirror, now = CarSession(0), TileMirror(seen_bytes=1 << 16), 0
    car.send_hello(Hello(1, "job", 7), 0)
    if script[:1] > b"\x40":
        car.receive(frame(HelloAnswer(1, 1, 128, 64, TILE_KEY, 7)), 0)
        car.send_credit(4)
        for _ in range(3):
            car.send_act(0, Click(1, 1))
    for kind, data in chunks(script[1:]):
        now += (kind >> 2) * 10 * MS
        events: list[Any] = [*car.receive(shaped(kind, data), now), *car.tick(now)]
        for event in events:
            if isinstance(event, FramePart) and event.width * event.height <= 1 << 20:
                try:
                    mirror.apply(event)
                except ProtocolError as refused:
                    return refused.reason
        check(car, events)
    return reason_of(car)


def shaped(kind: int, data: bytes) -> bytes:
    """Returns the bytes that a chunk delivers: raw, framed, or a real message with some of its bytes replaced."""
    if kind & 3 == 0 or not data:
        return data
    if kind & 3 == 1:
        return len(data).to_bytes(PREFIX, "little") + data
    messages = list(MESSAGES.values())
    real = bytearray(frame(messages[data[0] % len(messages)]))
    for at in range(1, len(data) - 1, 2):
        real[PREFIX + data[at] % (len(real) - PREFIX)] = data[at + 1]
    return bytes(real)


def check(machine: CarSession | DesktopSession, events: Sequence[object]) -> None:
    """What holds after every step, whatever was said."""
    assert machine._splitter.pending_bytes <= MESSAGE_CAP + PREFIX
    assert len(machine._unanswered) <= MAX_UNANSWERED
    assert not machine._events
    closed = [event for event in events if isinstance(event, Closed)]
    assert len(closed) <= 1
    assert (machine.closed is not None) == (machine.state in (State.closed, State.closing))
    if closed and not closed[0].by_peer:
        assert CloseReason(closed[0].reason).meaning
        assert closed[0].detail
    for event in events:
        if isinstance(event, Transmit):
            msgpack.unpackb(event.data[PREFIX:])


def reason_of(machine: CarSession | DesktopSession) -> CloseReason | None:
    if machine.closed is None:
        return None
    try:
        return CloseReason(machine.closed.reason)
    except ValueError:
        return CloseReason.unspecified


def invent(rng: random.Random) -> bytes:
    """Returns a script for a run without atheris."""
    script = bytearray([rng.randrange(256), rng.randrange(256)])
    for _ in range(rng.randrange(1, 8)):
        data = rng.randbytes(rng.choice([0, 1, 3, 9, 40, 200]))
        script += bytes([rng.randrange(256), len(data)]) + data
    return bytes(script)


def at_random(seconds: float, seed: int) -> int:
    """Runs invented scripts for `seconds`; prints and returns how many."""
    rng, count, until = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < until:
        script = invent(rng)
        try:
            run(script)
        except BaseException:
            print(f"seed {seed}, input {count}: {script.hex()}", file=sys.stderr)
            raise
        count += 1
    print(f"{count} inputs, seed {seed}")
    return count


def main(argv: list[str]) -> None:
    seed = int(argv[argv.index("--seed") + 1]) if "--seed" in argv else time.time_ns()
    at_random(float(argv[0]), seed)


if __name__ == "__main__":
    main(sys.argv[1:])
