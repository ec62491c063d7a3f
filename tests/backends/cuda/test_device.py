"""The seam to a CUDA device, over the driver (skipped without a GPU) and over this machine in its place."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.backends.cuda.device import CudaError, Device
from runtime.backends.cuda.host import HostDevice
from tests.gpu import opened


@pytest.fixture(params=["host", "driver"])
def device(request: pytest.FixtureRequest) -> Device:
    return HostDevice() if request.param == "host" else opened()


def test_what_is_copied_there_and_back_is_the_same(device: Device) -> None:
    stream = device.stream(high_priority=True)
    there, back = device.pinned(1 << 20), device.pinned(1 << 20)
    there[:] = np.random.default_rng(0).integers(0, 256, 1 << 20)
    buffer = device.alloc(1 << 20)
    stream.upload(buffer, there)
    stream.download(back, buffer)
    while not stream.is_done():
        pass
    assert np.array_equal(there, back)
    device.free(buffer)
    device.unpin(there)
    device.unpin(back)
    stream.close()


def test_what_was_captured_is_done_each_time_it_is_replayed(device: Device) -> None:
    stream = device.stream(high_priority=False)
    there, back = device.pinned(4096), device.pinned(4096)
    buffer = device.alloc(4096)

    def work() -> None:
        stream.upload(buffer, there)
        stream.download(back, buffer)

    graph = stream.capture(work)
    stream.wait()
    assert not back.any(), "capturing runs nothing"
    for value in (3, 7):
        there[:] = value
        stream.replay(graph)
        stream.wait()
        assert (back == value).all()
    stream.close()


def test_memory_is_given_back(device: Device) -> None:
    before, everything = device.memory()
    buffers = [device.alloc(8 << 20) for _ in range(4)]
    assert device.memory()[0] <= before - (32 << 20)
    for buffer in buffers:
        device.free(buffer)
    assert device.memory()[0] == before <= everything
    with pytest.raises(CudaError):
        device.alloc(1 << 50)


def test_who_it_is_names_what_an_engine_depends_on(device: Device) -> None:
    identity = device.identity
    assert identity.name
    assert len(identity.capability) == 2
    assert identity.driver
