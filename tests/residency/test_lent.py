"""A lent model: nothing outside of a decision, and runs that keep to the gate's duty and give the same bits."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from bench.chains import ROWS, WIDTH, int8_chain
from kernels.gate.word import GateReader, boottime_ns
from runtime.backends.protocol import Limits, Model, StepResult, load_model
from runtime.residency.lent import LentModel
from runtime.residency.pace import WINDOW_NS, Pacer
from tests.backends.made import installed
from tests.daemon.car import HeldGate

WORK_NS = 60_000_000  # of CPU: four windows' share
FEED = {"x": np.random.default_rng(5).standard_normal((ROWS, WIDTH), dtype=np.float32)}


@pytest.fixture(params=["native", "onnxruntime"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    bundle = installed(tmp_path, {"m.onnx": int8_chain(1)}, {"model": {"file": "m.onnx", "backends": [request.param]}})
    return load_model(bundle, Limits())[1]


def test_it_is_nothing_outside_of_a_decision(model: Model) -> None:
    lent = LentModel(model)
    assert (lent.inputs, lent.outputs) == (model.inputs, model.outputs)
    with pytest.raises(ValueError, match="outside of a decision"):
        lent.start(FEED)
    lent.bind(model, Pacer())
    run = lent.start(FEED)
    assert run.step(None) is StepResult.DONE
    assert lent.bytes_read == model.resident_bytes == lent.resident_bytes
    lent.release()
    with pytest.raises(ValueError, match="outside of a decision"):
        lent.start(FEED)


def test_runs_keep_to_the_duty_and_give_the_same_bits(model: Model, tmp_path: Path) -> None:
    """At 15 % of one core: what was used is counted by the kernel, and more is never used, however slow the machine."""
    whole = model.start(FEED)
    whole.step(None)
    gate = HeldGate(tmp_path / "gate")
    gate.allow(duty_permille=150)
    gate.open()
    reader = GateReader(tmp_path / "gate")
    token = reader.token(reader.read().gate_epoch)
    pacer = Pacer(lambda: reader.read().duty_permille)
    lent = LentModel(model)
    lent.bind(model, pacer)
    began_ns, used_ns = boottime_ns(), time.thread_time_ns()
    longest_ns = 0
    while time.thread_time_ns() - used_ns < WORK_NS:
        run_used_ns = time.thread_time_ns()
        run = lent.start(FEED)
        assert run.step(token) is StepResult.DONE
        longest_ns = max(longest_ns, time.thread_time_ns() - run_used_ns)
        assert np.array_equal(run.outputs()["y"], whole.outputs()["y"])
    gate.end()
    used_ns = time.thread_time_ns() - used_ns
    windows = (boottime_ns() - began_ns) // WINDOW_NS + 2
    overrun_ns = 2_000_000 * windows if model.keeps_progress else longest_ns
    assert used_ns <= windows * WINDOW_NS * 150 // 1000 + overrun_ns
    is_starved = used_ns < (boottime_ns() - began_ns) * 150 // 1000  # others left it less than its share
    assert pacer.paused_ns > 0 or is_starved


def test_a_gate_that_closes_while_a_run_waits_stops_it(model: Model, tmp_path: Path) -> None:
    gate = HeldGate(tmp_path / "gate")
    gate.open()
    reader = GateReader(tmp_path / "gate")
    token = reader.token(reader.read().gate_epoch)
    lent = LentModel(model)
    lent.bind(model, Pacer(lambda: 0))  # it would wait for ever
    gate.close()
    assert lent.start(FEED).step(token) is StepResult.PREEMPTED
    gate.end()
