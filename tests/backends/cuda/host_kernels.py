"""The host in a device's place, with our kernels: each launch runs lm.cu as compiled for this machine's processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kernels.cuda.build import SOURCES
from runtime.backends.cuda.device import Device, Function
from runtime.backends.cuda.host import HostDevice, HostStream
from tests.kernels.cuda.machine.compiled import compiled


class HostFunction(NamedTuple):
    source: str
    name: str

    def registers(self) -> int:
        return 0


class KernelStream(HostStream):
    """A stream of the host that runs kernels."""

    def launch(
        self, function: Any, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared: int = 0
    ) -> None:
        held = [
            np.array(argument.address, np.uint64) if hasattr(argument, "address") else np.array(argument)
            for argument in arguments
        ]
        assert tuple(grid[1:]) == tuple(block[1:]) == (1, 1)
        assert shared == 0
        places = [one.ctypes.data for one in held]

        def work(held: object = held) -> None:  # what is queued keeps its arguments
            compiled(function.source).launch(function.name, grid[0], block[0], places)

        self.enqueue(work)


class KernelDevice(HostDevice):
    """A device of the host whose streams run kernels."""

    def stream(self, *, high_priority: bool) -> KernelStream:
        self._handles += 1
        made = self.streams[self._handles] = KernelStream(self, self._handles, high_priority)
        return made


def host_kernels(source: str = "lm.cu") -> Callable[[Device, Path], dict[str, Function]]:
    """Returns what takes the place of building a source's kernels for a device."""
    return lambda device, cache: {name: HostFunction(source, name) for name in SOURCES[source]}
