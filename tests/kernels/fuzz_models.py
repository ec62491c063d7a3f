"""Fuzzes both model loaders and the kernels behind them: altered GGUF and ONNX files are loaded and run.

    python -m tests.kernels.fuzz_models SECONDS [--kind gguf|onnx] [--seed N] [--keep FOLDER]
    tests/sanitizers/run -m tests.kernels.fuzz_models SECONDS      the same on an ASan + UBSan build (`make fuzz`)

An input is one of a few small sound models after one to six alterations: bytes flipped, overwritten by integers at
which sizes break, moved, doubled or cut; for ONNX also well-formed files whose attributes, shapes and constants say
something else. Only the loaders' own errors may come out, and memory must stay bounded. Each input is written to the
folder before it is tried, so that what ends the process outright is found there; what fails is kept, with its seed in
its name.
"""

from __future__ import annotations

import argparse
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kernels.graph.errors import GraphError
from kernels.graph.model import GraphModel, supported_variants
from kernels.lm.gguf import GgufError
from kernels.lm.model import LanguageModel, Runner, variants

MOST_ELEMENTS = 1 << 20
"""Of one input of a graph: an altered model may ask for more, which is no fault, but takes long."""
BREAKING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 62, (1 << 63) - 1)
MEMORY_CAP = 6 << 30

Bytes = bytes
Try = Callable[[Bytes, random.Random, Path], str]


def altered(raw: Bytes, rng: random.Random, reach: int) -> Bytes:
    """Returns `raw` after one to six alterations, most of them in the first `reach` bytes, where headers are."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 6)):
        span = len(data) if rng.random() < 0.2 else min(len(data), reach)
        if span < 16:
            break
        at = rng.randrange(span - 8)
        kind = rng.randrange(6)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            size, code = rng.choice(((2, "<H"), (4, "<I"), (8, "<Q")))
            struct.pack_into(code, data, at, rng.choice(BREAKING) & ((1 << 8 * size) - 1))
        elif kind == 3:
            piece = data[at : at + rng.randint(1, 64)]
            data[at:at] = piece
        elif kind == 4:
            del data[at : at + rng.randint(1, 64)]
        elif rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
    return bytes(data)


def try_gguf(raw: Bytes, rng: random.Random, folder: Path) -> str:
    path = folder / "input.gguf"
    path.write_bytes(raw)
    try:
        model = LanguageModel.load(path, folder / "cache", variant=rng.choice(variants()))
        session = model.session(32, kv=rng.choice(("f16", "int8")), window=rng.choice((0, 5)))
        session.ask([1, 2, 3] * rng.choice((1, 6)))
        Runner(model).run([session], threads=rng.choice((1, 2)))
    except GgufError:
        return "refused"
    finally:
        for left in (folder / "cache").glob("*"):
            left.unlink()
    return "ran"


def try_onnx(raw: Bytes, rng: random.Random, folder: Path) -> str:
    (folder / "input.onnx").write_bytes(raw)
    try:
        graph = GraphModel.load(raw, variant=rng.choice(supported_variants()))
        shapes = {spec.name: tuple(d or rng.randint(1, 9) for d in spec.shape) for spec in graph.inputs}
        if sum(int(np.prod(s, dtype=np.float64)) for s in shapes.values()) > MOST_ELEMENTS:
            return "too large"
        types = {spec.name: spec.dtype for spec in graph.inputs}
        graph.start({name: np.ones(s, types[name]) for name, s in shapes.items()}).step(0, rng.choice((1, 2)))
    except GraphError:
        return "refused"
    return "ran"


def restated(raw: Bytes, rng: random.Random) -> Bytes:
    """Returns a well-formed ONNX file that says something else: other attributes, shapes, constants, edges."""
    import onnx

    model = onnx.load_from_string(raw)
    nodes, tensors = list(model.graph.node), list(model.graph.initializer)
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(4)
        with_attributes = [node for node in nodes if node.attribute]
        if kind == 0 and with_attributes:
            attribute = rng.choice(list(rng.choice(with_attributes).attribute))
            if attribute.type == onnx.AttributeProto.INT:
                attribute.i = _number(rng)
            elif attribute.type == onnx.AttributeProto.INTS:
                attribute.ints[:] = [_number(rng) for _ in range(rng.randrange(6))]
        elif kind == 1 and tensors:
            tensor = rng.choice(tensors)
            tensor.dims[:] = [_number(rng) for _ in range(rng.randrange(5))]
        elif kind == 2 and tensors:
            tensor = rng.choice(tensors)
            held = bytearray(tensor.raw_data)
            for _ in range(min(3, len(held))):
                held[rng.randrange(len(held))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            tensor.raw_data = bytes(held)
        else:
            node, other = rng.choice(nodes), rng.choice(nodes)
            if node.input and other.output:
                node.input[rng.randrange(len(node.input))] = rng.choice(list(other.output))
    return model.SerializeToString()


def _number(rng: random.Random) -> int:
    return rng.choice((rng.randint(-3, 9), rng.randint(-3, 9), 0, -1, 2**31 - 1, 2**31, 2**62, -(2**63), 1 << 20))


def gguf_seeds() -> list[Bytes]:
    from tests.kernels.lm.synthetic import synthetic_model

    kinds = (("Q4_1", "Q8_0"), ("Q4_0", "Q8_0"), ("F16", "F32"))
    small = [synthetic_model(a, b, layers=1, embd=32, ffn=64, heads=2, kv_heads=1, vocabulary=40) for a, b in kinds]
    return [made.raw for made in (*small, synthetic_model("Q6_K", "Q6_K", embd=256, ffn=256, layers=1))]


def onnx_seeds() -> list[Bytes]:
    from tests.kernels.graph.test_hostile import MODELS

    return list(MODELS)


def fuzz(kind: str, seconds: float, seed: int, keep: Path) -> Counter[str]:
    """Tries inputs for that long; returns how often each thing came of it. Raises what must not be raised."""
    seeds = gguf_seeds() if kind == "gguf" else onnx_seeds()
    attempt: Try = try_gguf if kind == "gguf" else try_onnx
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + seconds
    number = seed
    keep.mkdir(parents=True, exist_ok=True)
    while time.monotonic() < end:
        rng = random.Random(f"{kind} {number}")
        raw = rng.choice(seeds)
        raw = restated(raw, rng) if kind == "onnx" and rng.random() < 0.5 else altered(raw, rng, 4096)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NaN and overflow in altered constants are not our subject
            try:
                outcomes[attempt(raw, rng, keep)] += 1
            except MemoryError:
                outcomes["no memory"] += 1
            except BaseException:
                (keep / f"{kind}-{number}").write_bytes(raw)
                print(f"{kind} seed {number}: kept as {keep / f'{kind}-{number}'}", file=sys.stderr)
                traceback.print_exc()
                raise
        number += 1
    return outcomes


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="fuzz_models", description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--kind", choices=("gguf", "onnx"))
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "idlehands-fuzz")
    options = parser.parse_args(argv)
    if "libasan" not in Path("/proc/self/maps").read_text():  # ASan reserves terabytes of addresses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_CAP, MEMORY_CAP))
    kinds = [options.kind] if options.kind else ["gguf", "onnx"]
    for kind in kinds:
        outcomes = fuzz(kind, options.seconds / len(kinds), options.seed, options.keep)
        print(f"{kind}: {sum(outcomes.values())} inputs from seed {options.seed}: {dict(outcomes)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
