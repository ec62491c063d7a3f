"""Arrays to a device and back, through pinned memory, whole before they return."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda.device import Buffer, Device, Stream


def put(device: Device, stream: Stream, array: NDArray[Any]) -> Buffer:
    """Returns a copy on the device. Raises CudaError, and keeps nothing then."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    buffer = device.alloc(flat.nbytes)
    try:
        pinned = device.pinned(flat.nbytes)
        try:
            pinned[:] = flat
            stream.upload(buffer, pinned)
            stream.wait()
        finally:
            device.unpin(pinned)
    except BaseException:
        device.free(buffer)
        raise
    return buffer


def take(device: Device, stream: Stream, buffer: Buffer, dtype: type[np.generic]) -> NDArray[Any]:
    """Returns what a buffer of the device holds. Raises CudaError."""
    pinned = device.pinned(buffer.nbytes)
    try:
        stream.download(pinned, buffer)
        stream.wait()
        found: NDArray[Any] = pinned.copy().view(dtype)
    finally:
        device.unpin(pinned)
    return found
