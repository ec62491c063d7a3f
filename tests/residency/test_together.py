"""What runs at once cost: measured, kept, and used only where it is less and gives the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kernels.gate.word import GateToken
from runtime.backends.null import NullModel, NullRun
from runtime.backends.protocol import Run, StepResult
from runtime.residency.together import COUNTS, Gain, Gains, gain_key, measuring
from runtime.store.manifest import ModelEntry, TensorSpec
from tests.backends.made import CountedGate

ENTRY = ModelEntry(file="none", inputs=(TensorSpec("x", (3,), "float32"),), outputs=(TensorSpec("y", (2,), "float32"),))


def a_gain(*ms: float, is_same: bool = True) -> Gain:
    return Gain("m", COUNTS[: len(ms)], ms, is_same)


def test_costs_lie_on_the_line_between_what_was_measured() -> None:
    gain = a_gain(10, 12, 20, 60)
    assert [gain.times(count) for count in (1, 2, 3, 4, 6, 8, 10)] == pytest.approx([1, 1.2, 1.6, 2, 4, 6, 8])


@pytest.mark.parametrize(
    ("ms", "limit", "best"),
    [
        ((10, 12, 20, 60), 8, 4),  # 0.6, 0.5, 0.75 each
        ((10, 12, 20, 60), 3, 3),
        ((10, 11, 12, 14), 8, 8),
        ((10, 11, 12, 14), 1, 1),
        ((4.23, 8.4, 16.6, 35.1), 8, 1),  # the text recogniser: nothing is won
        ((10, 18.5, 36.5, 73), 8, 1),  # 8 % are not worth waiting for one another
        ((10,), 8, 1),
        ((0, 0, 0, 0), 8, 1),
    ],
)
def test_as_many_go_together_as_cost_least_each(ms: tuple[float, ...], limit: int, best: int) -> None:
    assert a_gain(*ms).best(limit) == best


def test_other_bits_are_never_worth_it() -> None:
    gain = a_gain(10, 11, 12, 14, is_same=False)
    assert gain.best(8) == 1
    assert "never" in gain.told()
    assert "8: 18%" in a_gain(10, 11, 12, 14).told()


class Counted(NullModel):
    """A model whose time is counted, not waited for. `differs`: runs together give other outputs."""

    def __init__(self, together: int, differs: bool = False) -> None:
        super().__init__(ENTRY, lambda seconds: None, 100, 1, True, together)
        self.asked: list[int] = []
        self._differs = differs

    def step_together(self, runs: Sequence[Run], gate: GateToken | None) -> list[StepResult]:
        self.asked.append(len(runs))
        if self._differs:
            for run in runs:
                assert isinstance(run, NullRun)
                run._seed += 1
        return super().step_together(runs, gate)


def last_of(model: NullModel, gate: GateToken | None = None) -> Gain | None:
    found = list(measuring(model, "m", gate))
    assert all(one is None for one in found[:-1])
    return found[-1] if found else None


def test_every_count_that_the_model_takes_is_measured() -> None:
    model = Counted(4)
    gain = last_of(model)
    assert gain is not None
    assert (gain.counts, gain.is_same) == ((1, 2, 4), True)
    assert all(ms > 0 for ms in gain.ms)
    assert set(model.asked) == {2, 4}


def test_other_outputs_are_found_out() -> None:
    gain = last_of(Counted(2, differs=True))
    assert gain is not None
    assert not gain.is_same


def test_a_gate_that_closes_ends_it_without_a_result() -> None:
    for looks in range(12):
        assert last_of(Counted(8), CountedGate(looks).as_token()) is None


def test_what_was_measured_is_kept_for_the_next_worker(tmp_path: Path) -> None:
    path, key = tmp_path / "cache" / "together.json", gain_key("5e", "model", "native", 1)
    gains = Gains(path)
    assert gains.get(key) is None
    gains.put(key, a_gain(3, 4))
    other = Gains(path)
    assert other.get(key) == a_gain(3, 4)
    other.put(gain_key("ab", "model", "native", 1), a_gain(5, 6))
    gains.put(gain_key("cd", "model", "native", 1), a_gain(7, 8))
    assert len(Gains(path).all()) == 3, "who writes keeps what another has written"
    path.write_bytes(b"no JSON")
    assert Gains(path).all() == []
    assert np.isfinite(a_gain(3, 4).times(5))
