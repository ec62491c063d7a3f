"""Language models on our CUDA kernels: on this machine's processor in a GPU's place, and on a GPU where there is one.

The kernels' source is the same in both (tests/kernels/cuda/machine compiles it), and so must be every bit of it. What a
stand-in cannot show is what the driver makes of launches, and races; the tests with a GPU are for that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.cuda import build
from kernels.cuda.build import NvccMissing
from runtime.backends.cuda.backend import CudaBackend, CudaLanguageModel, built_kernels
from runtime.backends.cuda.device import CudaError, Device
from runtime.backends.cuda.transfer import take
from runtime.backends.protocol import (
    BackendMissing,
    Limits,
    ModelRefused,
    ModelUnsupported,
    StepResult,
    load_model,
)
from runtime.store.bundle import Bundle
from tests.backends.cuda.host_kernels import KernelDevice, KernelStream, host_kernels
from tests.backends.made import CountedGate, chain, device_of, installed
from tests.gpu import has_gpu, opened
from tests.kernels.cuda.machine.compiled import compiler
from tests.kernels.lm.synthetic import synthetic_model

PROMPT = {"tokens": np.array([3, 1, 4, 1, 5], np.int32)}
OTHER = {"tokens": np.array([7], np.int32)}
# Every kind of matrix, alone and mixed; heads and layers of several widths; a head of its own.
MODELS: dict[str, dict[str, Any]] = {
    "q4_1": {},
    "q8_0": {"kind": "Q8_0"},
    "q4_0": {"kind": "Q4_0", "head_kind": "Q4_1", "tied": False},
    "wide": {"embd": 96, "heads": 2, "kv_heads": 1, "ffn": 2080, "seed": 5},  # beyond 64 blocks a row
}
Load = Callable[..., CudaLanguageModel]


@pytest.fixture(params=["this machine", "gpu"])
def device(request: pytest.FixtureRequest) -> Device:
    if request.param == "gpu":
        return opened()
    if not compiler():
        pytest.skip("there is no C++ compiler for the kernels")
    return KernelDevice()


@pytest.fixture
def load(device: Device, tmp_path: Path) -> Load:
    kernels = host_kernels() if isinstance(device, KernelDevice) else built_kernels

    def loaded(bundle: Bundle, **limits: Any) -> CudaLanguageModel:
        limits.setdefault("cache_folder", tmp_path / "cache")
        return CudaBackend(device=lambda: device, kernels=kernels).load(bundle, Limits(**limits))

    return loaded


def a_bundle(folder: Path, data: bytes, backends: tuple[str, ...] = ("cuda", "native"), **options: int) -> Bundle:
    folder.mkdir(exist_ok=True)
    options = {"max_tokens": 9, "context": 40} | options
    model = {"file": "model.gguf", "backends": list(backends), "options": dict.fromkeys(("cuda", "native"), options)}
    return installed(folder, {"model.gguf": data}, {"model": model}, kind="causal_lm")


def answer(model: Any, feeds: dict[str, NDArray[Any]] = PROMPT) -> list[int]:
    run = model.start(feeds)
    assert run.step(None) is StepResult.DONE
    return [int(token) for token in run.outputs()["tokens"]]


@pytest.mark.parametrize("name", MODELS)
def test_it_says_what_the_native_engine_says(load: Load, tmp_path: Path, name: str) -> None:
    bundle = a_bundle(tmp_path, synthetic_model(**MODELS[name]).raw)
    model, (backend, native) = load(bundle), load_model(bundle, Limits())
    assert backend == ("cuda" if has_gpu() else "native")
    said = [answer(model, feeds) for feeds in (PROMPT, OTHER)]
    assert said == [answer(native, feeds) for feeds in (PROMPT, OTHER)]
    assert said[0] != said[1]


def test_a_gpu_has_the_bits_of_this_machine(tmp_path: Path) -> None:
    """What attention left for the last token: every kernel but the head had its part in it."""
    found = []
    for device, kernels in ((opened(), built_kernels), (KernelDevice(), host_kernels())):
        bundle = a_bundle(tmp_path / type(device).__name__, synthetic_model(layers=3).raw)
        model = CudaBackend(device=lambda device=device: device, kernels=kernels).load(bundle, Limits())  # type: ignore[misc]
        assert model._llama is not None
        room = model.enter([3, 1, 4, 1, 5])
        for number in range(12):
            model.queue(room, chooses=number >= 4)
            model.wait()
        found.append({name: take(device, model._stream, room.buffers[name], np.uint8) for name in room.buffers})
        model.close()
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name], err_msg=name)


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_an_answer_is_the_same_however_often_it_was_preempted(load: Load, tmp_path: Path, looks: int) -> None:
    model = load(a_bundle(tmp_path, synthetic_model().raw))
    whole = answer(model)
    run = model.start(PROMPT)
    assert run.step(CountedGate(0).as_token()) is StepResult.PREEMPTED
    with pytest.raises(ValueError, match="not done"):
        run.outputs()
    stops = 0
    while run.step(CountedGate(looks).as_token()) is StepResult.PREEMPTED:
        stops += 1
    assert stops > 1
    assert run.outputs()["tokens"].tolist() == whole
    assert model.stop_bound_us > 0


def test_answers_under_way_do_not_touch_each_other(load: Load, tmp_path: Path) -> None:
    model = load(a_bundle(tmp_path, synthetic_model().raw))
    expected = answer(model), answer(model, OTHER)
    one, two = model.start(PROMPT), model.start(OTHER)
    results = [StepResult.PREEMPTED] * 2
    while StepResult.PREEMPTED in results:
        results = [run.step(CountedGate(2).as_token()) for run in (one, two)]
    assert (one.outputs()["tokens"].tolist(), two.outputs()["tokens"].tolist()) == expected


def test_a_stop_token_ends_the_answer_and_codes_bound_it(load: Load, tmp_path: Path) -> None:
    data = synthetic_model(kind="Q8_0").raw
    whole = answer(load(a_bundle(tmp_path / "whole", data)))
    stopping = load(a_bundle(tmp_path / "stops", data, stop_token=whole[2]))
    assert answer(stopping) == whole[: whole.index(whole[2]) + 1]
    coded = a_bundle(tmp_path / "codes", data, first_code=19, codes=21)
    said = answer(load(coded))
    assert said == answer(load_model(coded, Limits())[1])
    assert set(said) <= set(range(19, 40))
    assert said != whole


def test_nothing_of_an_answer_stays_and_its_room_is_used_again(load: Load, device: Device, tmp_path: Path) -> None:
    model = load(a_bundle(tmp_path, synthetic_model().raw))
    answer(model)
    held = model.resident_bytes
    dropped = model.start(PROMPT)
    assert dropped.step(CountedGate(2).as_token()) is StepResult.PREEMPTED
    del dropped
    (room,) = model._rooms
    for name, buffer in room.buffers.items():
        assert not take(device, model._stream, buffer, np.uint8).any(), name
    assert not room.told.any()
    assert not room.asked.any()
    assert model.resident_bytes == held


def test_all_of_the_devices_memory_is_given_back(load: Load, device: Device, tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path, synthetic_model().raw)
    load(bundle).close()  # a GPU keeps what a first load brings: its modules
    free = device.memory()[0]
    model = load(bundle)
    under_way = model.start(PROMPT)
    assert under_way.step(CountedGate(2).as_token()) is StepResult.PREEMPTED
    assert device.memory()[0] < free
    model.close()
    model.close()
    assert device.memory()[0] == free
    assert model.resident_bytes == 0
    with pytest.raises(ValueError, match="closed"):
        model.start(PROMPT)
    with pytest.raises(ValueError, match="closed"):
        under_way.step(None)


@pytest.mark.parametrize("at", [1, 2, 9, 22, 23, 24, 30, 35])  # while weights are put there, and a room is made
def test_a_device_that_runs_out_keeps_nothing(tmp_path: Path, at: int) -> None:
    device = KernelDevice()
    calls = 0

    def failing(nbytes: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise CudaError("cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY")
        return KernelDevice.alloc(device, nbytes)

    device.alloc = failing  # type: ignore[method-assign]
    bundle = a_bundle(tmp_path, synthetic_model().raw)
    backend = CudaBackend(device=lambda: device, kernels=host_kernels())
    try:
        model = backend.load(bundle, Limits())
        with pytest.raises(CudaError, match="OUT_OF_MEMORY"):
            model.start(PROMPT).step(None)
        model.close()
    except CudaError:
        pass
    assert calls >= at
    assert (device.held, device.pins, device.streams) == ({}, {}, {})


def test_a_binding_without_graphs_queues_each_launch(tmp_path: Path) -> None:
    class NoGraphs(KernelStream):
        def capture(self, work: Callable[[], None]) -> Any:
            raise CudaError("pycuda cannot capture a stream")

    device = KernelDevice()
    device.stream = lambda *, high_priority: device.streams.setdefault(1, NoGraphs(device, 1, high_priority))  # type: ignore[method-assign,assignment]
    bundle = a_bundle(tmp_path, synthetic_model().raw)
    model = CudaBackend(device=lambda: device, kernels=host_kernels()).load(bundle, Limits())
    assert answer(model) == answer(load_model(bundle, Limits())[1])
    assert device.streams[1].replays == 0


def test_a_preempted_token_is_gone_on_with_after_one_launch(tmp_path: Path) -> None:
    device = KernelDevice()
    bundle = a_bundle(tmp_path, synthetic_model().raw)
    model = CudaBackend(device=lambda: device, kernels=host_kernels()).load(bundle, Limits())
    run = model.start(PROMPT)
    run.step(CountedGate(2).as_token())
    (stream,) = device.streams.values()
    for _ in range(5):
        run.step(CountedGate(0).as_token())
    assert stream.replays == 1, "a closed gate queues nothing more"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (NvccMissing("there is no nvcc here"), "there is no nvcc here"),
        (NvccMissing("nvcc does not take lm.cu for sm_50"), "does not take lm.cu"),
    ],
)
def test_without_a_compiler_the_next_backend_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: NvccMissing, said: str
) -> None:
    def cubin(*arguments: object) -> bytes:
        raise raised

    monkeypatch.setattr("runtime.backends.cuda.backend.cubin", cubin)
    monkeypatch.setattr("runtime.backends.cuda.backend.open_device", KernelDevice)
    with pytest.raises(BackendMissing, match=said):
        built_kernels(KernelDevice(), tmp_path)
    assert load_model(a_bundle(tmp_path, synthetic_model().raw), Limits())[0] == "native"


def test_without_a_gpu_the_next_backend_is_used_and_alone_it_says_why(tmp_path: Path) -> None:
    if has_gpu():
        pytest.skip("there is a GPU here")
    data = synthetic_model().raw
    assert load_model(a_bundle(tmp_path / "both", data), Limits())[0] == "native"
    with pytest.raises(BackendMissing, match=r"runs on no backend here: cuda: .*CUDA"):
        load_model(a_bundle(tmp_path / "alone", data, ("cuda",)), Limits())


@pytest.mark.parametrize("kinds", [{"kind": "F16"}, {"head_kind": "F32"}, {"kind": "Q6_K", "embd": 256, "ffn": 256}])
def test_matrices_that_the_kernels_do_not_take_are_left_to_the_next_backend(
    load: Load, device: Device, tmp_path: Path, kinds: dict[str, Any]
) -> None:
    before = device.memory()[0]
    with pytest.raises(ModelUnsupported, match="the CUDA kernels take Q4_0, Q4_1, Q8_0"):
        load(a_bundle(tmp_path, synthetic_model(**kinds).raw))
    assert device.memory()[0] == before


def test_what_is_no_language_model(load: Load, tmp_path: Path) -> None:
    models = {"model": {"file": "m.onnx", "backends": ["cuda", "native"]}}
    with pytest.raises(ModelUnsupported, match="our CUDA kernels run language models"):
        load(installed(tmp_path, {"m.onnx": chain(1)}, models))
    with pytest.raises(ModelUnsupported, match="model 'model'"):
        load(a_bundle(tmp_path / "bad", b"GGUF but not really"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 0}, r"options\.cuda must be integers like"),
        ({"mood": 1}, r"options\.cuda must be integers like"),
        ({"first_code": -1}, r"options\.cuda must be integers like"),
        ({"first_code": 40, "codes": 11}, "the model has tokens 0 to 49"),
        ({"first_code": 4, "codes": 5, "stop_token": 9}, "the stop token must be one of the codes"),
    ],
)
def test_options_that_are_wrong(load: Load, tmp_path: Path, options: dict[str, int], said: str) -> None:
    with pytest.raises(ModelRefused, match=said):
        load(a_bundle(tmp_path, synthetic_model().raw, **options))


def test_memory_limits_hold(load: Load, tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path, synthetic_model().raw)
    with pytest.raises(ModelRefused, match=r"needs [0-9]+ bytes, 30000 may be used"):
        load(bundle, memory_bytes=30_000)
    full = KernelDevice(most_bytes=30_000)
    with pytest.raises(ModelUnsupported, match=r"needs [0-9]+ bytes of the device, 30000 are free"):
        CudaBackend(device=lambda: full, kernels=host_kernels()).load(bundle, Limits())


def test_encrypted_weights_go_to_the_device_and_to_no_disk(load: Load, tmp_path: Path) -> None:
    data = synthetic_model().raw
    model = {"file": "model.gguf", "backends": ["cuda"], "options": {"cuda": {"max_tokens": 9, "context": 40}}}
    device_key = device_of(tmp_path)
    bundle = installed(tmp_path, {"model.gguf": data}, {"model": model}, kind="causal_lm", devices=[device_key])
    plain = a_bundle(tmp_path / "plain", data)
    assert answer(load(bundle)) == answer(load(plain))
    cache = tmp_path / "cache"
    assert not cache.exists() or all(path.suffix == ".cubin" for path in cache.iterdir())


def test_the_table_of_kernels_is_what_a_token_launches(tmp_path: Path) -> None:
    device, seen = KernelDevice(), set()
    stream = KernelStream(device, 1, False)
    device.streams[1] = stream
    launch = stream.launch
    stream.launch = lambda function, *rest: (seen.add(function.name), launch(function, *rest))  # type: ignore[method-assign,assignment]
    device.stream = lambda *, high_priority: stream  # type: ignore[method-assign,assignment]
    for kinds in (MODELS["q8_0"], MODELS["q4_0"]):
        bundle = a_bundle(tmp_path / str(len(kinds)), synthetic_model(**kinds).raw)
        answer(CudaBackend(device=lambda: device, kernels=host_kernels()).load(bundle, Limits()))
    assert seen == set(build.SOURCES["lm.cu"])
