"""Decoding held to a grammar: at each place only some tokens may follow, and only their rows of the head are computed.

Where a single token may follow, nothing is computed to choose it; a run of such tokens is fed in one batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from kernels.lm.model import PANEL, Gate, Ints, Runner, Sampling, Session


class Grammar(Protocol):
    """A set of token sequences. States are values: they can be kept and compared."""

    def start(self) -> Hashable: ...

    def allowed(self, state: Hashable) -> Sequence[int]:
        """Returns the tokens that may follow, ascending; none when the sequence ends here."""
        ...

    def advance(self, state: Hashable, token: int) -> Hashable: ...


class Trie:
    """The grammar of a finite list of sequences. A sequence that begins another needs its own last token (eos)."""

    def __init__(self, sequences: Iterable[Sequence[int]]) -> None:
        """Raises ValueError when there is no sequence, or one is empty or the beginning of another."""
        self._next: list[dict[int, int]] = [{}]
        ends: set[int] = set()
        for sequence in sequences:
            node = 0
            for token in sequence:
                if token not in self._next[node]:
                    self._next[node][token] = len(self._next)
                    self._next.append({})
                node = self._next[node][token]
            ends.add(node)
        clash = [node for node in ends if self._next[node]]
        if not ends or clash or 0 in ends:
            raise ValueError("a trie needs sequences, none empty and none the beginning of another")

    def start(self) -> int:
        return 0

    def allowed(self, state: Hashable) -> Sequence[int]:
        assert isinstance(state, int)
        return sorted(self._next[state])

    def advance(self, state: Hashable, token: int) -> int:
        assert isinstance(state, int)
        return self._next[state][token]


@dataclass
class Choice:
    """What a place in the grammar needs of the head: its panels, and each allowed token's column in their logits."""

    tokens: list[int]
    panels: Ints
    columns: Ints

    @classmethod
    def of(cls, tokens: Sequence[int]) -> Choice:
        ids = np.array(tokens, np.int32)
        panels, which = np.unique(ids // PANEL, return_inverse=True)
        return cls(list(tokens), panels.astype(np.int32), (which * PANEL + ids % PANEL).astype(np.int32))


NO_PANELS: Ints = np.empty(0, np.int32)


@dataclass
class ConstrainedDecoder:
    """Writes one sequence of `grammar` after what `session` holds or waits to be fed. May be stopped by the gate.

    `chosen` are the tokens so far; `done` when the grammar has no more. With chosen tokens from a checkpoint, feed them
    to the session as part of the prompt and hand their state in.
    """

    session: Session
    runner: Runner
    grammar: Grammar
    sampling: Sampling = field(default_factory=Sampling)
    chosen: list[int] = field(default_factory=list)
    done: bool = False
    _choice: Choice | None = None
    _choices: dict[Hashable, Choice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state: Hashable = self.grammar.start()
        for token in self.chosen:
            self.state = self.grammar.advance(self.state, token)

    def step(self, gate: Gate | None = None, *, chunk_budget: int = 0) -> bool:
        """Goes on until the sequence is whole (True) or the gate closes (False: call again)."""
        while not self.done:
            choice = self._choice or self._next_choice()
            if choice is None:
                break
            if not self.session.waiting:
                raise ValueError("the session has no token waiting: ask it for the prompt and do not run it first")
            self.session.panels = choice.panels
            if not self.runner.run([self.session], gate, chunk_budget=chunk_budget):
                return False
            drawn = self.session.sample(self.sampling, choice.columns)
            self._take(choice.tokens[drawn])
            self._choice = None
        return True

    def _next_choice(self) -> Choice | None:
        """Follows the places with a single token to one where a choice must be computed; None at the end."""
        allowed = self.grammar.allowed(self.state)
        while len(allowed) == 1:
            self._take(allowed[0])
            allowed = self.grammar.allowed(self.state)
        self.done = not allowed
        if allowed:
            known = self._choices.get(self.state)
            self._choice = known or self._choices.setdefault(self.state, Choice.of(allowed))
        return self._choice

    def _take(self, token: int) -> None:
        self.chosen.append(token)
        self.session.feed([token], panels=NO_PANELS)
        self.state = self.grammar.advance(self.state, token)
