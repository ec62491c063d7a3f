"""Compiles an ONNX graph for given input shapes: quantise-dequantise patterns become a flat list of fused int8 ops.

    QuantizeLinear(expression of one tensor)      a table of 256 bytes,
        at the end of the op that makes the tensor if it can be
    QuantizeLinear(expression of several)         one pass of the element-wise machine
    Conv, MatMul, Gemm, ConvTranspose on DequantizeLinear    an int8 product that ends in requantisation (or in float)
    Transpose, Slice, Reshape, nearest Resize...  a different view of the same memory, or a copy
    Shape and what is computed from it            numbers

This is the table of ops; the work is in compiler.py (values and expressions) and nodes_*.py (what each op means).
"""

from __future__ import annotations

from collections.abc import Mapping

from kernels.graph import constants
from kernels.graph.compiler import Compiler, Handler
from kernels.graph.emit import Blob, Machine
from kernels.graph.expressions import (
    ELEMENTWISE,
)
from kernels.graph.nodes_layout import (
    on_cast,
    on_concat,
    on_expand,
    on_flatten,
    on_gather,
    on_reshape,
    on_resize,
    on_slice,
    on_split,
    on_squeeze,
    on_transpose,
    on_unsqueeze,
)
from kernels.graph.nodes_quantised import on_conv, on_conv_transpose, on_dequantize, on_gemm, on_matmul, on_quantize
from kernels.graph.nodes_reductions import on_global_mean, on_layer_norm, on_pool, on_reduce, on_softmax
from kernels.graph.onnx_reader import Graph
from kernels.graph.views import (
    Dims,
)

HANDLERS: dict[str, Handler] = {
    "AveragePool": on_pool,
    "Cast": on_cast,
    "Concat": on_concat,
    "Conv": on_conv,
    "ConvTranspose": on_conv_transpose,
    "DequantizeLinear": on_dequantize,
    "Expand": on_expand,
    "Flatten": on_flatten,
    "Gather": on_gather,
    "Gemm": on_gemm,
    "GlobalAveragePool": on_global_mean,
    "LayerNormalization": on_layer_norm,
    "MatMul": on_matmul,
    "MaxPool": on_pool,
    "QuantizeLinear": on_quantize,
    "ReduceMax": on_reduce,
    "ReduceMean": on_reduce,
    "ReduceSum": on_reduce,
    "Reshape": on_reshape,
    "Resize": on_resize,
    "Slice": on_slice,
    "Softmax": on_softmax,
    "Split": on_split,
    "Squeeze": on_squeeze,
    "Transpose": on_transpose,
    "Unsqueeze": on_unsqueeze,
    "Upsample": on_resize,
}


SUPPORTED = (
    frozenset(HANDLERS) | frozenset(ELEMENTWISE) | frozenset(constants.EVALUATED) | {"Clip", "Constant", "Shape"}
)


def compile_graph(graph: Graph, shapes: Mapping[str, Dims], weights: Blob, machine: Machine) -> Compiler:
    """Returns the finished compilation of `graph` for `shapes`: its ops are in `.emitter`, its ports in `.inputs` and
    `.outputs`.

    `weights` is shared by the plans of a model: packed weights go in once.
    Raises MalformedModelError or UnsupportedModelError.
    """
    compiler = Compiler(graph, HANDLERS, shapes, weights, machine)
    compiler.run()
    return compiler
