"""Keeps a repacked model on disk, named by the content of its GGUF, so that the next load rearranges nothing.

    <sha256>-<layout>.lm    "IHLMCAC1" · u32 header bytes · its sha256 · header (JSON) · zeros · stream · zeros
                            A stream of 8 MB or more begins and ends at multiples of 2 MB, so that it can be mapped in
                            huge pages (memory.c); a smaller one begins at a multiple of 4096.
    <sha256>-<layout>.tok   the tokeniser as JSON of the `tokenizers` library
    stat-<...>.sha256       content hash of a path as it was (device, inode, size, mtime): spares hashing it again

A file is written under a temporary name and renamed, so a reader sees all of it or none. One that does not fit (cut
short, other layout, header changed) is made anew. Weights are numbers: a flipped bit there makes a wrong model, never
a wrong access, because every offset is checked again at each load.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kernels.lm.config import LlamaConfig, check_config, read_config
from kernels.lm.gguf import Gguf, GgufError, parse_gguf, read_gguf
from kernels.lm.repack import PANEL, TYPES, panel_bytes, repack
from kernels.lm.tokenizer import tokenizer_json

MAGIC = b"IHLMCAC1"
LAYOUT = 2
"""Grows whenever the meaning of the stream changes."""
ALIGN = 64
PAGE, HUGE_PAGE, LARGE_STREAM = 4096, 2 << 20, 8 << 20
MAX_HEADER_BYTES = 16 << 20

Entry = tuple[str, int, int, int, int]
"""(name, index in TYPES, rows, cols, offset in the stream)"""


class MemoryFile:
    """A file that lies in memory alone; `path` opens it until `close`, or until this object goes."""

    def __init__(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        self._file = os.fdopen(os.memfd_create(name, os.MFD_CLOEXEC), "w+b")
        self.path = Path(f"/proc/self/fd/{self._file.fileno()}")
        try:
            write(self._file)
            self._file.flush()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the memory back, as soon as nobody has it mapped. May be called again."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


@dataclass(frozen=True)
class Packed:
    """A repacked model. `special` are the ids that the tokeniser's metadata names (bos, eos, ...).

    `files` are what `path` and `tokenizer_path` name where they are in memory alone (packed_in_memory).
    """

    path: Path
    tokenizer_path: Path
    config: LlamaConfig
    entries: dict[str, Entry]
    special: dict[str, int]
    stream_offset: int
    stream_bytes: int
    files: tuple[MemoryFile, ...] = ()

    def let_go(self) -> None:
        """The stream was mapped or copied: gives a file in memory back, which would be a second copy of it."""
        if self.files:
            self.files[0].close()


def content_sha256(path: Path, cache: Path) -> str:
    """Returns the SHA-256 of `path`, remembered in `cache` for as long as its inode, size and times stay."""
    try:
        found = path.stat()
        identity = f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"
        note = cache / f"stat-{identity}.sha256"
        if note.exists() and len(known := note.read_text()) == 64 and set(known) <= set("0123456789abcdef"):
            return known
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise GgufError(f"{path}: cannot be read ({error})") from error
    _write_atomically(note, lambda file: file.write(digest.hexdigest().encode()))
    return digest.hexdigest()


def packed_model(path: Path, cache: Path, sha256: str | None = None) -> Packed:
    """Returns the repacked form of the GGUF at `path`, made now if `cache` has none.

    `sha256` is the file's content hash where the caller has verified it already (a bundle's manifest); else it is
    computed. Raises GgufError when the file is no model that can be run.
    """
    cache.mkdir(parents=True, exist_ok=True)
    key = f"{sha256 or content_sha256(path, cache)}-{LAYOUT}"
    packed_path, tokenizer_path = cache / f"{key}.lm", cache / f"{key}.tok"
    known = _read_packed(packed_path, tokenizer_path)
    if known is not None:
        return known
    gguf = read_gguf(path)
    config = read_config(gguf)
    _write_atomically(tokenizer_path, lambda file: file.write(tokenizer_json(gguf).encode()))
    _write_atomically(packed_path, lambda file: _write_packed(file, gguf, config))
    written = _read_packed(packed_path, tokenizer_path)
    if written is None:
        raise GgufError(f"{packed_path}: was just written and does not read back; check the disk")
    return written


def packed_in_memory(data: bytes, name: str) -> Packed:
    """Returns the repacked form of the GGUF whose bytes are `data`, for weights that no disk may hold.

    `name` is said in errors. Raises GgufError when it is no model that can be run, OSError without memory.
    """
    gguf = parse_gguf(memoryview(data), Path(name))
    config, tokenizer = read_config(gguf), tokenizer_json(gguf)
    stream = MemoryFile("idlehands-lm", lambda file: _write_packed(file, gguf, config))
    words = MemoryFile("idlehands-tok", lambda file: file.write(tokenizer.encode()))
    packed = _read_packed(stream.path, words.path)
    if packed is None:
        raise GgufError(f"{name}: what was packed of it in memory does not read back")
    return replace(packed, files=(stream, words))


def _write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            # What was written piecemeal lies in small pages: the first to map it reads it anew, in large ones.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def wanted(config: LlamaConfig) -> Iterator[tuple[str, int, int]]:
    """Yields (tensor name, rows, cols) in the order of use, which is their order in the stream."""
    heads, kv = config.n_head * config.head_dim, config.n_kv_head * config.head_dim
    for layer in range(config.n_layer):
        for name, rows, cols in (
            ("attn_norm", 1, config.n_embd),
            ("attn_q", heads, config.n_embd),
            ("attn_k", kv, config.n_embd),
            ("attn_v", kv, config.n_embd),
            ("attn_output", config.n_embd, heads),
            ("ffn_norm", 1, config.n_embd),
            ("ffn_gate", config.n_ffn, config.n_embd),
            ("ffn_up", config.n_ffn, config.n_embd),
            ("ffn_down", config.n_embd, config.n_ffn),
        ):
            yield f"blk.{layer}.{name}.weight", rows, cols
    yield "output_norm.weight", 1, config.n_embd
    if not config.tied:
        yield "output.weight", config.n_vocab, config.n_embd
    yield "token_embd.weight", config.n_vocab, config.n_embd


def vector(gguf: Gguf, name: str, cols: int) -> NDArray[np.uint8]:
    """Returns the bytes of a tensor of one row of floats. Raises GgufError where it is none."""
    tensor = gguf.matrix(name, 1, cols)
    if tensor.kind != "F32":
        raise GgufError(f"{gguf.path.name}: tensor {name} is {tensor.kind}, expected F32")
    return tensor.data


def rope_frequencies(gguf: Gguf, config: LlamaConfig) -> NDArray[np.float64]:
    """Returns radians a position for each turning pair, float64 (rope_dim / 2,); Llama 3's divisors applied."""
    pairs = np.arange(0, config.rope_dim, 2, dtype=np.float64)
    frequencies = config.rope_base ** (-pairs / config.rope_dim) / config.rope_factor
    if "rope_freqs.weight" in gguf.tensors:
        divisors = vector(gguf, "rope_freqs.weight", config.rope_dim // 2).view(np.float32)
        if not (np.isfinite(divisors) & (divisors > 0)).all():
            raise GgufError(f"{gguf.path.name}: rope_freqs.weight holds values that are not positive numbers")
        frequencies = frequencies / divisors
    return frequencies


def _write_packed(file: BinaryIO, gguf: Gguf, config: LlamaConfig) -> None:
    entries: list[Entry] = []
    offset = 0
    for name, rows, cols in wanted(config):
        tensor = gguf.matrix(name, rows, cols)
        size = tensor.cols * 4 if rows == 1 else -(-rows // PANEL) * panel_bytes(tensor.kind, cols)
        if rows == 1:
            vector(gguf, name, cols)
        entries.append((name, TYPES.index(tensor.kind), rows, cols, offset))
        offset += -(-size // ALIGN) * ALIGN
    frequencies = rope_frequencies(gguf, config)
    entries.append(("rope", 0, 1, len(frequencies), offset))
    special = {
        key.removeprefix("tokenizer.ggml.").removesuffix("_token_id"): value
        for key, value in gguf.pairs.items()
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id") and isinstance(value, int)
    }
    stream_bytes = offset + frequencies.nbytes
    fields = {"config": config.as_dict(), "entries": entries, "special": special, "stream_bytes": stream_bytes}
    header = json.dumps(fields).encode()
    lead = MAGIC + len(header).to_bytes(4, "little") + hashlib.sha256(header).digest() + header
    multiple = HUGE_PAGE if stream_bytes >= LARGE_STREAM else PAGE
    file.write(lead + bytes(-len(lead) % multiple))
    for name, _, rows, cols, _ in entries[:-1]:
        tensor = gguf.matrix(name, rows, cols)
        data = np.ascontiguousarray(tensor.data if rows == 1 else repack(tensor))
        file.write(data.tobytes())
        file.write(bytes(-data.nbytes % ALIGN))
    file.write(frequencies.tobytes())
    if multiple == HUGE_PAGE:
        file.write(bytes(-stream_bytes % multiple))


def _read_packed(path: Path, tokenizer_path: Path) -> Packed | None:
    """Returns what `path` holds, or None when it is missing or is not a whole file of this layout."""
    try:
        with path.open("rb") as file:
            lead = file.read(len(MAGIC) + 36)
            size = int.from_bytes(lead[8:12], "little")
            header = file.read(size) if lead[:8] == MAGIC and size <= MAX_HEADER_BYTES else b""
            total = os.fstat(file.fileno()).st_size
        if not header or hashlib.sha256(header).digest() != lead[12:44] or not tokenizer_path.exists():
            return None
        fields: dict[str, Any] = json.loads(header)
        config = LlamaConfig(**fields["config"])
        check_config(config, path.name)
        stream_bytes = fields["stream_bytes"]
        multiple = HUGE_PAGE if stream_bytes >= LARGE_STREAM else PAGE
        stream_offset = -(-(len(lead) + size) // multiple) * multiple
        tail = -stream_bytes % multiple if multiple == HUGE_PAGE else 0
        if stream_offset + stream_bytes + tail != total:
            return None
        entries = {entry[0]: (entry[0], entry[1], entry[2], entry[3], entry[4]) for entry in fields["entries"]}
        return Packed(path, tokenizer_path, config, entries, fields["special"], stream_offset, stream_bytes)
    except (OSError, ValueError, KeyError, TypeError):
        return None
