"""Free decoding: token after token until a stop token or a limit; the gate may stop it and it can be gone on with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kernels.lm.grammar import Choice
from kernels.lm.model import Gate, Runner, Sampling, Session


@dataclass
class Decoder:
    """Writes up to `limit` tokens after what `session` holds or waits to be fed; a token of `stop` ends it.

    With `among` only those tokens are chosen, greedily, and only their rows of the head are computed: what waits must
    have been fed with its panels.
    `chosen` are the tokens so far, a stop token included. To go on elsewhere, feed the prompt and `chosen` to another
    session and hand `chosen` in: with the same sampling the same tokens follow.
    """

    session: Session
    runner: Runner
    limit: int
    sampling: Sampling = field(default_factory=Sampling)
    stop: frozenset[int] = frozenset()
    chosen: list[int] = field(default_factory=list)
    among: Choice | None = None

    @property
    def done(self) -> bool:
        return len(self.chosen) >= self.limit or bool(self.chosen and self.chosen[-1] in self.stop)

    def step(self, gate: Gate | None = None, *, chunk_budget: int = 0) -> bool:
        """Goes on until done (True) or the gate closes (False: call again). The last token chosen is left waiting."""
        while not self.done:
            if not self.runner.run([self.session], gate, chunk_budget=chunk_budget):
                return False
            self.take()
        return True

    def take(self) -> None:
        """Chooses the next token from the session's logits, after a run that fed all that waited."""
        self.chosen.append(self._choose())
        self.session.feed(self.chosen[-1:], panels=None if self.among is None else self.among.panels)

    def _choose(self) -> int:
        if self.among is None:
            return self.session.sample(self.sampling)
        return self.among.tokens[int(np.argmax(self.session.logits[self.among.columns]))]
