"""What can be wrong with a model, on the way from its bytes to a run.

KernelError
└── GraphError
    ├── MalformedModelError     the bytes are not a well-formed ONNX model
    ├── UnsupportedModelError   well-formed, but with an op, type or form that this engine lacks
    └── FeedError               a run was fed the wrong names, shapes or types
"""

from __future__ import annotations

from typing import ClassVar

from kernels.errors import KernelError


class GraphError(KernelError):
    """The int8 graph engine refused a model or its inputs."""


class MalformedModelError(GraphError):
    """The bytes are not a well-formed ONNX model: cut short, altered, cyclic, or of impossible shapes."""

    next_step: ClassVar[str] = "install the model again, or check it with `onnx.checker.check_model`"


class UnsupportedModelError(GraphError):
    """The model uses an op, an attribute, a type or a size that the native engine does not have."""

    next_step: ClassVar[str] = "let the bundle's next backend run it (backends = [..., 'onnxruntime'])"


class FeedError(GraphError):
    """A run was started with the wrong inputs."""

    next_step: ClassVar[str] = "feed every input once, with the name, type and shape in `GraphModel.inputs`"
