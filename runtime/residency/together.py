"""What runs of one model cost when they are made as one: measured on this machine, and used only where it is less.

    model ─► runs on inputs without a meaning, alone and 2, 4, 8 at once, in turn ─► Gain ─► kept in a file for workers
                                                        │
             the same bits as alone? else never ────────┘

One entry for each model of a bundle, its backend and its threads. A worker measures a model when it has loaded it for
the first session of a quiet lane, `idlehands doctor --calibrate` measures all that are installed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from kernels.gate.word import GateToken
from runtime.backends.protocol import Gathering, Run, StepResult
from runtime.store.files import write_atomically

COUNTS = (1, 2, 4, 8)
ROUNDS = 5  # the best of them counts: what else the machine does only ever adds
ENOUGH_S = 3.0  # a model that is slow is measured once, not as often
WORTH = 0.9  # of what one alone costs: more than this each, and it is not worth waiting for one another
ENTRIES = 256


class Gain(msgspec.Struct, frozen=True):
    """What `counts` runs at once took, ms. `is_same` is whether their outputs were those of each alone, to the bit."""

    model: str
    counts: tuple[int, ...]
    ms: tuple[float, ...]
    is_same: bool

    def times(self, count: int) -> float:
        """Returns what `count` runs at once cost, in runs alone; between and beyond what was measured by its line."""
        alone = self.ms[0]
        if count <= 1 or alone <= 0 or len(self.ms) < 2:
            return float(count)
        at = next((at for at, known in enumerate(self.counts) if known >= count), len(self.counts) - 1)
        (low, high), (first, last) = self.counts[at - 1 : at + 1], self.ms[at - 1 : at + 1]
        return (first + (last - first) * (count - low) / (high - low)) / alone

    def best(self, limit: int) -> int:
        """Returns how many at once, up to `limit`, cost least each; 1 if that is not worth it."""
        if not self.is_same:
            return 1
        found = min((self.times(count) / count, count) for count in range(1, max(1, min(limit, self.counts[-1])) + 1))
        return found[1] if found[0] <= WORTH else 1

    def told(self) -> str:
        """Returns what a person is told of it."""
        if not self.is_same:
            return "runs together give other bits than alone: never"
        each = ", ".join(f"{count}: {self.times(count) / count:.0%}" for count in self.counts[1:])
        return f"each of several together costs, of one alone: {each}" if each else "cannot"


def measuring(
    model: Gathering, name: str, gate: GateToken | None, *, most: int = COUNTS[-1], rounds: int = ROUNDS
) -> Iterator[Gain | None]:
    """Yields None after each measurement, so that something else may go between, and the Gain at last; ends without
    one if the gate closed. Only the thread that steps the model's runs goes on with it."""
    counts = tuple(count for count in COUNTS if count <= min(most, model.most_together))
    ms: dict[int, list[float]] = {count: [] for count in counts}
    is_same = True
    began_s = time.monotonic()
    for turn in range(-1, rounds):  # the first round plans shapes and touches memory
        if turn > 0 and time.monotonic() - began_s > ENOUGH_S:
            break
        for count in counts:
            runs = model.examples(count)
            began_ns = time.perf_counter_ns()
            if not all(result is StepResult.DONE for result in _step(model, runs, gate)):
                return
            if turn >= 0:
                ms[count].append((time.perf_counter_ns() - began_ns) / 1e6)
            yield None
            if turn >= 0 or count == 1:
                continue
            for number in {0, count - 1}:
                alone = model.examples(count)[number]
                if alone.step(gate) is not StepResult.DONE:
                    return
                is_same = is_same and _bits(alone) == _bits(runs[number])
                yield None
    yield Gain(name, counts, tuple(round(min(ms[count]), 4) for count in counts), is_same)


class Gains:
    """The record in the file `path` (None: in memory alone). Safe to use from several threads."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._lock = path, threading.Lock()
        self._known = self._read()

    def get(self, key: str) -> Gain | None:
        """Returns what is known of a model (`gain_key`)."""
        with self._lock:
            return self._known.get(key)

    def put(self, key: str, gain: Gain) -> None:
        """Adds what was measured, and writes the record, whole or not at all. Raises StoreUnusable."""
        with self._lock:
            self._known = {**self._read(), **self._known}  # another process may have measured others
            self._known.pop(key, None)
            self._known[key] = gain
            while len(self._known) > ENTRIES:
                del self._known[next(iter(self._known))]
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._path, msgspec.json.format(msgspec.json.encode(self._known)) + b"\n")

    def all(self) -> list[Gain]:
        """Returns everything that is known, the latest last."""
        with self._lock:
            return list(self._known.values())

    def _read(self) -> dict[str, Gain]:
        try:
            return {} if self._path is None else msgspec.json.decode(self._path.read_bytes(), type=dict[str, Gain])
        except (OSError, msgspec.DecodeError):
            return {}  # none yet, or of another build: measured anew


def gain_key(bundle_sha256: str, role: str, backend: str, threads: int) -> str:
    """Returns the name of a model's entry: what it costs depends on these, and on the machine."""
    return f"{bundle_sha256}/{role}/{backend}/{threads}"


def _step(model: Gathering, runs: Sequence[Run], gate: GateToken | None) -> list[StepResult]:
    return [runs[0].step(gate)] if len(runs) == 1 else model.step_together(runs, gate)


def _bits(run: Run) -> bytes:
    return b"".join(np.ascontiguousarray(array).tobytes() for _, array in sorted(run.outputs().items()))
