"""Reads ONNX without the `onnx` package: a protobuf reader of just what an inference graph needs.

    ModelProto   7 graph, 8 opset_import {1 domain, 2 version}
    GraphProto   1 node, 2 name, 5 initializer, 11 input, 12 output
    NodeProto    1 input, 2 output, 3 name, 4 op_type, 5 attribute, 7 domain
    AttributeProto 1 name, 2 f, 3 i, 4 s, 5 t, 7 floats, 8 ints, 20 type
    TensorProto  1 dims, 2 data_type, 4 float_data, 5 int32_data, 7 int64_data, 8 name, 9 raw_data, 10 double_data,
                 11 uint64_data, 13 external_data, 14 data_location
    ValueInfoProto 1 name, 2 type {1 tensor_type {1 elem_type, 2 shape {1 dim {1 value, 2 param}}}}

Field numbers are those of onnx/onnx.proto3 (IR version 3 to 12). The bytes may be hostile: every length is checked
against what is left, sizes are bounded, nothing recurses deeper than the format's own fixed depth, and the graph must
be in topological order (the standard demands it, and it rules out cycles). All that is wrong is a
`MalformedModelError`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kernels.graph import planning
from kernels.graph.errors import MalformedModelError, UnsupportedModelError

Array: TypeAlias = npt.NDArray[np.generic]
Attribute: TypeAlias = "float | int | bytes | Array | tuple[float, ...] | tuple[int, ...]"
Dim: TypeAlias = "int | None"  # None: any

MAX_DIM = 1 << 31
MAX_ELEMENTS = 1 << 28
MAX_RANK = 8
MAX_NODES = 100_000
MAX_VARINT = 10  # bytes of a number of 64 bits

# TensorProto.DataType -> numpy
DTYPES: dict[int, type[np.generic]] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
    12: np.uint32,
    13: np.uint64,
}


@dataclass(frozen=True)
class Node:
    """One operator: `inputs` may hold "" for an input that is left out."""

    op: str
    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]

    @property
    def label(self) -> str:
        """What an error calls it: its name, or its first output where it has none."""
        return self.name or (self.outputs[0] if self.outputs else self.op)


@dataclass(frozen=True)
class ValueInfo:
    """An input or output of the graph; `shape` is None where the model does not say."""

    name: str
    dtype: type[np.generic]
    shape: tuple[Dim, ...]


@dataclass(frozen=True)
class Graph:
    """A whole model, nodes in topological order."""

    name: str
    opset: int
    nodes: tuple[Node, ...]
    initializers: dict[str, Array]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]


@dataclass
class _Fields:
    """The fields of one message, by number: varints as int, fixed as raw bytes, the rest as memoryview."""

    ints: dict[int, list[int]] = field(default_factory=dict)
    blobs: dict[int, list[memoryview]] = field(default_factory=dict)

    def text(self, number: int) -> str:
        found = self.blobs.get(number)
        if not found:
            return ""
        try:
            return bytes(found[-1]).decode()
        except UnicodeDecodeError as error:
            raise MalformedModelError(f"a name in the model is not UTF-8: {error}") from error

    def integer(self, number: int, default: int = 0) -> int:
        return self.ints.get(number, [default])[-1]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise MalformedModelError(f"the model is cut short inside a number at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise MalformedModelError(f"a number of more than 64 bits at byte {at}")


def _fields(data: memoryview) -> _Fields:
    found = _Fields()
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise MalformedModelError(f"field number 0 at byte {at}")
        if wire == 0:
            value, at = _varint(data, at)
            found.ints.setdefault(number, []).append(value)
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise MalformedModelError(f"wire type {wire} at byte {at}; expected 0, 1, 2 or 5")
        if size > len(data) - at:
            raise MalformedModelError(f"a field of {size} bytes at byte {at}, but only {len(data) - at} are left")
        found.blobs.setdefault(number, []).append(data[at : at + size])
        at += size
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _repeated_ints(fields: _Fields, number: int) -> tuple[int, ...]:
    """Returns a repeated int64, packed or not."""
    values = [_signed(value) for value in fields.ints.get(number, ())]
    for blob in fields.blobs.get(number, ()):
        values += _packed_ints(blob)
    return tuple(values)


def _packed_ints(blob: memoryview) -> list[int]:
    data = np.frombuffer(blob, np.uint8)
    if not data.size:
        return []
    ends = np.flatnonzero(data < 0x80)
    if not ends.size or ends[-1] != data.size - 1:
        raise MalformedModelError(f"the model is cut short inside the last number of {data.size} packed bytes")
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > MAX_VARINT:
        raise MalformedModelError(f"a packed number of more than 64 bits, at byte {starts[sizes.argmax()]}")
    shifts = (np.arange(data.size) - np.repeat(starts, sizes)).astype(np.uint64) * np.uint64(7)
    parts = (data & 0x7F).astype(np.uint64) << shifts
    return [int(value) for value in np.bitwise_or.reduceat(parts, starts).view(np.int64)]


def _repeated_fixed(fields: _Fields, number: int, code: str) -> list[float]:
    """Returns a repeated float or double, packed (one blob) or not (one blob a value)."""
    size = struct.calcsize(code)
    values: list[float] = []
    for blob in fields.blobs.get(number, ()):
        if len(blob) % size:
            raise MalformedModelError(f"{len(blob)} bytes of packed numbers of {size} bytes each")
        values.extend(struct.unpack(f"<{len(blob) // size}{code}", blob))
    return values


def check_dims(dims: tuple[int, ...], what: str) -> int:
    """Returns the number of elements of `dims`; raises MalformedModelError if the shape is impossible."""
    if len(dims) > MAX_RANK:
        raise MalformedModelError(f"{what} has {len(dims)} dimensions; at most {MAX_RANK} are taken")
    count = 1
    for dim in dims:
        if not 0 <= dim < MAX_DIM:
            raise MalformedModelError(f"{what} has the impossible shape {list(dims)}")
        count *= dim
    if count > MAX_ELEMENTS:
        raise MalformedModelError(
            f"{what} of shape {list(dims)} has {count} elements; at most {MAX_ELEMENTS} are taken"
        )
    return count


def _tensor(data: memoryview, what: str) -> tuple[str, Array]:
    fields = _fields(data)
    name = fields.text(8) or what
    dims = _repeated_ints(fields, 1)
    count = check_dims(dims, f"tensor {name!r}")
    if fields.integer(14) == 1 or 13 in fields.blobs:
        raise UnsupportedModelError(f"tensor {name!r} keeps its data in another file")
    code = fields.integer(2)
    if code not in DTYPES:
        raise UnsupportedModelError(f"tensor {name!r} has the element type {code}; taken are {sorted(DTYPES)}")
    dtype = np.dtype(DTYPES[code]).newbyteorder("<")
    raw = fields.blobs.get(9)
    if raw:
        if len(raw[-1]) != count * dtype.itemsize:
            raise MalformedModelError(
                f"tensor {name!r} of shape {list(dims)} needs {count * dtype.itemsize} bytes, got {len(raw[-1])}"
            )
        return name, np.frombuffer(raw[-1], dtype).reshape(dims)
    values: list[float] | tuple[int, ...]
    if code == 1:
        values = _repeated_fixed(fields, 4, "f")
    elif code == 11:
        values = _repeated_fixed(fields, 10, "d")
    else:
        values = _repeated_ints(fields, 7 if code == 7 else 11 if code in (12, 13) else 5)
    if len(values) != count:
        raise MalformedModelError(f"tensor {name!r} of shape {list(dims)} needs {count} values, got {len(values)}")
    if code == 10:  # float16 travels as its bits in int32_data
        return name, np.array([int(v) & 0xFFFF for v in values], np.uint16).view(np.float16).reshape(dims)
    try:
        return name, np.array(values, dtype).reshape(dims)
    except OverflowError as error:
        raise MalformedModelError(f"tensor {name!r}: {error}") from error


def _attribute(data: memoryview, node: str) -> tuple[str, Attribute]:
    fields = _fields(data)
    name = fields.text(1)
    kind = fields.integer(20)
    if kind == 1 or (not kind and 2 in fields.blobs):
        floats = _repeated_fixed(fields, 2, "f")
        return name, floats[-1] if floats else 0.0
    if kind == 2 or (not kind and 3 in fields.ints):
        return name, _signed(fields.integer(3))
    if kind == 3 or (not kind and 4 in fields.blobs):
        return name, bytes(fields.blobs.get(4, [memoryview(b"")])[-1])
    if kind == 4 or (not kind and 5 in fields.blobs):
        return name, _tensor(fields.blobs.get(5, [memoryview(b"")])[-1], f"{node}.{name}")[1]
    if kind == 6 or (not kind and 7 in fields.blobs):
        return name, tuple(_repeated_fixed(fields, 7, "f"))
    if kind in (0, 7):
        return name, _repeated_ints(fields, 8)
    raise UnsupportedModelError(
        f"attribute {name!r} of node {node!r} is of type {kind} (graphs, strings or sparse tensors)"
    )


def _strings(fields: _Fields, number: int) -> tuple[str, ...]:
    try:
        return tuple(bytes(blob).decode() for blob in fields.blobs.get(number, ()))
    except UnicodeDecodeError as error:
        raise MalformedModelError(f"a name in the model is not UTF-8: {error}") from error


def _node(data: memoryview) -> Node:
    fields = _fields(data)
    name = fields.text(3)
    attributes = dict(_attribute(blob, name) for blob in fields.blobs.get(5, ()))
    return Node(fields.text(4), name, fields.text(7), _strings(fields, 1), _strings(fields, 2), attributes)


def _value_info(data: memoryview) -> ValueInfo:
    fields = _fields(data)
    name = fields.text(1)
    tensor = _fields(_fields(fields.blobs.get(2, [memoryview(b"")])[-1]).blobs.get(1, [memoryview(b"")])[-1])
    code = tensor.integer(1)
    if code not in DTYPES:
        raise UnsupportedModelError(f"{name!r} is no tensor of a known type (element type {code})")
    shape = _fields(tensor.blobs.get(2, [memoryview(b"")])[-1])
    dims: list[Dim] = []
    for blob in shape.blobs.get(1, ()):
        value = _signed(_fields(blob).integer(1, 0))
        dims.append(value if value > 0 else None)
    check_dims(tuple(dim or 1 for dim in dims), f"{name!r}")
    return ValueInfo(name, DTYPES[code], tuple(dims))


def _check_order(nodes: tuple[Node, ...], known: set[str]) -> None:
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise MalformedModelError(
                    f"node {node.label!r} ({node.op}) reads {name!r}, which nothing before it makes: "
                    "the graph is cyclic, unsorted or incomplete"
                )
        for name in node.outputs:
            if name in known:
                raise MalformedModelError(f"{name!r} is made twice, the second time by node {node.label!r}")
            if name:
                known.add(name)


def _opset(model: _Fields) -> int:
    for blob in model.blobs.get(8, ()):
        entry = _fields(blob)
        if entry.text(1) in ("", "ai.onnx"):
            return entry.integer(2)
    return 1


def _messages(fields: _Fields, number: int) -> Iterator[memoryview]:
    for blob in fields.blobs.get(number, ()):
        planning.check()
        yield blob


def read_onnx(data: bytes | memoryview) -> Graph:
    """Returns the graph of the ONNX model in `data`; tensors are views of `data`.

    Raises MalformedModelError or UnsupportedModelError.
    """
    model = _fields(memoryview(data).cast("B"))
    if 7 not in model.blobs:
        raise MalformedModelError(f"{len(data)} bytes without a graph: not an ONNX model")
    graph = _fields(model.blobs[7][-1])
    if len(graph.blobs.get(1, ())) > MAX_NODES:
        raise MalformedModelError(f"{len(graph.blobs[1])} nodes; at most {MAX_NODES} are taken")
    nodes = tuple(_node(blob) for blob in _messages(graph, 1))
    initializers = dict(_tensor(blob, "initializer") for blob in _messages(graph, 5))
    inputs = tuple(info for info in map(_value_info, _messages(graph, 11)) if info.name not in initializers)
    outputs = tuple(map(_value_info, _messages(graph, 12)))
    if not outputs:
        raise MalformedModelError("the graph has no outputs")
    known = set(initializers) | {info.name for info in inputs}
    if len({info.name for info in inputs}) != len(inputs):
        raise MalformedModelError("two inputs have the same name")
    _check_order(nodes, known)
    for info in outputs:
        if info.name not in known:
            raise MalformedModelError(f"output {info.name!r} is made by no node")
    return Graph(graph.text(2), _opset(model), nodes, initializers, inputs, outputs)
