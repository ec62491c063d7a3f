"""Free decoding: token after token until a stop token or a limit; the gate may stop it and it can be gone on with."""

from __future__ import annotations

from dataclasses import dataclass, field

from kernels.lm.model import Gate, Runner, Sampling, Session


@dataclass
class Decoder:
    """Writes up to `limit` tokens after what `session` holds or waits to be fed; a token of `stop` ends it.

    `chosen` are the tokens so far, a stop token included. To go on elsewhere, feed the prompt and `chosen` to another
    session and hand `chosen` in: with the same sampling the same tokens follow.
    """

    session: Session
    runner: Runner
    limit: int
    sampling: Sampling = field(default_factory=Sampling)
    stop: frozenset[int] = frozenset()
    chosen: list[int] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.chosen) >= self.limit or bool(self.chosen and self.chosen[-1] in self.stop)

    def step(self, gate: Gate | None = None, *, chunk_budget: int = 0) -> bool:
        """Goes on until done (True) or the gate closes (False: call again). The last token chosen is left waiting."""
        while not self.done:
            if not self.runner.run([self.session], gate, chunk_budget=chunk_budget):
                return False
            self.chosen.append(self.session.sample(self.sampling))
            self.session.feed(self.chosen[-1:])
        return True
