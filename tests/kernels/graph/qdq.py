"""Builds small quantise-dequantise models, as onnxruntime's quantiser writes them, with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]


class Builder:
    """Collects nodes; values are names. Activations are u8 (or s8), weights s8 by channel, biases int32."""

    def __init__(self, seed: int = 0, activation: type[np.generic] = np.uint8) -> None:
        self.rng = np.random.default_rng(seed)
        self.activation = activation
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.count = 0

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}_{self.count}"

    def const(self, value: Any, dtype: Any = None) -> str:
        name = self.name("c")
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def input(self, name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int = TensorProto.FLOAT, rank: int = 4) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, kind, [None] * rank))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        out = self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=f"{out}_node", **attributes))
        return out

    def q(self, x: str, scale: float = 0.05, zero: int = 117) -> str:
        """QuantizeLinear then DequantizeLinear of an activation."""
        point = zero if self.activation is np.uint8 else zero - 128
        args = (self.const(scale, np.float32), self.const(point, self.activation))
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *args), *args)

    def weights(self, shape: tuple[int, ...], axis: int = 0) -> tuple[str, Array]:
        """Returns dequantised s8 weights and their scales along `axis`."""
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = self.rng.uniform(0.002, 0.02, shape[axis]).astype(np.float32)
        zeros = self.const(np.zeros(shape[axis], np.int8))
        return self.op("DequantizeLinear", self.const(values), self.const(scale), zeros, axis=axis), scale

    def conv(
        self,
        x: str,
        x_scale: float,
        c: int,
        n: int,
        kernel: tuple[int, int] = (3, 3),
        group: int = 1,
        **attributes: Any,
    ) -> str:
        w, scale = self.weights((n, c // group, *kernel))
        bias = self.const(self.rng.integers(-2000, 2000, n), np.int32)
        b = self.op(
            "DequantizeLinear", bias, self.const(scale * np.float32(x_scale)), self.const(np.zeros(n, np.int32)), axis=0
        )
        return self.op("Conv", x, w, b, kernel_shape=list(kernel), group=group, **attributes)

    def model(self, opset: int = 17) -> bytes:
        graph = helper.make_graph(self.nodes, "test", self.inputs, self.outputs, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return bytes(model.SerializeToString())


def reference(model: bytes, feeds: dict[str, Array]) -> list[Array]:
    """Returns onnxruntime's outputs, with its integer kernels (its default optimisations)."""
    import onnxruntime as ort  # here: under qemu its import is a segmentation fault, building models is none

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")  # its products saturate where there is no VNNI
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))
