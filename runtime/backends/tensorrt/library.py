"""What is used of TensorRT's API, as types, so that `fake.py` can stand in its place, and where to get it.

`tensorrt` and `tensorrt_rtx` are two packages of one API. They differ in when kernels are made: TensorRT times and
chooses them while it builds (a *timing cache* remembers the times), TensorRT for RTX builds ahead of time and makes
kernels at the first run (a *runtime cache* remembers them). Either is kept beside the engines.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any, Protocol, cast

from runtime.backends.protocol import BackendMissing

log = logging.getLogger("idlehands.tensorrt")
PACKAGES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx"}


class Context(Protocol):
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def get_tensor_shape(self, name: str) -> tuple[int, ...]: ...
    def set_tensor_address(self, name: str, address: int) -> bool: ...
    def execute_async_v3(self, stream: int) -> bool: ...


class Engine(Protocol):
    num_io_tensors: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> Any: ...
    def get_tensor_dtype(self, name: str) -> Any: ...
    def get_tensor_shape(self, name: str) -> tuple[int, ...]: ...
    def create_execution_context(self) -> Context | None: ...


class Library(Protocol):
    """A module `tensorrt` or `tensorrt_rtx`; what it has is looked up as it is used."""

    __version__: str
    ILogger: Any
    Builder: Any
    OnnxParser: Any
    Runtime: Any
    TensorIOMode: Any


def load_library(name: str) -> Library:
    """Returns the package. Raises BackendMissing: not installed, or it does not load."""
    package = PACKAGES[name]
    try:
        return cast(Library, importlib.import_module(package))
    except ImportError as error:
        pip = "tensorrt-rtx" if name == "tensorrt_rtx" else "tensorrt"
        raise BackendMissing(
            f"backend '{name}' needs the Python package {package}: {error}",
            next_step=f"pip install {pip}, or on a Jetson use JetPack's python3-libnvinfer",
        ) from error


def make_logger(library: Library) -> Any:
    """Returns a logger that says what TensorRT says in our log, one level lower: it warns of much that is right."""

    def said(_: Any, severity: Any, text: str) -> None:
        log.log(_LEVELS.get(getattr(severity, "name", ""), logging.DEBUG), "%s", text)

    return type("Logger", (library.ILogger,), {"log": said})()


_LEVELS = {"INTERNAL_ERROR": logging.ERROR, "ERROR": logging.WARNING, "WARNING": logging.INFO}
