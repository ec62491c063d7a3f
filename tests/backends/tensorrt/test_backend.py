"""The TensorRT backend over a TensorRT of this machine: results, engines kept and rebuilt, memory, graphs, the gate."""

from __future__ import annotations

import gc
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.chains import ROWS, WIDTH, int8_chain
from runtime.backends.cuda.host import HostDevice
from runtime.backends.protocol import BackendMissing, Limits, ModelRefused, StepResult, load_model, make_backend
from runtime.backends.tensorrt.backend import TensorRTBackend, TensorRTModel
from runtime.backends.tensorrt.fake import HostTensorRT
from runtime.store.bundle import Bundle
from tests.backends.made import CountedGate, chain, installed

FEED = {"x": np.random.default_rng(5).standard_normal((ROWS, WIDTH), dtype=np.float32)}


class Gpu:
    """A device and a library in the place of a GPU, over one folder for what is kept."""

    def __init__(self, folder: Path) -> None:
        self.device = HostDevice()
        self.library = HostTensorRT(self.device)
        self.limits = Limits(cache_folder=folder / "cache")

    def load(self, bundle: Bundle, limits: Limits | None = None) -> TensorRTModel:
        backend = TensorRTBackend(library=lambda name: self.library, device=lambda: self.device)
        return backend.load(bundle, limits or self.limits)


@pytest.fixture
def gpu(tmp_path: Path) -> Gpu:
    return Gpu(tmp_path)


def a_bundle(folder: Path, data: bytes, name: str = "net", **options: Any) -> Bundle:
    model = {"file": "m.onnx", "backends": ["tensorrt"], "options": {"tensorrt": options}}
    return installed(folder, {"m.onnx": data}, {"model": model}, name=name)


def result(model: TensorRTModel, feed: dict[str, Any]) -> Any:
    run = model.start(feed)
    assert run.step(None) is StepResult.DONE
    return run.outputs()["y"]


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("tensorrt", "tensorrt_rtx"):
        with pytest.raises(BackendMissing, match=f"backend '{name}' needs the Python package {name}"):
            make_backend(name)
    with pytest.raises(BackendMissing, match="runs on no backend here: tensorrt: "):
        load_model(a_bundle(tmp_path, int8_chain(0)), Limits())


def test_an_engine_is_built_once_and_anew_when_anything_it_depends_on_changes(gpu: Gpu, tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path, int8_chain(0))
    wanted = result(gpu.load(bundle), FEED)
    assert gpu.library.builds == 1
    np.testing.assert_array_equal(result(gpu.load(bundle), FEED), wanted)
    assert gpu.library.builds == 1
    gpu.library.__version__ = "1.1"
    gpu.load(bundle)
    gpu.device.identity = gpu.device.identity._replace(driver="13.1")
    gpu.load(bundle)
    gpu.device.identity = gpu.device.identity._replace(capability=(8, 7))
    gpu.load(bundle)
    gpu.device.identity = gpu.device.identity._replace(name="another")
    gpu.load(bundle)
    gpu.load(a_bundle(tmp_path, int8_chain(0), "half", precision="fp16"))
    gpu.load(a_bundle(tmp_path, int8_chain(1), "other"))
    assert gpu.library.builds == 7


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign"])
def test_an_engine_that_does_not_check_out_is_built_anew(gpu: Gpu, tmp_path: Path, damage: str) -> None:
    bundle = a_bundle(tmp_path, int8_chain(0))
    wanted = result(gpu.load(bundle), FEED)
    (path,) = (tmp_path / "cache").glob("engine-*.plan")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flip":
        content[-1] ^= 1
    elif damage == "empty":
        content.clear()
    else:  # whole, but of a library that this one does not take
        import hashlib

        payload = b"an engine of another make"
        content = bytearray(hashlib.sha256(payload).digest() + payload)
    path.write_bytes(content)
    np.testing.assert_array_equal(result(gpu.load(bundle), FEED), wanted)
    assert gpu.library.builds == 2
    gpu.load(bundle)
    assert gpu.library.builds == 2, "and kept again"
    assert [one.name for one in (tmp_path / "cache").iterdir() if one.name.startswith(".")] == []


def test_a_cache_that_cannot_be_written_is_no_error(gpu: Gpu, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    limits = Limits(cache_folder=tmp_path / "file")
    bundle = a_bundle(tmp_path, int8_chain(0))
    result(gpu.load(bundle, limits), FEED)
    result(gpu.load(bundle, Limits()), FEED)
    assert gpu.library.builds == 2


def test_what_was_timed_is_given_to_the_next_build(gpu: Gpu, tmp_path: Path) -> None:
    gpu.load(a_bundle(tmp_path, int8_chain(0)))
    gpu.load(a_bundle(tmp_path, int8_chain(1), "other"))
    assert gpu.library.times_seen == [b"", b"timed;"]
    gpu.device.identity = gpu.device.identity._replace(name="another")
    gpu.load(a_bundle(tmp_path, int8_chain(2), "third"))
    assert gpu.library.times_seen[-1] == b"", "times are a device's own"


def test_all_memory_of_the_device_is_given_back(gpu: Gpu, tmp_path: Path) -> None:
    before = gpu.device.memory()
    model = gpu.load(a_bundle(tmp_path, chain(3), precision="fp32", n="1:2:8"))
    for rows in range(1, 9):  # more shapes than are kept
        result(model, {"x": np.ones((rows, 64), np.float32)})
    assert model.resident_bytes > 3 * 64 * 64 * 4
    assert len(gpu.device.streams) == 1
    model.close()
    model.close()
    gc.collect()
    assert gpu.device.memory() == before
    assert gpu.device.pins == {}
    assert gpu.device.streams == {}
    with pytest.raises(ValueError, match="closed"):
        model.start({"x": np.ones((1, 64), np.float32)})


def test_open_dimensions_need_a_range_and_keep_to_it(gpu: Gpu, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="its input 'x' has the open dimension 'n'"):
        gpu.load(a_bundle(tmp_path, chain(2)))
    model = gpu.load(a_bundle(tmp_path, chain(2), "ranged", precision="fp32", n="1:2:4"))
    assert result(model, {"x": np.ones((4, 64), np.float32)}).shape == (4, 64)
    with pytest.raises(ModelRefused, match="outside of what the engine was built for"):
        result(model, {"x": np.ones((5, 64), np.float32)})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "int4"}, "options.tensorrt.precision is 'int4', expected int8 or fp16 or fp32"),
        ({"priority": "urgent"}, "expected low or high"),
        ({"graphs": 3}, "expected true or false"),
        ({"width": "3:2:1"}, 'expected "smallest:usual:largest"'),
        ({"width": 7}, 'expected "smallest:usual:largest"'),
        ({"width": "0:1:2"}, 'expected "smallest:usual:largest"'),
    ],
)
def test_wrong_options_are_refused(gpu: Gpu, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelRefused, match=said):
        gpu.load(a_bundle(tmp_path, int8_chain(0), **options))


def test_what_is_no_model_is_refused(gpu: Gpu, tmp_path: Path) -> None:
    for number, data in enumerate((b"not a model", int8_chain(0)[:2000], b"")):
        with pytest.raises(ModelRefused):
            gpu.load(a_bundle(tmp_path, data, f"bad{number}"))
    assert gpu.device.held == {}


def test_a_shape_is_captured_once_and_replayed(gpu: Gpu, tmp_path: Path) -> None:
    for name, options, replays in (("graphs", {}, 3), ("plain", {"graphs": False}, 0)):
        model = gpu.load(a_bundle(tmp_path, int8_chain(0), name, **options))
        (stream,) = gpu.device.streams.values()
        found = [result(model, {"x": FEED["x"] * scale}) for scale in (1.0, 1.0, 0.5, 1.0)]
        assert stream.replays == replays
        np.testing.assert_array_equal(found[0], found[3])
        assert not np.array_equal(found[0], found[2])
        model.close()


def test_the_priority_is_the_streams(gpu: Gpu, tmp_path: Path) -> None:
    gpu.load(a_bundle(tmp_path, int8_chain(0), "low"))
    gpu.load(a_bundle(tmp_path, int8_chain(0), "high", priority="high"))
    assert [stream.high_priority for stream in gpu.device.streams.values()] == [False, True]


def test_a_closed_gate_stops_a_run_within_one_enqueue_and_nothing_is_lost(gpu: Gpu, tmp_path: Path) -> None:
    model = gpu.load(a_bundle(tmp_path, int8_chain(0)))
    wanted = result(model, FEED)
    for looks in (1, 2, 3, 4):
        run = model.start(FEED)
        assert run.step(CountedGate(0).as_token()) is StepResult.PREEMPTED, "nothing was queued"
        steps = 1
        while run.step(CountedGate(looks).as_token()) is StepResult.PREEMPTED:
            steps += 1
        np.testing.assert_array_equal(run.outputs()["y"], wanted)
    other = model.start({"x": FEED["x"] * 2})
    first = model.start(FEED)
    assert first.step(CountedGate(1).as_token()) is StepResult.PREEMPTED
    assert other.step(None) is StepResult.DONE, "it takes the buffers, and first the results out of them"
    assert first.step(None) is StepResult.DONE
    np.testing.assert_array_equal(first.outputs()["y"], wanted)
    dropped = model.start(FEED)
    assert dropped.step(CountedGate(1).as_token()) is StepResult.PREEMPTED
    del dropped
    np.testing.assert_array_equal(result(model, FEED), wanted)


def test_a_device_without_room_says_so(gpu: Gpu, tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path, int8_chain(0))
    with pytest.raises(ModelRefused, match="100000 may be used"):
        gpu.load(bundle, Limits(memory_bytes=100_000))
    gpu.load(bundle).close()
