"""The bus asleep: held only when announced and witnessed, bounded, and ended by the first frame."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from firmware_bridge import signals as s
from firmware_bridge.engine import Decision, Engine
from firmware_bridge.policy_settings import Policy, Sleep, Timing
from firmware_bridge.readings import Value
from firmware_bridge.sleep import HELD
from kernels.gate.word import State
from tests.firmware_bridge.parked import MS, PARKED, START, run, tell

POLICY = Policy(timing=Timing(dwell_s=0.2, drain_s=0.1), sleep=Sleep(hold=True, hold_max_s=20.0))
OWN = {name: value for name, value in PARKED.items() if name not in HELD}
WITNESS = {s.OFF_WITNESS: True}
ASLEEP = {**OWN, **WITNESS}


class Night:
    """An engine, and a car that announced its sleep and fell silent a second later."""

    def __init__(self, policy: Policy = POLICY, announced: Mapping[str, Value] | None = None) -> None:
        self.engine = Engine(policy, START)
        self.now_ns = START
        self.play({**PARKED, **WITNESS, s.BUS_ASLEEP: False}, 500)
        said = {s.BUS_ASLEEP: True} if announced is None else announced
        self.play({**PARKED, **WITNESS, **said}, 1000)

    def play(self, values: Mapping[str, Value], for_ms: int, step_ms: int = 20) -> Decision:
        decision = run(self.engine, values, self.now_ns, for_ms, step_ms=step_ms)
        self.now_ns += for_ms * MS
        return decision


def test_held_through_the_night_and_bounded() -> None:
    night = Night()
    decision = night.play(ASLEEP, 15_000, step_ms=100)
    assert decision.state is State.OPEN
    assert decision.lease_until_ns == night.now_ns + 200 * MS  # the witness keeps the lease
    assert night.play(ASLEEP, 5_000, step_ms=100).state is not State.OPEN


@pytest.mark.parametrize("policy", [Policy(timing=POLICY.timing)], ids=["hold = false"])
def test_not_unless_the_policy_says_so(policy: Policy) -> None:
    assert Night(policy).play(ASLEEP, 3000).state is not State.OPEN


def test_not_unless_announced() -> None:
    assert Night(announced={s.BUS_ASLEEP: False}).play(ASLEEP, 3000).state is not State.OPEN
    assert Night(announced={}).play(ASLEEP, 3000).state is not State.OPEN


@pytest.mark.parametrize("witness", [{}, {s.OFF_WITNESS: False}, {s.OFF_WITNESS: None}])
def test_the_witness_must_live(witness: dict[str, Value]) -> None:
    night = Night()
    assert night.play(ASLEEP, 3000).state is State.OPEN
    assert night.play({**OWN, **witness}, 300).state is not State.OPEN
    assert night.play(ASLEEP, 3000).state is not State.OPEN  # it does not come back without another announcement


@pytest.mark.parametrize(
    "frame", [{s.DRIVER_DOOR: False}, {s.DRIVER_DOOR: True}, {s.GEAR: 126.0}, {s.SPEED: None}, {s.CHARGE: 80.0}]
)
def test_the_first_frame_ends_it_at_once(frame: dict[str, Value]) -> None:
    night = Night()
    assert night.play(ASLEEP, 4000).state is State.OPEN
    night.now_ns += 20 * MS
    tell(night.engine, {**ASLEEP, **frame}, night.now_ns)
    assert night.engine.evaluate(night.now_ns).state is State.DRAINING
    assert night.play(ASLEEP, 2000).state is State.CLOSED
    assert night.play({**PARKED, **WITNESS}, 1000).state is State.OPEN  # understood again


def test_what_the_car_said_in_its_last_second_counts() -> None:
    night = Night()
    night.play({**PARKED, **WITNESS, s.DRIVER_DOOR: True}, 200)  # within the grace
    assert night.play(ASLEEP, 3000).state is not State.OPEN


def test_the_owner_and_the_computer_are_never_held() -> None:
    for name in (s.CONSENT, s.COMPUTE_TEMPERATURE):
        night = Night()
        assert night.play(ASLEEP, 3000).state is State.OPEN
        assert night.play({key: value for key, value in ASLEEP.items() if key != name}, 6000).state is not State.OPEN
    assert s.CONSENT not in HELD


def test_awake_again_by_its_own_word() -> None:
    night = Night()
    assert night.play(ASLEEP, 3000).state is State.OPEN
    assert night.play({**ASLEEP, s.BUS_ASLEEP: False}, 100).state is not State.OPEN
