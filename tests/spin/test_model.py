"""The model holds, a seeded bug breaks it, and the implementation does what the model does."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from firmware_bridge import machine
from firmware_bridge.machine import Gate
from firmware_bridge.policy import Because, Memory, Verdict
from firmware_bridge.policy_settings import Timing
from kernels.gate import _gate
from kernels.gate.word import GateReader, State, boottime_ns
from kernels.gate.writer import GateWriter, _let_go
from tests.spin.model import BUGS, TICK_MS, constants, simulate, verify

pytestmark = pytest.mark.skipif(shutil.which("spin") is None, reason="apt-get install spin")
TICK_NS = TICK_MS * 1_000_000
TIMING = Timing(dwell_s=0.0, drain_s=0.0)
WANTED = (Because("moving", "", "", None, ""),)


def test_no_step_of_work_is_later_than_the_bound(tmp_path: Path) -> None:
    found = verify(tmp_path)
    assert found.violation == ""
    assert found.states > 50_000


@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_found(tmp_path: Path, bug: str) -> None:
    assert verify(tmp_path, bug).violation != ""


def test_the_constants_are_the_headers() -> None:
    known = constants()
    assert known["LEASE"] * TICK_NS == _gate.LEASE_MAX_NS
    states = {
        "CLOSED_STATE": "CLOSED",
        "WARMING_STATE": "WARMING",
        "IS_OPEN_STATE": "OPEN",
        "DRAINING_STATE": "DRAINING",
    }
    assert {name: known[name] for name in states} == {name: _gate.STATES[own] for name, own in states.items()}


class Real:
    """The gate's machine, the writer of the gate word and the C rule of a token, on the model's clock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._now_ns = boottime_ns()
        self._is_wanted = True
        self._epoch = 0
        self._copy = _gate.Word(bytearray(64), writable=True)
        self._start_bridge()
        self._reader = GateReader(path)

    def _start_bridge(self) -> None:
        self._writer = GateWriter(self._path, clock=lambda: self._now_ns)
        self._gate: Gate = machine.start(self._now_ns)

    def apply(self, event: list[str]) -> None:
        """Does what the model did, and checks that the outcome is the model's."""
        match event:
            case ["tick"]:
                self._now_ns += TICK_NS
            case ["suspend"]:
                self._now_ns += 10_000_000_000
            case ["wanted", is_wanted]:
                self._is_wanted = is_wanted == "1"
            case ["evaluate", state, lease]:
                assert self._evaluate() == (State(int(state)), int(lease) * TICK_NS), event
            case ["start"]:
                self._epoch = self._reader.read().gate_epoch
                assert self._may_go_on()
            case ["poll", is_open]:
                assert self._may_go_on() == (is_open == "1"), event
            case ["bridge", "killed"]:
                _let_go(self._writer._descriptor)
            case ["bridge", "started"]:
                self._start_bridge()
            case ["worker", "gone"]:
                pass
            case _:
                pytest.fail(f"the model tells of {event}, which nobody replays")

    def _evaluate(self) -> tuple[State, int]:
        verdict = Verdict(WANTED if self._is_wanted else (), self._now_ns, Memory())
        self._gate = machine.step(self._gate, verdict, TIMING, self._now_ns)
        reading = self._publish()
        if reading is State.WARMING and self._gate.state is State.OPEN:
            self._gate = machine.stopped(self._gate, self._now_ns)
            reading = self._publish()
        left_ns = self._gate.lease_until_ns - self._now_ns if reading is State.OPEN else 0
        return reading, left_ns

    def _publish(self) -> State:
        state = self._gate.state
        reasons = () if state is State.OPEN else ("moving",)
        return self._writer.publish(state, reasons, self._gate.lease_until_ns if state is State.OPEN else 0).state

    def _may_go_on(self) -> bool:
        """Asks the C rule about a copy of the word whose lease is shifted from the model's clock to the machine's."""
        now = self._reader.read()
        until_ns = now.lease_until_ns and now.lease_until_ns - self._now_ns + boottime_ns()
        self._copy.write(
            state=int(now.state),
            reasons=0,
            gate_epoch=now.gate_epoch,
            lease_until_ns=max(0, until_ns),
            duty_permille=1000,
            max_threads=1,
            power_budget_mW=0,
            boot_id_hash=_gate.boot_id_hash(),
        )
        return bool(_gate.Token(self._copy, self._epoch).is_open())


def test_the_implementation_does_what_the_model_does(tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    for seed in range(1, 9):
        folder = tmp_path / str(seed)
        folder.mkdir()
        real = Real(folder / "gate")
        for event in simulate(folder, seed, 60_000):
            real.apply(event)
            told[" ".join(event[:2])] += 1
    for kind in (
        "poll 1",
        "poll 0",
        "start",
        "suspend",
        "bridge killed",
        "bridge started",
        "worker gone",
        "evaluate 2",
    ):
        assert told[kind] > 5, told
