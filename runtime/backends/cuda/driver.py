"""A CUDA device by its driver, through NVIDIA's binding; in its primary context, which TensorRT and kernels share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from cuda.bindings import driver as cuda
from numpy.typing import NDArray

from runtime.backends.cuda.device import Buffer, CudaError, Graph, Identity
from runtime.backends.protocol import BackendMissing

_NO_GPU = "use a machine with a CUDA GPU, or pack the bundle for another backend"


def _ask(call: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """Makes a driver call; returns what it gave. Raises CudaError by the driver's own name for what went wrong."""
    status, *given = call(*arguments)
    if status != cuda.CUresult.CUDA_SUCCESS:
        _, said = cuda.cuGetErrorString(status)
        raise CudaError(f"{call.__name__}: {status.name}: {said.decode() if said else 'no more is known'}")
    return given[0] if len(given) == 1 else tuple(given)


class DriverBuffer(NamedTuple):
    address: int
    nbytes: int


class DriverFunction:
    """Keeps its module."""

    def __init__(self, module: Any, handle: Any) -> None:
        self._module, self.handle = module, handle

    def registers(self) -> int:
        return int(_ask(cuda.cuFuncGetAttribute, cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_NUM_REGS, self.handle))


class DriverStream:
    """See the seam."""

    def __init__(self, priority: int) -> None:
        self._stream = _ask(cuda.cuStreamCreateWithPriority, cuda.CUstream_flags.CU_STREAM_NON_BLOCKING, priority)
        self.handle = int(self._stream)

    def upload(self, to: Buffer, source: NDArray[np.uint8]) -> None:
        _ask(cuda.cuMemcpyHtoDAsync, to.address, source.ctypes.data, source.nbytes, self._stream)

    def download(self, to: NDArray[np.uint8], source: Buffer) -> None:
        _ask(cuda.cuMemcpyDtoHAsync, to.ctypes.data, source.address, to.nbytes, self._stream)

    def launch(
        self, function: Any, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared: int = 0
    ) -> None:
        held = [
            np.array(argument.address, np.uint64) if hasattr(argument, "address") else np.array(argument)
            for argument in arguments
        ]
        places = np.array([one.ctypes.data for one in held], np.uint64)
        _ask(cuda.cuLaunchKernel, function.handle, *grid, *block, shared, self._stream, places.ctypes.data, 0)

    def capture(self, work: Callable[[], None]) -> Graph:
        mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _ask(cuda.cuStreamBeginCapture, self._stream, mode)
        try:
            work()
        finally:
            graph = _ask(cuda.cuStreamEndCapture, self._stream)
        made: Graph = _ask(cuda.cuGraphInstantiate, graph, 0)
        _ask(cuda.cuGraphDestroy, graph)
        return made

    def replay(self, graph: Graph) -> None:
        _ask(cuda.cuGraphLaunch, graph, self._stream)

    def is_done(self) -> bool:
        (status,) = cuda.cuStreamQuery(self._stream)
        if status not in (cuda.CUresult.CUDA_SUCCESS, cuda.CUresult.CUDA_ERROR_NOT_READY):
            raise CudaError(f"the device failed: {status.name}")
        return bool(status == cuda.CUresult.CUDA_SUCCESS)

    def wait(self) -> None:
        _ask(cuda.cuStreamSynchronize, self._stream)

    def close(self) -> None:
        _ask(cuda.cuStreamDestroy, self._stream)


class DriverDevice:
    """See the seam. Raises BackendMissing without a driver or a device."""

    def __init__(self, ordinal: int = 0) -> None:
        try:
            _ask(cuda.cuInit, 0)
            count = _ask(cuda.cuDeviceGetCount)
        except (CudaError, RuntimeError, OSError) as error:
            raise BackendMissing(f"there is no CUDA driver here: {error}", next_step=_NO_GPU) from error
        if count <= ordinal:
            raise BackendMissing(f"the CUDA driver knows {count} devices", next_step=_NO_GPU)
        self._device = _ask(cuda.cuDeviceGet, ordinal)
        self._context = _ask(cuda.cuDevicePrimaryCtxRetain, self._device)
        self.use()
        name = _ask(cuda.cuDeviceGetName, 128, self._device).split(b"\0")[0].decode()
        wanted = cuda.CUdevice_attribute
        major, minor = (
            _ask(cuda.cuDeviceGetAttribute, attribute, self._device)
            for attribute in (
                wanted.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                wanted.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        version = _ask(cuda.cuDriverGetVersion)
        self.identity = Identity(name, (int(major), int(minor)), f"{version // 1000}.{version % 1000 // 10}")

    def use(self) -> None:
        _ask(cuda.cuCtxSetCurrent, self._context)

    def memory(self) -> tuple[int, int]:
        free, everything = _ask(cuda.cuMemGetInfo)
        return int(free), int(everything)

    def alloc(self, nbytes: int) -> DriverBuffer:
        return DriverBuffer(int(_ask(cuda.cuMemAlloc, max(1, nbytes))), nbytes)

    def free(self, buffer: Buffer) -> None:
        _ask(cuda.cuMemFree, buffer.address)

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        address = int(_ask(cuda.cuMemHostAlloc, max(1, nbytes), 0))
        return np.ctypeslib.as_array((ctypes.c_uint8 * max(1, nbytes)).from_address(address))[:nbytes]

    def unpin(self, array: NDArray[np.uint8]) -> None:
        _ask(cuda.cuMemFreeHost, array.ctypes.data)

    def stream(self, *, high_priority: bool) -> DriverStream:
        least, greatest = _ask(cuda.cuCtxGetStreamPriorityRange)
        return DriverStream(int(greatest if high_priority else least))

    def load(self, image: bytes, name: str) -> DriverFunction:
        text = np.frombuffer(image + b"\0", np.uint8)  # PTX ends with a zero, and a cubin does not mind
        module = _ask(cuda.cuModuleLoadData, text.ctypes.data)
        return DriverFunction(module, _ask(cuda.cuModuleGetFunction, module, name.encode()))

    def close(self) -> None:
        _ask(cuda.cuDevicePrimaryCtxRelease, self._device)
