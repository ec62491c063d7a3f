"""Decoding held to a grammar equals decoding with the whole head, masked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kernels.lm.grammar import ConstrainedDecoder, Trie
from kernels.lm.model import LanguageModel, Runner, Sampling
from tests.kernels.lm.synthetic import Synthetic, synthetic_model

PROMPT = [5, 6, 7, 8]
EOS = 49
SEQUENCES = [[1, 2, 3, EOS], [1, 2, 33, 4, EOS], [1, 20, EOS], [17, 18, 19, EOS], [17, 18, 40, EOS], [48, EOS]]


def masked(model: LanguageModel, trie: Trie, sampling: Sampling) -> list[int]:
    """The slow way: the whole head, every time, and only the allowed tokens looked at."""
    session, runner = model.session(64), Runner(model)
    session.ask(PROMPT)
    state, chosen = trie.start(), []
    while allowed := trie.allowed(state):
        runner.run([session])
        token = allowed[session.sample(sampling, np.array(allowed, np.int32))]
        session.feed([token])
        state = trie.advance(state, token)
        chosen.append(token)
    return chosen


def constrained(model: LanguageModel, trie: Trie, sampling: Sampling, budget: int = 0) -> list[int]:
    session = model.session(64)
    session.ask(PROMPT)
    decoder = ConstrainedDecoder(session, Runner(model), trie, sampling)
    while not decoder.step(chunk_budget=budget):
        pass
    return decoder.chosen


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_only_the_allowed_rows_give_the_same_tokens(tmp_path: Path, seed: int, temperature: float) -> None:
    model = LanguageModel.load(synthetic_model(seed=seed).write(tmp_path), tmp_path / "cache")
    sampling, trie = Sampling(temperature=temperature, seed=seed), Trie(SEQUENCES)
    expected = masked(model, trie, sampling)
    assert expected in SEQUENCES
    assert constrained(model, trie, sampling) == expected
    assert constrained(model, trie, sampling, budget=3) == expected


def test_every_sequence_can_come_out(model: LanguageModel) -> None:
    found = {tuple(constrained(model, Trie(SEQUENCES), Sampling(temperature=50.0, seed=seed))) for seed in range(200)}
    assert found == {tuple(sequence) for sequence in SEQUENCES}


def test_a_single_sequence_needs_no_step_at_all(model: LanguageModel) -> None:
    session = model.session(64)
    session.ask(PROMPT)
    decoder = ConstrainedDecoder(session, Runner(model), Trie([[1, 2, 3]]))
    assert decoder.step()
    assert decoder.chosen == [1, 2, 3]
    assert session.tokens == []
    assert session.waiting == [*PROMPT, 1, 2, 3]


def test_it_goes_on_from_chosen_tokens(model: LanguageModel) -> None:
    session = model.session(64)
    session.ask([*PROMPT, 17, 18])
    decoder = ConstrainedDecoder(session, Runner(model), Trie(SEQUENCES), chosen=[17, 18])
    decoder.step()
    assert decoder.chosen in SEQUENCES[3:5]


@dataclass(frozen=True)
class Digits:
    """Up to three tokens of 10..19, then EOS: a grammar that is no list."""

    def start(self) -> int:
        return 0

    def allowed(self, state: object) -> list[int]:
        return [] if state == 9 else [EOS] if state == 3 else [*range(10, 20), EOS] if state else list(range(10, 20))

    def advance(self, state: object, token: int) -> int:
        assert isinstance(state, int)
        return 9 if token == EOS else state + 1


def test_other_grammars_fit(model: LanguageModel, tiny: Synthetic) -> None:
    session = model.session(64)
    session.ask(PROMPT)
    decoder = ConstrainedDecoder(session, Runner(model), Digits(), Sampling(temperature=5.0, seed=2))
    assert decoder.step()
    assert decoder.chosen[-1] == EOS
    assert 1 <= len(decoder.chosen) - 1 <= 3
    assert all(10 <= token < 20 for token in decoder.chosen[:-1])


@pytest.mark.parametrize("sequences", [[], [[]], [[1, 2], [1, 2, 3]]])
def test_bad_tries_are_refused(sequences: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="a trie needs"):
        Trie(sequences)


def test_a_session_that_was_run_already_is_refused(model: LanguageModel) -> None:
    session, runner = model.session(64), Runner(model)
    session.ask(PROMPT)
    runner.run([session])
    with pytest.raises(ValueError, match="no token waiting"):
        ConstrainedDecoder(session, runner, Trie(SEQUENCES)).step()
