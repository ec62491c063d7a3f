"""Messages of a session: encode and decode beside `msgpack`, and tiles packed and applied; one interleaved run.

*ours* is what a session really does: `frame` (struct to framed bytes) and `Splitter` + `decode` (framed bytes to a
checked struct). *msgpack* packs and unpacks the same values as plain lists, with a kept packer, and checks nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack
import msgspec
import numpy as np

from bench.measure import Samples, interleaved, machine
from runtime.wire.actions import Click, Precondition
from runtime.wire.framing import PREFIX, Splitter, decode, frame
from runtime.wire.messages import Act, ActResult, FramePart, FromCar, FromDesktop, Heartbeat, HelloAnswer, Message
from runtime.wire.records import HASH_BYTES, tile_grid
from runtime.wire.tables import Encoding, Outcome
from runtime.wire.tiles import FAST, LOCAL, SLOW, Packing, TileMirror, TilePacker

LOOPS = 200  # calls in one timed sample
TARGET_NS = 1_000  # encode + decode of a small message
EPOCH = 1 << 40 | 7
MESSAGES: dict[str, Message] = {
    "act with precondition": Act(
        "job-1234", EPOCH, 42, 900, Click(640, 360), Precondition(600, 350, 80, 20, bytes(16))
    ),
    "act": Act("job-1234", EPOCH, 42, 900, Click(640, 360)),
    "act result": ActResult(42, Outcome.applied, 0, 1 << 50, 1 << 50),
    "heartbeat": Heartbeat(1 << 50),
    "hello answer": HelloAnswer(1, 9, 1920, 1080, bytes(16), EPOCH, 41, Outcome.applied, ("zstd",)),
    "frame part, 160 B": FramePart(
        900, 1920, 1080, 1 << 50, 400, memoryview(bytes(20)), Encoding.zstd, memoryview(bytes(140)), True
    ),
    "frame part, 200 KB": FramePart(
        900, 1920, 1080, 1 << 50, 400, memoryview(bytes(240)), Encoding.raw, memoryview(bytes(12 * 16_384)), True
    ),
}


def run(argv: list[str]) -> dict[str, Any]:
    """Returns a row a message and a packing, and the slowest small message in ns."""
    parser = argparse.ArgumentParser(prog="python -m bench wire")
    parser.add_argument("--rounds", type=int, default=60, help="samples of each candidate (default 60)")
    rounds = parser.parse_args(argv).rounds
    rows, slowest_ns = [], 0.0
    for name, message in MESSAGES.items():
        row = message_row(name, message, rounds)
        rows.append(row)
        if row["bytes"] < 1_000:
            slowest_ns = max(slowest_ns, row["encode_ns"] + row["decode_ns"])
    rows += [tile_row(name, packing, rounds) for name, packing in {"local": LOCAL, "fast": FAST, "slow": SLOW}.items()]
    return {
        "rows": rows,
        "slowest_message_ns": round(slowest_ns),
        "target_ns": TARGET_NS,
        "machine": machine(),
    }


def message_row(name: str, message: Message, rounds: int) -> dict[str, Any]:
    """Measures one message, both ways, beside msgpack."""
    data = bytes(frame(message))
    plain = msgpack.unpackb(data[PREFIX:])
    decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
        FromDesktop if isinstance(message, FromDesktop) else FromCar
    )
    packer = msgpack.Packer()
    splitter = Splitter()

    def take() -> None:
        for payload in splitter.feed(data):
            decode(payload, decoder)

    loops = LOOPS if len(data) < 10_000 else 10
    found = interleaved(
        {
            "encode": repeat(partial(frame, message), loops),
            "decode": repeat(take, loops),
            "msgpack_encode": repeat(partial(packer.pack, plain), loops),
            "msgpack_decode": repeat(partial(msgpack.unpackb, data[PREFIX:]), loops),
        },
        rounds=rounds,
    )
    times = {f"{key}_ns": round(samples.percentile_ms(50) * 1e6 / loops, 1) for key, samples in found.items()}
    return {"what": name, "bytes": len(data), **times}


def tile_row(name: str, packing: Packing, rounds: int) -> dict[str, Any]:
    """Measures one changed tile of a 1080p screen: from hashes to the applied pixels, without the link."""
    rng = np.random.default_rng(1)
    pixels = np.full((1080, 1920, 4), 235, np.uint8)
    pixels[..., 3] = 0
    pixels[::18, ::7, :3] = 40
    hashes = rng.integers(0, 256, (*tile_grid(1920, 1080), HASH_BYTES), np.uint8)
    packer, mirror = TilePacker(packing), TileMirror()
    for part in packer.parts(1, pixels, hashes, captured_ns=0, capture_us=0):
        mirror.apply(part)
    parts: list[FramePart] = []
    sizes: list[int] = []

    def pack(call: int) -> None:
        y, x = 64 * 3 + 5, 64 * 4 + call % 40
        pixels[y : y + 12, x : x + 6, :3] = call * 37 % 256
        hashes[3, 4] = rng.integers(0, 256, HASH_BYTES, np.uint8)
        parts[:] = packer.parts(call + 2, pixels, hashes, captured_ns=0, capture_us=0)
        sizes.append(sum(len(part.data) + len(part.tiles) for part in parts))

    def apply(call: int) -> None:
        for part in parts:
            mirror.apply(part)

    found = by_turns(pack, apply, rounds)
    return {
        "what": f"one tile, {name}",
        "bytes": sorted(sizes)[len(sizes) // 2],
        **{f"{key}_ns": round(samples.percentile_ms(50) * 1e6) for key, samples in found.items()},
    }


def by_turns(pack: Callable[[int], None], apply: Callable[[int], None], rounds: int) -> dict[str, Samples]:
    """Measures `pack` and `apply` strictly by turns: a mirror must get every part, once, in order."""
    times: dict[str, list[int]] = {"encode": [], "decode": []}
    for number in range(rounds):
        for name, step in (("encode", pack), ("decode", apply)):
            begun_ns = time.perf_counter_ns()
            step(number)
            times[name].append(time.perf_counter_ns() - begun_ns)
    return {name: Samples(tuple(values)) for name, values in times.items()}


def repeat(call: Callable[[], object], loops: int) -> Callable[[int], None]:
    """Returns a candidate that makes `call` `loops` times."""

    def looped(_: int) -> None:
        for _ in range(loops):
            call()

    return looped
