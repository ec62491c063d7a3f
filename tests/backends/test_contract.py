"""The contract of runtime/backends/protocol.py, over every backend: a new one is a row of BACKENDS_UNDER_TEST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.backends.protocol import (
    BACKENDS,
    BackendMissing,
    Limits,
    Model,
    ModelRefused,
    StepResult,
    load_model,
    make_backend,
)
from runtime.store.bundle import Bundle
from runtime.store.errors import BundleError
from tests.backends.made import CountedGate, chain, entry, installed

# A run of each looks at the gate more than once; the null backend waits 1 µs a step.
BACKENDS_UNDER_TEST: dict[str, dict[str, Any]] = {
    "null": {"memory_bytes": 5000, "options": {"null": {"latency_us": 20, "steps": 20}}},
    "onnxruntime": {},
    "native": {"memory_bytes": 5000},
}


@pytest.fixture(scope="module", params=BACKENDS_UNDER_TEST)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    models = {"model": entry(request.param, **BACKENDS_UNDER_TEST[request.param])}
    return installed(tmp_path_factory.mktemp(request.param), {"m.onnx": chain(8)}, models)


@pytest.fixture
def model(bundle: Bundle) -> Model:
    return load_model(bundle, Limits())[1]


def a_feed(rows: int = 3, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    return {"x": np.random.default_rng(seed).standard_normal((rows, 64), dtype=np.float32)}


def test_a_run_gives_outputs_of_the_shapes_that_the_model_says(bundle: Bundle, model: Model) -> None:
    assert [(spec.name, spec.shape, spec.dtype) for spec in model.inputs] == [("x", ("n", 64), "float32")]
    for rows in (1, 5):
        run = model.start(a_feed(rows))
        assert run.step(None) is StepResult.DONE
        assert run.step(None) is StepResult.DONE
        outputs = run.outputs()
        assert list(outputs) == [spec.name for spec in model.outputs] == ["y"]
        assert outputs["y"].shape == (rows, 64)
        assert outputs["y"].dtype == np.float32
    assert model.resident_bytes > 0


def test_the_same_inputs_give_the_same_bits_and_others_do_not(model: Model) -> None:
    found = []
    for seed in (0, 0, 1):
        run = model.start(a_feed(seed=seed))
        run.step(None)
        found.append(run.outputs()["y"])
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_closed_gate_stops_a_run_before_it_begins(model: Model) -> None:
    run = model.start(a_feed())
    for _ in range(3):
        assert run.step(CountedGate(0).as_token()) is StepResult.PREEMPTED
    with pytest.raises(ValueError, match="not done"):
        run.outputs()
    assert run.step(CountedGate(None).as_token()) is StepResult.DONE


@pytest.mark.parametrize("looks", [1, 2, 7])
def test_a_run_that_was_preempted_gives_the_same_bits(model: Model, looks: int) -> None:
    whole = model.start(a_feed())
    whole.step(None)
    stopped = model.start(a_feed())
    for _ in range(10_000):
        if stopped.step(CountedGate(looks).as_token()) is StepResult.DONE:
            break
    assert np.array_equal(stopped.outputs()["y"], whole.outputs()["y"])


def test_outputs_are_the_callers(model: Model) -> None:
    first = model.start(a_feed())
    first.step(None)
    kept = first.outputs()["y"]
    copy = kept.copy()
    second = model.start(a_feed(seed=9))
    second.step(None)
    assert np.array_equal(kept, copy)


def test_two_runs_may_be_under_way(model: Model) -> None:
    expected = []
    for seed in (1, 2):
        run = model.start(a_feed(seed=seed))
        run.step(None)
        expected.append(run.outputs()["y"])
    one, two = model.start(a_feed(seed=1)), model.start(a_feed(seed=2))
    assert one.step(CountedGate(0).as_token()) is StepResult.PREEMPTED
    assert two.step(None) is StepResult.DONE
    assert one.step(None) is StepResult.DONE
    assert np.array_equal(one.outputs()["y"], expected[0])
    assert np.array_equal(two.outputs()["y"], expected[1])


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({}, r"expected the inputs \['x'\], got \[\]"),
        ({"x": np.zeros((1, 64), np.float32), "z": np.zeros(1)}, r"got \['x', 'z'\]"),
        ({"x": np.zeros((1, 63), np.float32)}, r"'x' must be float32 \(n, 64\), got float32 \(1, 63\)"),
        ({"x": np.zeros((1, 64), np.float64)}, "got float64"),
        ({"x": np.zeros(64, np.float32)}, r"got float32 \(64,\)"),
    ],
)
def test_wrong_feeds_are_programming_errors(model: Model, feeds: dict[str, NDArray[np.float32]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        model.start(feeds)


def test_a_closed_model_starts_nothing(model: Model) -> None:
    model.close()
    model.close()
    with pytest.raises(ValueError, match="closed"):
        model.start(a_feed())


def test_memory_limits_hold(bundle: Bundle) -> None:
    with pytest.raises(ModelRefused, match=r"needs [0-9]+ bytes, 1000 may be used"):
        load_model(bundle, Limits(memory_bytes=1000))


def test_models_are_found_by_role_and_by_file(bundle: Bundle) -> None:
    assert load_model(bundle, Limits(), "m.onnx")[1].outputs == load_model(bundle, Limits(), "model")[1].outputs
    with pytest.raises(BundleError, match="has no model 'other'; there are: model"):
        load_model(bundle, Limits(), "other")


def test_a_file_that_is_gone_is_told(tmp_path: Path, bundle: Bundle) -> None:
    backend = bundle.manifest.models["model"].backends[0]
    own = installed(tmp_path, {"m.onnx": chain(1)}, {"model": entry(backend)})
    own.path("m.onnx").unlink()
    with pytest.raises(BundleError, match=r"m\.onnx is absent; install it again"):
        load_model(own, Limits())


def test_the_table() -> None:
    assert set(BACKENDS_UNDER_TEST) <= set(BACKENDS)
    for name in BACKENDS_UNDER_TEST:
        assert make_backend(name).name == name
    with pytest.raises(BackendMissing, match="there is no backend 'abacus'; there are: native"):
        make_backend("abacus")


def test_preference_falls_through_to_what_is_there(tmp_path: Path) -> None:
    model = {**entry("null"), "backends": ["abacus", "null", "onnxruntime"]}
    assert load_model(installed(tmp_path, {"m.onnx": b"x"}, {"model": model}), Limits())[0] == "null"


def test_no_backend_at_all_says_each_reason(tmp_path: Path) -> None:
    model = {**entry("null"), "backends": ["abacus", "sliderule"]}
    with pytest.raises(BackendMissing, match=r"abacus: there is no backend 'abacus'.*sliderule: there is no"):
        load_model(installed(tmp_path, {"m.onnx": b"x"}, {"model": model}), Limits())
