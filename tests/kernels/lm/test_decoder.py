"""Free decoding: its ends, and that a gate or a move to another session changes no token."""

from __future__ import annotations

import pytest

from kernels.gate import _gate
from kernels.lm.decoder import Decoder
from kernels.lm.model import LanguageModel, Runner, Sampling

PROMPT = [5, 6, 7, 8]
SAMPLING = Sampling(temperature=1.5, top_k=20, seed=3)


def decoder(
    model: LanguageModel, limit: int = 12, stop: frozenset[int] = frozenset(), chosen: tuple[int, ...] = ()
) -> Decoder:
    session = model.session(64)
    session.ask([*PROMPT, *chosen])
    return Decoder(session, Runner(model), limit, SAMPLING, stop, list(chosen))


def whole(model: LanguageModel) -> list[int]:
    free = decoder(model)
    assert free.step()
    return free.chosen


def test_it_ends_at_the_limit_or_a_stop_token(model: LanguageModel) -> None:
    chosen = whole(model)
    assert len(chosen) == 12
    short = decoder(model, stop=frozenset({chosen[4]}))
    assert short.step()
    assert short.chosen == chosen[: chosen.index(chosen[4]) + 1]
    assert short.step(), "stays done"


@pytest.mark.parametrize("budget", [1, 5])
def test_stops_change_no_token(model: LanguageModel, budget: int) -> None:
    stopped = decoder(model)
    while not stopped.step(chunk_budget=budget):
        pass
    assert stopped.chosen == whole(model)


def test_another_session_goes_on_with_the_same_tokens(model: LanguageModel) -> None:
    chosen = whole(model)
    resumed = decoder(model, chosen=tuple(chosen[:5]))
    assert resumed.step()
    assert resumed.chosen == chosen


class Gate:
    """A gate word of our own that opens and closes."""

    def __init__(self) -> None:
        self.word = _gate.Word(bytearray(64), writable=True)
        self.token = _gate.Token(self.word, 1)

    @property
    def address(self) -> int:
        return self.token.address

    def write(self, state: str, epoch: int = 1) -> None:
        self.word.write(
            max_threads=1,
            state=_gate.STATES[state],
            duty_permille=1000,
            reasons=0,
            gate_epoch=epoch,
            lease_until_ns=_gate.boottime_ns() + 150_000_000,
            boot_id_hash=_gate.boot_id_hash(),
            power_budget_mW=0,
        )


def test_it_runs_while_the_gate_is_open_and_only_then(model: LanguageModel) -> None:
    gate, gated = Gate(), decoder(model)
    gate.write("CLOSED")
    assert not gated.step(gate)
    gate.write("OPEN", epoch=2)
    assert not gated.step(gate), "another epoch than the one it started with"
    gate.write("OPEN")
    while not gated.step(gate):  # a slow machine may let the lease run out
        gate.write("OPEN")
    assert gated.chosen == whole(model)
