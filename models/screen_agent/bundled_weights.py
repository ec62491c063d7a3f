"""The decider's weights out of a bundle's int8 ONNX and into it again, so that a bundle can be trained on.

    decider.onnx ──read──► floats by the names of DeciderNet ──train──► floats ──write──► decider.onnx

Every product of the graph is named by its layer ("/blocks.0/key/MatMul_output_0") or its bias is, so nothing but
the file is needed. The ranges of activations stay those of the bundle: a demonstration shows too few screens for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from models.screen_agent.decider_net import DeciderNet
from runtime.agent.deciding import GramTable
from runtime.agent.pairs import PAIRS
from runtime.errors import RuntimeFault

_PRODUCT = re.compile(r"/(?:net/)?(.+)/(?:MatMul|Gemm)(?:_\d+)?_output_0")
_BIAS = re.compile(r"(?:net\.)?(.+)\.bias")  # names a product that the quantiser made of a sum and a product
_INPUTS = ("screen", "words", "deeds", "boxes")  # joined to one product by the export
Array = NDArray[Any]


class OtherRecipe(RuntimeFault):
    """A bundle's decider is not of the network that this recipe trains."""

    next_step = "adapt a bundle that this version's `make train` made"


@dataclass(frozen=True)
class _Weight:
    """One product's weight: the layer, its initialiser, and whether it lies as (inputs, outputs)."""

    layer: str
    initialiser: str
    is_transposed: bool
    quantised: tuple[str, str] | None  # its scale, and the scale of the bias that stands on it ("" without one)


class BundledDecider:
    """A decider's ONNX file as weights. Raises OtherRecipe."""

    def __init__(self, data: bytes, table: GramTable) -> None:
        self._model = onnx.load_from_string(data)
        self._table = table
        self._held = {one.name: one for one in self._model.graph.initializer}
        self._weights = _products(self._model, self._held)

    def net(self) -> DeciderNet:
        """Returns the network with the bundle's weights. Raises OtherRecipe: one is missing or has another shape."""
        net = DeciderNet()
        wanted = net.state_dict()
        found = self._floats()
        found["grams.weight"] = self._table.rows.astype(np.float32) * self._table.scales[:, None]
        missing = [name for name in wanted if name not in found or tuple(wanted[name].shape) != found[name].shape]
        if missing:
            raise OtherRecipe(f"the bundle's decider has no {', '.join(missing[:4])} of the shape that the recipe has")
        net.load_state_dict({name: torch.from_numpy(found[name].copy()) for name in wanted})
        return net

    def with_weights(self, net: DeciderNet) -> bytes:
        """Returns the ONNX file with the weights of `net`; letter groups, pairs and activations' ranges stay."""
        state = {name: value.detach().numpy() for name, value in net.state_dict().items()}
        joined = net.joined().weight.detach().numpy()
        for weight in self._weights:
            value = joined if weight.layer == "joined" else state[f"{weight.layer}.weight"]
            self._put_weight(weight, value.T if weight.is_transposed else value)
        for name in list(self._held):
            own = name.removeprefix("net.")
            if own in state and not own.startswith("pairs."):
                self._put(name, state[own])
            elif name.endswith(".bias_quantized") and (own := own.removesuffix("_quantized")) in state:
                scale = self._get(f"{name}_scale")
                self._put(name, np.rint(state[own] / scale).astype(np.int32))
        return bytes(self._model.SerializeToString())

    def _floats(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name in self._held:
            own = name.removeprefix("net.")
            if name.endswith(".bias_quantized"):
                found[own.removesuffix("_quantized")] = self._get(name) * self._get(f"{name}_scale")
            elif name != own:
                found[own] = self._get(name)
        for weight in self._weights:
            value = self._get(weight.initialiser).astype(np.float32)
            if weight.quantised is not None:
                value = value * self._get(weight.quantised[0])
            value = value.T if weight.is_transposed else value
            if weight.layer == "joined":
                found |= _parted(value)
            else:
                found[f"{weight.layer}.weight"] = value
        for name in self._held:
            if name.startswith("pairs."):
                found[name] = self._get(name)[:, :PAIRS] if name.endswith(".weight") else self._get(name)
        return found

    def _put_weight(self, weight: _Weight, value: Array) -> None:
        """Writes one weight with a scale for each of its outputs, and the scale of the bias that stands on it."""
        if weight.quantised is None:
            self._put(weight.initialiser, value)
            return
        scale_name, bias_scale_name = weight.quantised
        before = self._get(scale_name)
        axis = 0 if weight.is_transposed else 1
        largest = np.abs(value).max(axis=axis) if before.size > 1 else np.abs(value).max()
        scale = (np.maximum(largest, 1e-8) / 127).astype(np.float32).reshape(before.shape)
        per_output = scale[None, :] if weight.is_transposed else scale[:, None]
        self._put(weight.initialiser, np.clip(np.rint(value / per_output), -127, 127).astype(np.int8))
        self._put(scale_name, scale)
        if bias_scale_name:
            self._put(bias_scale_name, self._get(bias_scale_name) * scale / before)

    def _get(self, name: str) -> Array:
        return numpy_helper.to_array(self._held[name])

    def _put(self, name: str, value: Array) -> None:
        before = self._held[name]
        made = numpy_helper.from_array(np.ascontiguousarray(value.astype(self._get(name).dtype)), name)
        assert list(made.dims) == list(before.dims)
        before.CopyFrom(made)


def _products(model: onnx.ModelProto, held: dict[str, Any]) -> list[_Weight]:
    """Returns where each layer's weight lies. Raises OtherRecipe."""
    makers = {node.output[0]: node for node in model.graph.node}
    found = []
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm"):
            continue
        name = node.input[1]
        quantised = None
        if name not in held and name in makers and makers[name].op_type == "DequantizeLinear":
            source = makers[name].input
            bias = node.input[2] if len(node.input) > 2 else ""
            bias_scale = makers[bias].input[1] if bias in makers else ""
            name, quantised = source[0], (source[1], bias_scale)
        if name not in held:
            continue  # of two activations
        layer = _PRODUCT.fullmatch(node.output[0]) or _BIAS.fullmatch(node.input[2] if len(node.input) > 2 else "")
        if layer is None:
            raise OtherRecipe(f"the bundle's decider has a product called {node.output[0]}")
        is_gemm_turned = any(one.name == "transB" and one.i for one in node.attribute)
        found.append(_Weight(layer[1].replace("/", "."), name, not is_gemm_turned, quantised))
    return found


def _parted(joined: Array) -> dict[str, Array]:
    """Returns the weights and biases of the four layers that DeciderNet.joined makes one (outputs, inputs)."""
    net = DeciderNet()
    found, at = {}, 0
    widths = [getattr(net, name).in_features for name in _INPUTS]
    for place, (name, width) in enumerate(zip(_INPUTS, widths, strict=True)):
        found[f"{name}.weight"] = joined[:, at : at + width]
        found[f"{name}.bias"] = joined[:, sum(widths) + place]
        at += width
    return found
