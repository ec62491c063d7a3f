"""A device that is this machine: its memory is memory, its streams work when they are looked at. For tests, and to run
what stands on the seam where there is no GPU.

Work is queued and done in order by `is_done` (one piece a look) and `wait` (all), so that a caller sees work that is
not done yet. What is never freed, and what is freed twice, is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda.device import Buffer, CudaError, Function, Graph, Identity

ALL_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class HostBuffer:
    array: NDArray[np.uint8]

    @property
    def address(self) -> int:
        return int(self.array.ctypes.data)

    @property
    def nbytes(self) -> int:
        return self.array.nbytes


@dataclass(eq=False)
class HostGraph:
    work: list[Callable[[], None]]


class HostStream:
    """See the seam. `device.streams` finds it by its handle, as TensorRT finds a stream by its."""

    def __init__(self, device: HostDevice, handle: int, high_priority: bool) -> None:
        self.handle, self.high_priority = handle, high_priority
        self._device = device
        self._queue: deque[Callable[[], None]] = deque()
        self._captured: list[Callable[[], None]] | None = None
        self.replays = 0

    def enqueue(self, work: Callable[[], None]) -> None:
        (self._queue if self._captured is None else self._captured).append(work)

    def upload(self, to: Buffer, source: NDArray[np.uint8]) -> None:
        self.enqueue(lambda: self._device.at(to.address, source.nbytes).__setitem__(slice(None), source))

    def download(self, to: NDArray[np.uint8], source: Buffer) -> None:
        self.enqueue(lambda: to.__setitem__(slice(None), self._device.at(source.address, to.nbytes)))

    def launch(
        self, function: Function, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared: int = 0
    ) -> None:
        raise CudaError("this machine in the place of a GPU runs no kernels")

    def capture(self, work: Callable[[], None]) -> Graph:
        self._captured = []
        try:
            work()
            return HostGraph(self._captured)
        finally:
            self._captured = None

    def replay(self, graph: Graph) -> None:
        assert isinstance(graph, HostGraph)
        self.replays += 1
        self._queue.extend(graph.work)

    def is_done(self) -> bool:
        if self._queue:
            self._queue.popleft()()
        return not self._queue

    def wait(self) -> None:
        while self._queue:
            self._queue.popleft()()

    def close(self) -> None:
        self._device.streams.pop(self.handle)


@dataclass
class HostDevice:
    """See the seam and the module. `held` is what was not freed."""

    identity: Identity = field(default_factory=lambda: Identity("this machine", (0, 0), "none"))
    held: dict[int, HostBuffer] = field(default_factory=dict)
    pins: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    streams: dict[int, HostStream] = field(default_factory=dict)
    most_bytes: int = ALL_BYTES
    _handles: int = 0

    def use(self) -> None:
        """Every thread may."""

    def memory(self) -> tuple[int, int]:
        return self.most_bytes - sum(buffer.nbytes for buffer in self.held.values()), self.most_bytes

    def alloc(self, nbytes: int) -> HostBuffer:
        if nbytes > self.memory()[0]:
            raise CudaError(f"{nbytes} bytes are asked for, {self.memory()[0]} are free")
        made = HostBuffer(np.zeros(max(1, nbytes), np.uint8)[:nbytes])
        self.held[made.address] = made
        return made

    def free(self, buffer: Buffer) -> None:
        if self.held.pop(buffer.address, None) is None:
            raise CudaError(f"memory at {buffer.address:#x} is freed twice")

    def at(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """Returns the memory that begins at `address`."""
        return self.held[address].array[:nbytes]

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        made = np.zeros(max(1, nbytes), np.uint8)[:nbytes]
        self.pins[made.ctypes.data] = made
        return made

    def unpin(self, array: NDArray[np.uint8]) -> None:
        if self.pins.pop(array.ctypes.data, None) is None:
            raise CudaError("pinned memory is given back twice")

    def stream(self, *, high_priority: bool) -> HostStream:
        self._handles += 1
        made = self.streams[self._handles] = HostStream(self, self._handles, high_priority)
        return made

    def load(self, image: bytes, name: str) -> Function:
        raise CudaError("this machine in the place of a GPU loads no kernels")

    def close(self) -> None:
        """Nothing: what is held still shows."""
