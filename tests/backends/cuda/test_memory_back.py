"""A GPU's memory is back after a model is unloaded, and after its worker is killed in the middle of an answer.

Skipped without a GPU; what the backends free is counted on the stand-in in the tests beside this one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.backends.cuda.device import Device
from tests.backends.cuda.test_language import a_bundle
from tests.gpu import opened
from tests.kernels.lm.synthetic import synthetic_model

BALLAST_BYTES = 256 << 20  # beside the model, so that nothing else on the device can hide it
SLACK_BYTES = 8 << 20  # of a driver's own bookkeeping
_WORKER = """
import sys
from pathlib import Path
import numpy as np
from runtime.backends.cuda.backend import CudaBackend
from runtime.backends.protocol import Limits
from runtime.store.models import ModelStore

store = ModelStore(Path(sys.argv[1]) / "store")
model = CudaBackend().load(store.get("net"), Limits(cache_folder=Path(sys.argv[1]) / "cache"))
device = model._device
ballast = device.alloc(int(sys.argv[2]))
print("ready", flush=True)
if sys.stdin.readline() == "unload\\n":
    model.close()
    device.free(ballast)
    print("unloaded", flush=True)
    sys.stdin.readline()
else:
    while True:
        model.start({"tokens": np.array([1, 2, 3], np.int32)}).step(None)
"""


def settled(device: Device, at_least: int) -> int:
    """Returns the free bytes, as soon as they are what is waited for; the driver takes its time after a kill."""
    until = time.monotonic() + 10
    while (free := device.memory()[0]) < at_least and time.monotonic() < until:
        time.sleep(0.05)
    return free


@pytest.mark.parametrize("ending", ["unload", "kill"])
def test_memory_is_back(tmp_path: Path, ending: str) -> None:
    device = opened()
    a_bundle(tmp_path, synthetic_model(layers=4, embd=256, ffn=512).raw, max_tokens=200, context=256)
    before = device.memory()[0]
    command = [sys.executable, "-c", _WORKER, str(tmp_path), str(BALLAST_BYTES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            assert worker.stdout.readline() == "ready\n"
            loaded = device.memory()[0]
            assert loaded <= before - BALLAST_BYTES
            worker.stdin.write("unload\n" if ending == "unload" else "work\n")
            worker.stdin.flush()
            if ending == "unload":
                assert worker.stdout.readline() == "unloaded\n"
                # The process is still there, and so is its context; what it allocated is back.
                assert settled(device, loaded + BALLAST_BYTES) >= loaded + BALLAST_BYTES
            else:
                time.sleep(0.2)
        finally:
            worker.send_signal(signal.SIGKILL)
    assert settled(device, before - SLACK_BYTES) >= before - SLACK_BYTES
