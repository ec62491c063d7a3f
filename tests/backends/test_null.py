"""The null backend besides the contract: its settings and its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.backends.null import NullBackend
from runtime.backends.protocol import Limits, ModelRefused, StepResult
from tests.backends.made import CountedGate, entry, installed

FEED = {"x": np.ones((2, 64), np.float32)}


def test_it_takes_its_time_in_steps(tmp_path: Path) -> None:
    slept: list[float] = []
    options = {"null": {"latency_us": 1000, "steps": 4}}
    bundle = installed(tmp_path, {"m.onnx": b"x"}, {"model": entry("null", options=options)})
    model = NullBackend(slept.append).load(bundle, Limits())
    assert model.stop_bound_us == 250
    run = model.start(FEED)
    assert run.step(CountedGate(3).as_token()) is StepResult.PREEMPTED
    assert slept == [0.00025] * 3
    assert run.step(None) is StepResult.DONE
    assert slept == [0.00025] * 4


def test_outputs_of_every_kind(tmp_path: Path) -> None:
    outputs = [{"name": dtype, "shape": ["n", 2], "dtype": dtype} for dtype in ("uint8", "int64", "float16", "bool")]
    for kind in ("noise", "zeros"):
        model = entry("null", options={"null": {"outputs": kind}}) | {"outputs": outputs}
        bundle = installed(tmp_path, {"m.onnx": b"x"}, {"model": model}, name=kind)
        run = NullBackend().load(bundle, Limits()).start(FEED)
        run.step(None)
        for name, array in run.outputs().items():
            assert (array.dtype.name, array.shape) == (name, (2, 2))
            assert kind == "noise" or not array.any()


@pytest.mark.parametrize(
    "options", [{"latency_us": -1}, {"steps": 0}, {"speed": 9}, {"outputs": "magic"}, {"steps": "2"}]
)
def test_settings_that_are_wrong(tmp_path: Path, options: dict[str, Any]) -> None:
    bundle = installed(tmp_path, {"m.onnx": b"x"}, {"model": entry("null", options={"null": options})})
    with pytest.raises(ModelRefused, match=r"options\.null must be like"):
        NullBackend().load(bundle, Limits())
