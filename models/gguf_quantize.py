"""Requantises a GGUF language model: F32, F16 and blocks of 4 or 8 bits to Q4_0, Q4_1 or Q8_0, and says what it cost.

    source.gguf ── metadata as it is ─┐
                ── each matrix: weights ─► nearest blocks, error ─┴─► target.gguf, whole or absent
    both on the native engine, the same tokens ─► how often they agree on the next token, and how far apart they are

Vectors (norms) stay as they are; the embedding, which is the head too where they are tied, has a kind of its own.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError
from kernels.lm.gguf import TENSOR_TYPES, Gguf, Tensor, read_gguf
from kernels.lm.model import LanguageModel, Runner
from models.gguf_blocks import BLOCK, KINDS, blocks_of, weights
from models.quantize import QuantisationFailed

FILE_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7}  # general.file_type, of gguf.md
EMBEDDINGS = ("token_embd.weight", "output.weight")
ALIGN = 32
PROBES, PROBE_TOKENS = 4, 48
_NUMBERS = {kind: number for number, (kind, _, _) in TENSOR_TYPES.items()}


@dataclass(frozen=True)
class TensorReport:
    """One tensor. `error` is the norm of what changed over the norm of what was; 0 where it was copied."""

    name: str
    before: str
    after: str
    error: float
    bytes: int


@dataclass(frozen=True)
class Fidelity:
    """Both models on the same `tokens` positions: the share where they choose the same next token, and the mean
    Kullback-Leibler divergence (nats) of the new one's distribution from the old one's."""

    tokens: int
    agreement: float
    divergence: float


@dataclass(frozen=True)
class GgufReport:
    """What was done, largest errors first."""

    source_bytes: int
    target_bytes: int
    tensors: tuple[TensorReport, ...]
    fidelity: Fidelity | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def requantize(
    source: Path,
    target: Path,
    kind: str,
    *,
    embedding: str = "Q8_0",
    score: bool = True,
    on_tensor: Callable[[int, int], None] = lambda done, all_: None,
) -> GgufReport:
    """Writes `source` to `target` with every matrix as `kind`, the embeddings as `embedding` ("keep": as they are).

    Raises GgufError for a source that is no sound GGUF, QuantisationFailed for weights that are not finite and a
    target that cannot be written.
    """
    if kind not in KINDS or embedding not in (*KINDS, "keep"):
        raise QuantisationFailed(f"a GGUF is quantised to {', '.join(KINDS)}, got {kind!r} and {embedding!r}")
    gguf = read_gguf(source)
    made: list[tuple[Tensor, str, bytes]] = []
    reports: list[TensorReport] = []
    for number, tensor in enumerate(gguf.tensors.values(), 1):
        wanted = embedding if tensor.name in EMBEDDINGS else kind
        after, data, error = _converted(tensor, tensor.kind if wanted == "keep" else wanted)
        made.append((tensor, after, data))
        reports.append(TensorReport(tensor.name, tensor.kind, after, error, len(data)))
        on_tensor(number, len(gguf.tensors))
    _write(target, gguf, made, kind)
    try:
        fidelity = compare(source, target) if score else None
    except KernelError as error:
        raise QuantisationFailed(f"{target} was written, but the native engine does not run both: {error}") from error
    reports.sort(key=lambda report: -report.error)
    return GgufReport(source.stat().st_size, target.stat().st_size, tuple(reports), fidelity)


def compare(source: Path, target: Path) -> Fidelity:
    """Returns how alike two models are on the native engine, over fixed pseudo-random tokens. Raises GgufError."""
    with tempfile.TemporaryDirectory(prefix="idlehands-gguf-") as folder:
        models = [LanguageModel.load(path, Path(folder)) for path in (source, target)]
        rng = np.random.default_rng(7)
        same, divergence, count = 0, 0.0, 0
        for _ in range(PROBES):
            tokens = [int(token) for token in rng.integers(0, models[0].config.n_vocab, PROBE_TOKENS)]
            old, new = (_logits(model, tokens) for model in models)
            same += int((old.argmax(axis=1) == new.argmax(axis=1)).sum())
            was, now = _log_softmax(old), _log_softmax(new)
            divergence += float((np.exp(was) * (was - now)).sum())
            count += len(tokens)
    return Fidelity(count, same / count, divergence / count)


def _logits(model: LanguageModel, tokens: list[int]) -> NDArray[np.float64]:
    session, runner = model.session(len(tokens)), Runner(model)
    found = []
    for token in tokens:  # one at a time: the logits after each are wanted
        session.feed([token])
        runner.run([session])
        found.append(session.logits.astype(np.float64))
    return np.stack(found)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def _converted(tensor: Tensor, wanted: str) -> tuple[str, bytes, float]:
    """Returns the kind that it got, its bytes and the relative error."""
    is_matrix = tensor.rows > 1 and tensor.cols % BLOCK == 0
    if not is_matrix or wanted == tensor.kind or tensor.kind == "Q6_K":
        return tensor.kind, tensor.data.tobytes(), 0.0
    was = weights(tensor.kind, np.ascontiguousarray(tensor.data), tensor.rows, tensor.cols)
    if not (np.abs(was) < np.finfo(np.float16).max).all():  # a NaN fails too
        raise QuantisationFailed(f"tensor {tensor.name} holds values that are no finite numbers, or beyond 65504")
    data = blocks_of(wanted, was)
    now = weights(wanted, data, tensor.rows, tensor.cols)
    norm = float(np.linalg.norm(was))
    return wanted, data.tobytes(), float(np.linalg.norm(now - was)) / norm if norm else 0.0


def _write(target: Path, gguf: Gguf, made: list[tuple[Tensor, str, bytes]], kind: str) -> None:
    """Writes the file beside `target` and moves it there whole."""
    pairs = _with_file_type(bytes(gguf.pairs_data), kind)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(made), len(gguf.pairs)) + pairs
    alignment = gguf.integer("general.alignment", 8, 1 << 20, ALIGN)
    offset = 0
    for tensor, after, data in made:
        dims = [tensor.cols] if tensor.rows == 1 else [tensor.cols, tensor.rows]
        name = tensor.name.encode()
        head += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims))
        head += struct.pack(f"<{len(dims)}QIQ", *dims, _NUMBERS[after], offset)
        offset += -(-len(data) // alignment) * alignment
    try:
        handle, aside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(head + bytes(-len(head) % alignment))
                for _, _, data in made:
                    file.write(data + bytes(-len(data) % alignment))
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise QuantisationFailed(f"{target} cannot be written: {error.strerror}") from error


def _with_file_type(pairs: bytes, kind: str) -> bytes:
    """Returns the metadata with general.file_type, where it stands, set to that of `kind`."""
    key = b"general.file_type"
    needle = struct.pack("<Q", len(key)) + key + struct.pack("<I", 4)
    at = pairs.find(needle)
    if at < 0:
        return pairs
    end = at + len(needle)
    return pairs[:end] + struct.pack("<I", FILE_TYPES[kind]) + pairs[end + 4 :]
