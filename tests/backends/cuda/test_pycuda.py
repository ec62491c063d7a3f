"""The device by pycuda, over a stand-in of the calls that it makes: pycuda itself imports only where a driver is.

What a stand-in cannot show is that pycuda means by these calls what we think: that is test_device.py's on a GPU.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runtime.backends.cuda import device as seam
from runtime.backends.cuda.device import CudaError
from runtime.backends.protocol import BackendMissing

MODULE = "runtime.backends.cuda.pycuda_driver"


class Driver(ModuleType):
    """Stands in for pycuda.driver: memory is a numpy array a buffer, found by its address."""

    class Error(Exception):
        pass

    def __init__(self, devices: int = 1) -> None:
        super().__init__("pycuda.driver")
        self.devices, self.pushed, self.memories = devices, 0, {}  # type: ignore[var-annotated]

    def init(self) -> None:
        if not self.devices:
            raise self.Error("cuInit failed: no CUDA-capable device is detected")

    @property
    def Device(self) -> Any:
        driver = self

        class Context:
            def push(self) -> None:
                driver.pushed += 1

            def pop(self) -> None:
                driver.pushed -= 1

            def detach(self) -> None:
                pass

        class Device:
            def __init__(self, ordinal: int) -> None: ...
            @staticmethod
            def count() -> int:
                return driver.devices

            def retain_primary_context(self) -> Context:
                return Context()

            def name(self) -> str:
                return "stand-in"

            def compute_capability(self) -> tuple[int, int]:
                return (8, 7)

        return Device

    @staticmethod
    def get_driver_version() -> int:
        return 12060

    class Stream:
        handle = 7

        def __init__(self, flags: int) -> None:
            assert flags == 1, "work of the default stream must not hold it up"

        def is_done(self) -> bool:
            return True

        def synchronize(self) -> None: ...

    def mem_alloc(self, nbytes: int) -> Any:
        if nbytes > 1 << 40:
            raise self.Error("cuMemAlloc failed: out of memory")
        address = 4096 * (len(self.memories) + 1)
        memories = self.memories
        memories[address] = np.zeros(nbytes, np.uint8)

        class Allocation:
            def __int__(self) -> int:
                return address

            def free(self) -> None:
                del memories[address]

        return Allocation()

    @staticmethod
    def pagelocked_empty(shape: int, dtype: type) -> Any:
        return np.zeros(shape, dtype)

    def memcpy_htod_async(self, to: int, source: Any, stream: Any) -> None:
        self.memories[to][: source.nbytes] = source

    def memcpy_dtoh_async(self, to: Any, source: int, stream: Any) -> None:
        to[:] = self.memories[source][: to.nbytes]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    made, package = Driver(), ModuleType("pycuda")
    package.driver = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", made)
    monkeypatch.setattr(seam, "BINDINGS", seam.BINDINGS[1:])
    yield made
    sys.modules.pop(MODULE, None)


def test_what_is_copied_there_and_back_is_the_same(driver: Driver) -> None:
    device = seam.open_device()
    assert device.identity == ("stand-in", (8, 7), "12.6")
    stream, there, back, buffer = (
        device.stream(high_priority=True),
        device.pinned(64),
        device.pinned(64),
        device.alloc(64),
    )
    there[:] = np.arange(64)
    stream.upload(buffer, there)
    stream.download(back, buffer)
    assert stream.is_done()
    assert np.array_equal(there, back)
    device.free(buffer)
    assert not driver.memories
    device.close()
    assert driver.pushed == 0


def test_it_cannot_capture_and_says_so(driver: Driver) -> None:
    with pytest.raises(CudaError, match="capture"):
        seam.open_device().stream(high_priority=False).capture(lambda: None)


def test_the_drivers_own_words_are_told(driver: Driver) -> None:
    with pytest.raises(CudaError, match="out of memory"):
        seam.open_device().alloc(1 << 50)


def test_no_device(driver: Driver) -> None:
    driver.devices = 0
    with pytest.raises(BackendMissing, match="no CUDA-capable device"):
        seam.open_device()


def test_no_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "BINDINGS", (("not_installed", "Device"),))
    with pytest.raises(BackendMissing, match="no CUDA binding"):
        seam.open_device()
    assert importlib.util.find_spec(MODULE) is not None
