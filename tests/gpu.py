"""Whether a CUDA GPU is here, for tests that need one; they are skipped elsewhere, and say why."""

from __future__ import annotations

import functools

import pytest

from runtime.backends.cuda.device import Device, open_device
from runtime.backends.protocol import BackendMissing


@functools.cache
def missing() -> str:
    """Returns why there is no GPU to test on, "" if there is one."""
    try:
        open_device().close()
    except BackendMissing as error:
        return error.message
    return ""


def has_gpu() -> bool:
    return not missing()


def opened() -> Device:
    """Returns the device, or skips the test and says why."""
    if missing():
        pytest.skip(f"no GPU: {missing()}")
    return open_device()
