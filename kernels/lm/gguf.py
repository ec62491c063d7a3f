"""Reads GGUF files, trusting nothing in them: every count, size and offset is checked against the file's length.

    "GGUF" u32 version u64 tensors u64 pairs | pairs: key, u32 type, value | tensors: name, u32 n, u64 dims[n],
    u32 type, u64 offset | padding to general.alignment | data

Layout: ggml/docs/gguf.md. Tensor dims stand innermost first: a weight of (rows, cols) has dims [cols, rows].
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError

MAX_TENSORS = 65_536
MAX_PAIRS = 65_536
MAX_NAME_BYTES = 4_096
MAX_DIMS = 4
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
BOOL, STRING, ARRAY = 7, 8, 9
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    8: ("Q8_0", 32, 34),
    14: ("Q6_K", 256, 210),
}
"""GGML's number: (name, values a block, bytes a block)."""

Value = int | float | bool | str | bytes | list["Value"]


class GgufError(KernelError):
    """The GGUF file is damaged, hostile, or of a kind that the native engine does not run."""

    next_step: ClassVar[str] = "fetch the file again, or use a Llama-family GGUF in Q4_0, Q4_1, Q8_0, Q6_K, F16 or F32"


@dataclass(frozen=True)
class Tensor:
    """One tensor's place in the file: `rows` x `cols` values of `kind`, `data` its bytes."""

    name: str
    kind: str
    rows: int
    cols: int
    data: NDArray[np.uint8]


@dataclass
class Gguf:
    """A parsed file. `pairs` holds the metadata; strings are `str` (or `bytes` where they are not UTF-8).

    `pairs_data` is the metadata as it stands in the file."""

    path: Path
    pairs: dict[str, Value] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    pairs_data: bytes | memoryview = b""

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Returns the metadata's integer `key`, checked to lie in [low, high]."""
        value = self.pairs.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise GgufError(f"{self.path.name}: {key} is {value!r}, expected an integer in [{low}, {high}]")
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        value = self.pairs.get(key, default)
        if not isinstance(value, int | float) or not low <= value <= high:  # a NaN fails both
            raise GgufError(f"{self.path.name}: {key} is {value!r}, expected a number in [{low:g}, {high:g}]")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.pairs.get(key, default)
        if not isinstance(value, str):
            raise GgufError(f"{self.path.name}: {key} is {type(value).__name__}, expected a string")
        return value

    def matrix(self, name: str, rows: int, cols: int) -> Tensor:
        """Returns the tensor `name`, which must have this shape."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise GgufError(f"{self.path.name}: tensor {name} is missing")
        if (tensor.rows, tensor.cols) != (rows, cols):
            raise GgufError(
                f"{self.path.name}: tensor {name} has shape ({tensor.rows}, {tensor.cols}), expected ({rows}, {cols})"
            )
        return tensor


class _Reader:
    """A cursor over the header that cannot leave the file."""

    def __init__(self, view: memoryview, name: str) -> None:
        self.view, self.name, self.at = view, name, 0

    def fail(self, what: str) -> GgufError:
        return GgufError(f"{self.name}: at byte {self.at}: {what}")

    def take(self, count: int) -> memoryview:
        if count > len(self.view) - self.at:
            raise self.fail(f"{count} bytes wanted, {len(self.view) - self.at} left: the file is cut short or damaged")
        part = self.view[self.at : self.at + count]
        self.at += count
        return part

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def count(self, what: str, limit: int) -> int:
        value = self.u64()
        if value > limit:
            raise self.fail(f"{value} {what}, at most {limit} are accepted")
        return value

    def string(self) -> str | bytes:
        raw = bytes(self.take(self.u64()))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw

    def name_string(self) -> str:
        value = self.string()
        if not isinstance(value, str) or not value or len(value) > MAX_NAME_BYTES:
            raise self.fail("a key or tensor name is empty, longer than 4096 bytes, or not UTF-8")
        return value

    def value(self, kind: int, nested: bool = False) -> Value:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            if nested:
                raise self.fail("an array of arrays is not supported")
            inner, count = self.u32(), self.u64()
            return self.array(inner, count)
        if kind not in SCALARS:
            raise self.fail(f"value type {kind} is unknown")
        (scalar,) = struct.unpack("<" + SCALARS[kind], self.take(struct.calcsize(SCALARS[kind])))
        return bool(scalar) if kind == BOOL else scalar

    def array(self, inner: int, count: int) -> list[Value]:
        smallest = 8 if inner == STRING else struct.calcsize(SCALARS[inner]) if inner in SCALARS else 0
        if not smallest:
            raise self.fail(f"array of value type {inner} is not supported")
        if count > (len(self.view) - self.at) // smallest:
            raise self.fail(f"an array of {count} values does not fit in the file")
        if inner == STRING:
            return [self.string() for _ in range(count)]
        return list(struct.unpack(f"<{count}{SCALARS[inner]}", self.take(count * smallest)))


def _read_tensor(reader: _Reader) -> tuple[str, str, int, int, int, int]:
    """Returns name, kind, rows, cols, offset in the data, bytes."""
    name, dims_count = reader.name_string(), reader.u32()
    if not 1 <= dims_count <= MAX_DIMS:
        raise reader.fail(f"tensor {name} has {dims_count} dimensions")
    dims = [reader.u64() for _ in range(dims_count)]
    number, offset = reader.u32(), reader.u64()
    if number not in TENSOR_TYPES:
        supported = ", ".join(kind for kind, _, _ in TENSOR_TYPES.values())
        raise reader.fail(f"tensor {name} has GGML type {number}; the native engine runs {supported}")
    kind, block_values, block_bytes = TENSOR_TYPES[number]
    cols, rows = dims[0], math.prod(dims[1:])
    if min(dims) == 0 or cols % block_values:
        raise reader.fail(f"tensor {name} of type {kind} has dimensions {dims}")
    return name, kind, rows, cols, offset, rows * (cols // block_values) * block_bytes


def read_gguf(path: Path) -> Gguf:
    """Parses the header of `path` and maps its tensors. Raises GgufError on anything that is not a sound GGUF file."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise GgufError(f"{path}: cannot be read ({error})") from error
    return parse_gguf(memoryview(mapped), path)


def parse_gguf(view: memoryview, path: Path) -> Gguf:
    """As read_gguf, over bytes that are in memory; `path` is only named in errors."""
    reader, found = _Reader(view, path.name), Gguf(path)
    if bytes(reader.take(4)) != b"GGUF":
        raise reader.fail("this is not a GGUF file")
    version = reader.u32()
    if version not in (2, 3):
        raise reader.fail(f"GGUF version {version}, expected 2 or 3 (little-endian)")
    tensors, pairs = reader.count("tensors", MAX_TENSORS), reader.count("metadata pairs", MAX_PAIRS)
    pairs_at = reader.at
    for _ in range(pairs):
        key = reader.name_string()
        if key in found.pairs:
            raise reader.fail(f"metadata key {key} stands twice")
        found.pairs[key] = reader.value(reader.u32())
    found.pairs_data = view[pairs_at : reader.at]
    entries = [_read_tensor(reader) for _ in range(tensors)]
    alignment = found.integer("general.alignment", 8, 1 << 20, 32)
    if alignment & (alignment - 1):
        raise reader.fail(f"general.alignment {alignment} is not a power of two")
    start = -(-reader.at // alignment) * alignment
    everything = np.frombuffer(view, np.uint8)
    for name, kind, rows, cols, offset, size in entries:
        if name in found.tensors:
            raise reader.fail(f"tensor {name} stands twice")
        if offset % alignment or start + offset + size > len(view):
            raise reader.fail(
                f"tensor {name} wants bytes [{start + offset}, {start + offset + size}) aligned to {alignment}, "
                f"the file has {len(view)}: it is cut short or damaged"
            )
        found.tensors[name] = Tensor(name, kind, rows, cols, everything[start + offset : start + offset + size])
    return found
