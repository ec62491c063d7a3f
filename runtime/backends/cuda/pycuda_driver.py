"""A CUDA device through pycuda, where NVIDIA's own binding is not installed: without graphs and priorities.

pycuda 2025.1 wraps neither stream capture nor stream priorities. A stream of this device refuses to capture, which
callers take for "queue it each time"; a high priority is the default one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from runtime.backends.cuda.device import Buffer, CudaError, Graph, Identity
from runtime.backends.protocol import BackendMissing

_NO_GPU = "use a machine with a CUDA GPU, or pack the bundle for another backend"
_CU_STREAM_NON_BLOCKING = 1


class PycudaBuffer:
    """Keeps pycuda's allocation, which frees its memory when it is dropped."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.held = _told(cuda.mem_alloc, max(1, nbytes))
        self.address = int(self.held)


class PycudaFunction:
    """Keeps its module."""

    def __init__(self, module: Any, handle: Any) -> None:
        self._module, self.handle = module, handle

    def registers(self) -> int:
        return int(self.handle.num_regs)


class PycudaStream:
    """See the seam."""

    def __init__(self) -> None:
        self._stream = _told(cuda.Stream, _CU_STREAM_NON_BLOCKING)
        self.handle = int(self._stream.handle)

    def upload(self, to: Buffer, source: NDArray[np.uint8]) -> None:
        _told(cuda.memcpy_htod_async, to.address, source, self._stream)

    def download(self, to: NDArray[np.uint8], source: Buffer) -> None:
        _told(cuda.memcpy_dtoh_async, to, source.address, self._stream)

    def launch(
        self, function: Any, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared: int = 0
    ) -> None:
        given = [np.uint64(one.address) if hasattr(one, "address") else one for one in arguments]
        launched = {"grid": tuple(grid), "block": tuple(block), "stream": self._stream, "shared": shared}
        _told(function.handle, *given, **launched)

    def capture(self, work: Callable[[], None]) -> Graph:
        raise CudaError("pycuda cannot capture a stream", next_step="pip install cuda-bindings, for CUDA graphs")

    def replay(self, graph: Graph) -> NoReturn:
        raise AssertionError("nothing was captured")

    def is_done(self) -> bool:
        return bool(_told(self._stream.is_done))

    def wait(self) -> None:
        _told(self._stream.synchronize)

    def close(self) -> None:
        self._stream = None


class PycudaDevice:
    """See the seam. Raises BackendMissing without a driver or a device."""

    def __init__(self, ordinal: int = 0) -> None:
        try:
            cuda.init()
            count = cuda.Device.count()
        except cuda.Error as error:
            raise BackendMissing(f"there is no CUDA driver here: {error}", next_step=_NO_GPU) from error
        if count <= ordinal:
            raise BackendMissing(f"the CUDA driver knows {count} devices", next_step=_NO_GPU)
        device = cuda.Device(ordinal)
        self._context = _told(device.retain_primary_context)
        self._context.push()
        major, minor = device.compute_capability()
        version = cuda.get_driver_version()
        self.identity = Identity(device.name(), (int(major), int(minor)), f"{version // 1000}.{version % 1000 // 10}")

    def use(self) -> None:
        _told(self._context.push)

    def memory(self) -> tuple[int, int]:
        free, everything = _told(cuda.mem_get_info)
        return int(free), int(everything)

    def alloc(self, nbytes: int) -> PycudaBuffer:
        return PycudaBuffer(nbytes)

    def free(self, buffer: Any) -> None:
        _told(buffer.held.free)

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        made: NDArray[np.uint8] = _told(cuda.pagelocked_empty, max(1, nbytes), np.uint8)
        return made[:nbytes]

    def unpin(self, array: NDArray[np.uint8]) -> None:
        """Its memory is unpinned when the last array that looks at it is dropped: pycuda counts them."""

    def stream(self, *, high_priority: bool) -> PycudaStream:
        return PycudaStream()

    def load(self, image: bytes, name: str) -> PycudaFunction:
        module = _told(cuda.module_from_buffer, image)
        return PycudaFunction(module, _told(module.get_function, name))

    def close(self) -> None:
        self._context.pop()
        self._context.detach()


def _told(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Makes a call of pycuda. Raises CudaError with the driver's own words."""
    try:
        return call(*arguments, **named)
    except cuda.Error as error:
        raise CudaError(str(error)) from error
