"""onnxruntime besides the contract: stopped in the middle of a run, memory given back, files that it does not take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeModel, Watch
from runtime.backends.protocol import Limits, ModelRefused, StepResult
from tests.backends.made import CountedGate, chain, entry, installed

LONG_LAYERS, WIDTH, ROWS = 40, 512, 256


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> OnnxRuntimeModel:
    data = chain(LONG_LAYERS, width=WIDTH, rows=ROWS)
    models = {"model": {"file": "m.onnx", "backends": ["onnxruntime"]}}
    return OnnxRuntimeBackend().load(installed(tmp_path_factory.mktemp("long"), {"m.onnx": data}, models), Limits())


def test_a_gate_that_closes_in_the_middle_stops_the_run_there(long_model: OnnxRuntimeModel) -> None:
    model = long_model
    assert model.stop_bound_us > 5000  # measured at load: long enough to be stopped within
    feed = {"x": np.random.default_rng(1).standard_normal((ROWS, WIDTH), dtype=np.float32)}
    whole = model.start(feed)
    assert whole.step(None) is StepResult.DONE
    gate = CountedGate(
        2
    )  # the caller's look and the watch's first; its second, half a millisecond later, sees it closed
    run = model.start(feed)
    assert run.step(gate.as_token()) is StepResult.PREEMPTED
    assert gate.seen == 3
    assert run.step(CountedGate(None).as_token()) is StepResult.DONE
    assert np.array_equal(run.outputs()["y"], whole.outputs()["y"])


def test_the_watch_ends_with_its_model() -> None:
    import onnxruntime as ort

    watch = Watch()
    watch.close()
    watch = Watch()
    options = ort.RunOptions()
    watch.begin(CountedGate(0).as_token(), options)
    while not options.terminate:
        watch.end()
        watch.begin(CountedGate(0).as_token(), options)
    thread = watch._thread
    watch.close()
    assert thread is not None
    assert not thread.is_alive()


@pytest.mark.parametrize("data", [b"", b"not a model", chain(2)[:-500]])
def test_files_that_are_no_model(tmp_path: Path, data: bytes) -> None:
    bundle = installed(tmp_path, {"m.onnx": data}, {"model": entry("onnxruntime")})
    with pytest.raises(ModelRefused, match="onnxruntime does not take it"):
        OnnxRuntimeBackend().load(bundle, Limits())


@pytest.mark.parametrize(
    "said",
    [
        [{"name": "x", "shape": ["n", 32], "dtype": "float32"}],
        [{"name": "z", "shape": ["n", 64], "dtype": "float32"}],
        [{"name": "x", "shape": ["n", 64], "dtype": "int8"}],
        [{"name": "x", "shape": [64], "dtype": "float32"}],
    ],
)
def test_a_manifest_that_says_other_tensors(tmp_path: Path, said: list[object]) -> None:
    bundle = installed(tmp_path, {"m.onnx": chain(1)}, {"model": entry("onnxruntime") | {"inputs": said}})
    with pytest.raises(ModelRefused, match="its manifest says"):
        OnnxRuntimeBackend().load(bundle, Limits())


MEMORY = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
from runtime.backends.memory import rss_bytes
from runtime.backends.onnxruntime import OnnxRuntimeBackend
from runtime.backends.protocol import Limits
from tests.backends.made import chain, installed

bundle = installed(Path(sys.argv[1]), {"m.onnx": chain(40, width=512)}, {"model": {"file": "m.onnx"}})
feed = {"x": np.ones((64, 512), np.float32)}

def cycle():
    model = OnnxRuntimeBackend().load(bundle, Limits())
    run = model.start(feed)
    run.step(None)
    loaded = rss_bytes()
    del run
    model.close()
    return loaded

cycle()  # what onnxruntime makes once for the process
before = rss_bytes()
peaks = [cycle() for _ in range(4)]
after = rss_bytes()
print(before >> 20, max(peaks) >> 20, after >> 20)
assert max(peaks) - before > 32 << 20, "the model is 40 MiB: nothing was loaded?"
assert after - before < 12 << 20, "memory stays behind"
"""


def test_a_closed_model_gives_its_memory_back(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_above_loads_onnxruntime_before_it_is_needed() -> None:
    code = (
        "import sys; import runtime.backends.protocol, runtime.backends.null, runtime.store.models;"
        "assert 'onnxruntime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
