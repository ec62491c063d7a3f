"""Makes an int8 QDQ model one that TensorRT computes as it was meant.

TensorRT knows signed int8 with a zero point of 0 only, and takes unsigned zero points for signed ones, which is wrong
by more than a rounding. So before it sees the model:

    int8   activations: u8 (scale s, zero z) becomes s8 with scale s * max(z, 255 - z) / 127: half the steps after a
           Relu, nothing cut off. Weights that are signed and symmetric stay; int32 biases become float.
    fp16   quantise and dequantise go, weights are dequantised once, everything is half precision but in and out.
    fp32   as fp16, in single precision: for comparisons.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from runtime.backends.protocol import ModelRefused

PRECISIONS = ("int8", "fp16", "fp32")
_Array = NDArray[Any]


def prepare(data: bytes, precision: str, where: str) -> bytes:
    """Returns the model for `precision`. Raises ModelRefused for what is no ONNX model."""
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError, TypeError) as error:
        raise ModelRefused(f"{where}: not an ONNX model: {str(error).splitlines()[0]}", next_step="") from error
    except Exception as error:
        if type(error).__module__.startswith("google.protobuf"):
            raise ModelRefused(f"{where}: not an ONNX model: {error}", next_step="check the file") from error
        raise
    graph = _Constants(model.graph)
    graph.fold_dequantised(only_int32=precision == "int8")
    if precision == "int8":
        graph.make_symmetric()
    else:
        graph.drop_activation_pairs()
    graph.finish()
    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that half precision rounds to 0 or to its largest
            model = convert_float_to_float16(model, keep_io_types=True)
    return bytes(model.SerializeToString())


class _Constants:
    """A graph with its initialisers by name; those that are replaced are added, those unused at the end dropped."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._added: dict[str, _Array] = {}

    def fold_dequantised(self, *, only_int32: bool) -> None:
        """Computes what dequantises a constant: all of them, or those that TensorRT has no type for."""
        kept = []
        for node in self._graph.node:
            value = self._values.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
            if value is None or (only_int32 and value.dtype != np.int32):
                kept.append(node)
                continue
            self._put(node.output[0], _dequantised(value, *self._scale_and_zero(node), _axis(node)))
        self._replace(kept)

    def make_symmetric(self) -> None:
        """Rewrites unsigned scales and zero points, of activations and of constants."""
        for node in self._graph.node:
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                continue
            scale, zero = self._scale_and_zero(node)
            if zero.dtype == np.int8 and not zero.any():
                continue
            wide = zero.astype(np.int32)
            low, high = (0, 255) if zero.dtype == np.uint8 else (-128, 127)
            wider = (scale * np.maximum(wide - low, high - wide) / 127).astype(np.float32)
            constant = self._values.get(node.input[0])
            if constant is not None:
                real = _dequantised(constant, scale, zero, _axis(node))
                shape = _along(wider, real.ndim, _axis(node))
                node.input[0] = self._put(
                    f"{node.output[0]}.s8", np.clip(np.rint(real / shape), -127, 127).astype(np.int8)
                )
            node.input[1] = self._put(f"{node.output[0]}.scale", wider)
            node.input[2] = self._put(f"{node.output[0]}.zero", np.zeros(wider.shape, np.int8))

    def drop_activation_pairs(self) -> None:
        """Joins what a quantise and its dequantises stood between; what it cut off is still cut off."""
        renamed: dict[str, str] = {}
        kept = []
        for node in self._graph.node:
            if node.op_type == "QuantizeLinear":
                kept.append(self._clip(node, renamed.get(node.input[0], node.input[0])))
            elif node.op_type == "DequantizeLinear":
                renamed[node.output[0]] = node.input[0]
            else:
                kept.append(node)
        for node in kept:
            for number, name in enumerate(node.input):
                node.input[number] = renamed.get(name, name)
        for out in self._graph.output:
            if out.name in renamed:
                kept.append(onnx.helper.make_node("Identity", [renamed[out.name]], [out.name]))
        self._replace(kept)

    def _clip(self, node: Any, source: str) -> Any:
        scale, zero = self._scale_and_zero(node)
        low, high = (0, 255) if zero.dtype == np.uint8 else (-128, 127)
        if scale.size != 1:
            return onnx.helper.make_node("Identity", [source], [node.output[0]])
        step, offset = np.float32(scale.item()), int(zero.item())
        bounds = [
            self._put(f"{node.output[0]}.{side}", np.array((bound - offset) * step, np.float32))
            for side, bound in (("low", low), ("high", high))
        ]
        return onnx.helper.make_node("Clip", [source, *bounds], [node.output[0]])

    def finish(self) -> None:
        """Writes what was added, and leaves out what nothing uses any more."""
        used = {name for node in self._graph.node for name in node.input} | {one.name for one in self._graph.output}
        everything = {**self._values, **self._added}
        del self._graph.initializer[:]
        self._graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in everything.items() if name in used
        )
        inputs = [one for one in self._graph.input if one.name not in everything]
        del self._graph.input[:]
        self._graph.input.extend(inputs)

    def _scale_and_zero(self, node: Any) -> tuple[_Array, _Array]:
        scale = self._values[node.input[1]]
        has_zero = len(node.input) > 2 and node.input[2]
        return scale, self._values[node.input[2]] if has_zero else np.zeros(scale.shape, np.uint8)

    def _put(self, name: str, value: _Array) -> str:
        self._added[name] = value
        return name

    def _replace(self, nodes: list[Any]) -> None:
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self._graph.node[:]
        self._graph.node.extend(kept)


def _axis(node: Any) -> int:
    return next((int(one.i) for one in node.attribute if one.name == "axis"), 1)


def _along(values: _Array, rank: int, axis: int) -> _Array:
    """Returns per-channel values in a shape that multiplies with the tensor."""
    if values.ndim == 0 or values.size == 1:
        return values.reshape(())
    shape = [1] * rank
    shape[axis] = values.size
    return values.reshape(shape)


def _dequantised(value: _Array, scale: _Array, zero: _Array, axis: int) -> _Array:
    wide = value.astype(np.int64) - _along(zero, value.ndim, axis).astype(np.int64)
    return np.asarray(wide * _along(scale, value.ndim, axis).astype(np.float64), np.float32)
