"""Int8 models of one shape for benches and tests: chains of matrix products, of the size of a small vision transformer
unless another is asked for (5.2 MB and 1.03 GMAC a run)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, ROWS = 20, 512, 196


def int8_chain(seed: int, rows: int | str = ROWS, width: int = WIDTH, layers: int = LAYERS) -> bytes:
    """Returns a QDQ model x float32 (rows, width) -> y: u8 activations, s8 weights, a Relu after each product."""
    rng = np.random.default_rng(seed)
    constants: list[Any] = []
    nodes: list[Any] = []

    def constant(name: str, value: NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    scale = constant("scale", np.array(0.02, np.float32))
    zero = constant("zero", np.array(0, np.uint8))
    weight_scale = constant("weight_scale", np.array(0.002, np.float32))
    weight_zero = constant("weight_zero", np.array(0, np.int8))
    before = "x"
    for layer in range(layers):
        weight = constant(f"w{layer}", rng.integers(-127, 128, (width, width)).astype(np.int8))
        quantised, product = f"q{layer}", f"m{layer}"
        after = "y" if layer == layers - 1 else f"r{layer}"
        nodes += [
            helper.make_node("QuantizeLinear", [before, scale, zero], [quantised]),
            helper.make_node("DequantizeLinear", [quantised, scale, zero], [f"{quantised}d"]),
            helper.make_node("DequantizeLinear", [weight, weight_scale, weight_zero], [f"{weight}d"]),
            helper.make_node("MatMul", [f"{quantised}d", f"{weight}d"], [product]),
            helper.make_node("Relu", [product], [after]),
        ]
        before = after
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, width]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", [tensors[0]], [tensors[1]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
