"""The reader's weights out of a bundle's int8 ONNX, so that its training can go on from them.

    reader.onnx ─► convolutions and biases as floats ─► ReaderNet whose normalisations change nothing

The export folds every normalisation into the convolution before it, so those of the net must stay as they are made
here: train it with frozen statistics.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from models.screen_agent.bundled_weights import OtherRecipe
from models.screen_agent.reader_net import ReaderNet


def bundled_reader(data: bytes) -> ReaderNet:
    """Returns the network of a bundle's `reader.onnx`. Raises OtherRecipe: its layers are not those of ReaderNet."""
    model = onnx.load_from_string(data)
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found = [
        tuple(_dequantised(*(values[part] for part in makers[name].input)) for name in node.input[1:])
        for node in model.graph.node
        if node.op_type == "Conv" and {*node.input[1:]} <= makers.keys()
    ]
    net = ReaderNet()
    blocks = [*net.stem, net.first, net.second]
    layers = [*(block[0] for block in blocks), net.out]
    shapes = [tuple(layer.weight.shape) for layer in layers]
    if [weight.shape for weight, *_ in found] != shapes:
        raise OtherRecipe(f"its convolutions are of {[weight.shape for weight, *_ in found]}, not of {shapes}")
    with torch.no_grad():
        for layer, block, (weight, bias) in zip(layers, [*blocks, None], found, strict=True):
            layer.weight.copy_(torch.from_numpy(weight.copy()))
            target = layer.bias if block is None else _changing_nothing(block[1]).bias
            target.copy_(torch.from_numpy(bias.copy()))
    return net


def _dequantised(value: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any]) -> NDArray[np.float32]:
    shape = (-1, *(1,) * (value.ndim - 1)) if scale.ndim else ()
    made = (value.astype(np.float32) - zero.astype(np.float32).reshape(shape)) * scale.reshape(shape)
    return made.astype(np.float32)


def _changing_nothing(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Returns the normalisation, which in evaluation now adds its bias only."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.weight.fill_(1)
    norm.running_mean.fill_(0)
    norm.running_var.fill_(1 - norm.eps)
    return norm
