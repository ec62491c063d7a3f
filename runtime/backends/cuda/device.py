"""The seam to a CUDA device: memory, pinned memory, streams with priorities, graphs. Everything is asynchronous.

    pinned array ──upload──► device memory ──(engine or kernel)──► device memory ──download──► pinned array
                    └────────────── one stream, in order; captured once, launched as a graph ──────────┘

`driver.py` is the CUDA driver by NVIDIA's own binding, `pycuda_driver.py` by pycuda (no graphs, no priorities),
`host.py` this machine's memory and processor in their place.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.backends.protocol import BackendError, BackendMissing

# Module, class; the first one can all that the seam asks for.
BINDINGS = (("driver", "DriverDevice"), ("pycuda_driver", "PycudaDevice"))


class CudaError(BackendError):
    """The CUDA driver refused a call, or a kernel failed on the device."""

    next_step = "see dmesg for the driver's own words; the worker is started anew with the next job"


class Identity(NamedTuple):
    """What an engine was built for. `driver` is the CUDA version that the driver offers."""

    name: str
    capability: tuple[int, int]
    driver: str


class Buffer(Protocol):
    """Memory of the device."""

    @property
    def address(self) -> int: ...

    @property
    def nbytes(self) -> int: ...


class Function(Protocol):
    """A kernel of a module."""

    def registers(self) -> int:
        """Returns the registers that a thread uses."""


class Graph(Protocol):
    """Work of a stream that was captured."""


class Stream(Protocol):
    """A queue of work. What is queued runs in order; `is_done` and `wait` tell when all of it has."""

    handle: int

    def upload(self, to: Buffer, source: NDArray[np.uint8]) -> None:
        """Queues a copy; `source` is pinned and must not change until it is done."""

    def download(self, to: NDArray[np.uint8], source: Buffer) -> None:
        """Queues a copy back; `to` is pinned."""

    def launch(
        self, function: Function, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared: int = 0
    ) -> None:
        """Queues a kernel. Arguments are numpy scalars, or buffers."""

    def capture(self, work: Callable[[], None]) -> Graph:
        """Records what `work` queues on this stream, without running it. Raises CudaError if it cannot be captured."""

    def replay(self, graph: Graph) -> None:
        """Queues what was captured, as one launch."""

    def is_done(self) -> bool: ...

    def wait(self) -> None: ...

    def close(self) -> None: ...


class Device(Protocol):
    """One device, made current for the thread that opened it and, by `use`, for others."""

    identity: Identity

    def use(self) -> None:
        """Makes the device current for the calling thread."""

    def memory(self) -> tuple[int, int]:
        """Returns (free, all) bytes."""

    def alloc(self, nbytes: int) -> Buffer:
        """Returns device memory. Raises CudaError when there is none."""

    def free(self, buffer: Buffer) -> None: ...

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        """Returns host memory that the device copies from and to without the processor."""

    def unpin(self, array: NDArray[np.uint8]) -> None: ...

    def stream(self, *, high_priority: bool) -> Stream: ...

    def load(self, image: bytes, name: str) -> Function:
        """Returns the kernel `name` of a compiled module (cubin or PTX)."""

    def close(self) -> None: ...


def open_device() -> Device:
    """Returns the first CUDA device, by the first binding that is installed.

    Raises BackendMissing: no binding, no driver, or no device, and which.
    """
    for module, name in BINDINGS:
        try:
            opened: Device = getattr(importlib.import_module(f"runtime.backends.cuda.{module}"), name)()
        except ImportError:
            continue
        return opened
    raise BackendMissing(
        "no CUDA binding is installed", next_step="pip install 'idlehands[gpu]' on a machine with a CUDA GPU"
    )
