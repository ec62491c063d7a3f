"""Fuzzes what a stranger's bytes meet: the splitter, the decoder, both machines, the tile mirror.

    python -m tests.fuzz.guided wire FOLDER [libFuzzer options]     coverage-guided, with atheris (PyPI)
    python -m tests.fuzz.wire EXECUTIONS [--seed N] [FOLDER]        without it, faster: mutations of real messages, and
                                                                    of the inputs that atheris kept in FOLDER

An input is a script: its first byte picks the side that is attacked, then come chunks `u8 kind | u8 size | bytes`; they
are delivered as they are, as the body of a well-formed message, or pass time. Whatever comes, a machine must not raise,
must hold bounded memory, and must end with a reason when it ends.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
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
TOLD_EVERY = 250_000
REAL = [bytes(frame(message)) for message in MESSAGES.values()]
HELLO, CREDIT = bytes(frame(Hello(1, "job", 7))), bytes(frame(Credit(1)))
ANSWER = bytes(frame(HelloAnswer(1, 1, 128, 64, TILE_KEY, 7)))
PART = FramePart(1, 64, 64, 0, 0, memoryview(bytes(20)), Encoding.raw, memoryview(b""), True)


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
        events: list[Any] = desktop.receive(HELLO, 0)
        events += desktop.answer(Known(7, 3), session=1, width=64, height=64, tile_key=TILE_KEY)
        desktop.receive(CREDIT, 0)
        desktop.send_part(PART)
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
        car.receive(ANSWER, 0)
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
    real = bytearray(REAL[data[0] % len(REAL)])
    size = len(real) - PREFIX
    for at, byte in zip(data[1::2], data[2::2], strict=False):
        real[PREFIX + at % size] = byte
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


def mutate(rng: random.Random, script: bytes) -> bytes:
    """Returns a kept input with some of its bytes replaced, a piece of it cut or doubled."""
    changed = bytearray(script)
    for _ in range(rng.randrange(1, 6)):
        at, size = rng.randrange(len(changed) + 1), rng.randrange(1, 9)
        piece = (rng.randbytes(size), b"", changed[at : at + size] * 2)[rng.randrange(3)]
        changed[at : at + size] = piece
    return bytes(changed)


def at_random(executions: int, seed: int, kept: Sequence[bytes] = ()) -> int:
    """Runs so many invented or changed inputs; says now and then how far it is. Returns how many."""
    rng, began_s = random.Random(seed), time.monotonic()
    for count in range(1, executions + 1):
        script = mutate(rng, rng.choice(kept)) if kept and rng.random() < 0.5 else invent(rng)
        try:
            run(script)
        except BaseException:
            print(f"seed {seed}, input {count}: {script.hex()}", file=sys.stderr)
            raise
        if count % TOLD_EVERY == 0 or count == executions:
            rate = count / (time.monotonic() - began_s)
            print(f"{count} of {executions} inputs, seed {seed}, {rate:.0f} a second", flush=True)
    return executions


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="tests.fuzz.wire", description=__doc__)
    parser.add_argument("executions", type=int)
    parser.add_argument("folder", type=Path, nargs="?", help="inputs that atheris kept")
    parser.add_argument("--seed", type=int, default=time.time_ns())
    options = parser.parse_args(argv)
    kept = [path.read_bytes() for path in sorted(options.folder.iterdir())] if options.folder else []
    gc.freeze()  # what is imported stays: the collector need not look at it again
    at_random(options.executions, options.seed, kept)


if __name__ == "__main__":
    main(sys.argv[1:])
