"""The face of the language-model hall: load a GGUF, keep sessions over it, run steps that the gate can stop.

    LanguageModel.load(path, cache) ── weights, repacked once, and the tokeniser
      └─ Session ── the tokens that lie in a KV cache, and those that wait
           └─ Runner.run([sessions], gate) ── feeds what waits, of one session or of many, and leaves the logits

A run that the gate stops is gone on with by calling run again with the same sessions, and gives the same bits. To go on
elsewhere, `Session.tokens` is the whole checkpoint: a fresh session is asked for them and prefills them again, to the
same bits with an exact variant (`exact_variants`), to the noise of rounding with another.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.common.native import not_built
from kernels.lm.cache import Packed, packed_in_memory, packed_model
from kernels.lm.gguf import GgufError

try:
    from kernels.lm import _lm
except ImportError as error:  # pragma: no cover - only without a build
    raise not_built("kernels.lm._lm", error) from error

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KvType = Literal["f16", "int8"]
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
PANEL = 16
MAX_THREADS = min(_lm.MAX_THREADS, os.cpu_count() or 1)


class Gate(Protocol):
    """What a run may be stopped by: `kernels.gate.word.GateToken`. `address` is a `const ih_gate *`."""

    @property
    def address(self) -> int: ...


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; the defaults are greedy. Order: top-k, top-p, min-p, temperature (as llama.cpp's).

    The draw depends only on the logits, `seed` and the token's position.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        fits = self.temperature >= 0 and self.top_k >= 0 and 0 < self.top_p <= 1 and 0 <= self.min_p <= 1
        if not fits or not 0 <= self.seed < 1 << 64:
            raise ValueError(f"{self}: temperature and top_k are >= 0, top_p in (0, 1], min_p in [0, 1], seed 64 bits")


def variants() -> list[str]:
    """Returns the instruction-set variants that this machine can run, slowest first.

    They give the same bits, but for those with wide kernels: `exact_variants` leaves them out.
    """
    return _lm.variants()


def exact_variants() -> list[str]:
    """Returns the variants that give the same bits as any other, here and elsewhere, however a prompt is cut.

    The others multiply a prompt of sixteen tokens and more in bf16: nearer to exact arithmetic, and several times
    faster. What they give depends on which tokens were fed in runs of sixteen and more, on nothing else.
    """
    return _lm.variants(exact=True)


class LanguageModel:
    """A Llama-family model in memory, shared by any number of sessions. Immutable once loaded."""

    def __init__(self, packed: Packed, variant: str | None = None) -> None:
        self.packed, self.config = packed, packed.config
        self.variant = variant or variants()[-1]
        weights = _lm.Weights(bytes(packed.path), packed.stream_offset, packed.stream_bytes)
        packed.let_go()
        self.native = _lm.Model(weights, packed.config.as_dict(), packed.entries)
        self.batch_limit = self.native.batch_limit(self.variant, wide=True)
        self.panels = -(-packed.config.n_vocab // PANEL)
        self.threads = 1
        """Threads that a new Runner may use, the caller's included."""

    @classmethod
    def load(cls, path: Path, cache: Path, *, sha256: str | None = None, variant: str | None = None) -> LanguageModel:
        """Loads the GGUF at `path`, repacking it into the folder `cache` if that was not done before.

        `sha256`: the file's hash, where it is known and verified; else it is computed once and remembered.
        `variant`: an instruction set of `variants()`; the fastest by default (see `exact_variants`). Raises GgufError,
        MemoryError, OSError.
        """
        return cls(packed_model(path, cache, sha256), variant)

    @classmethod
    def load_in_memory(cls, data: bytes, name: str, *, variant: str | None = None) -> LanguageModel:
        """Loads the GGUF whose bytes are `data` (`name` in errors) and writes nothing to any disk. Raises as `load`."""
        return cls(packed_in_memory(data, name), variant)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokeniser, read from the cache on first use. Raises GgufError when the file carries none."""
        from tokenizers import Tokenizer

        text = self.packed.tokenizer_path.read_text()
        if not text:
            raise GgufError(f"{self.packed.path.name}: the GGUF carries no tokeniser")
        tokenizer: Tokenizer = Tokenizer.from_str(text)
        return tokenizer

    def session(self, capacity: int | None = None, *, kv: KvType = "f16", window: int = 0) -> Session:
        """Returns an empty session that holds up to `capacity` positions (default: the model's context).

        With a `window`, a token sees only so many positions, itself included, and the session never fills up.
        """
        return Session(self, capacity or self.config.context, kv, window)


class Session:
    """One sequence: the tokens in its KV cache, those that wait to be fed, and the logits after the last one."""

    def __init__(self, model: LanguageModel, capacity: int, kv: KvType = "f16", window: int = 0) -> None:
        if kv not in ("f16", "int8"):
            raise ValueError(f"kv is {kv!r}, expected 'f16' or 'int8'")
        positions = window + model.batch_limit + PANEL if window else capacity
        self.model, self.kv, self.window, self.capacity = model, kv, window, capacity
        self.native = _lm.Sequence(model.native, -(-positions // PANEL) * PANEL, kv == "int8", window)
        self.tokens: list[int] = []
        self.waiting: list[int] = []
        self.panels: Ints | None = None
        self.logits: Floats = np.empty(0, np.float32)

    def ask(self, tokens: Sequence[int], *, panels: Ints | None = None) -> int:
        """Makes `tokens` the whole sequence; what the cache already begins with is not computed again.

        Returns how many were reused. `panels` restricts the head, see `feed`. Raises ValueError on an empty sequence.
        """
        same = 0
        for old, new in zip(self.tokens, tokens, strict=False):
            if old != new:
                break
            same += 1
        same = min(same, len(tokens) - 1)  # the last is fed again: its logits are wanted
        if self.window and same < len(self.tokens):
            same = 0  # the ring may have lost what stood before
        if same < 0:
            raise ValueError("a sequence has at least one token")
        del self.tokens[same:]
        self.waiting.clear()
        self.feed(tokens[same:], panels=panels)
        return same

    def feed(self, tokens: Sequence[int], *, panels: Ints | None = None) -> None:
        """Appends tokens to what waits. After the run, `logits` are the vocabulary's, or those of the rows of `panels`.

        An empty `panels` computes no logits at all. Raises ValueError when the session would overflow.
        """
        if not self.window and len(self.tokens) + len(self.waiting) + len(tokens) > self.capacity:
            raise ValueError(f"{len(self.tokens)} + {len(self.waiting) + len(tokens)} tokens exceed {self.capacity}")
        self.waiting.extend(tokens)
        self.panels = panels

    def fork(self) -> Session:
        """Returns a session with the same cache; both go on independently."""
        other = Session(self.model, self.capacity, self.kv, self.window)
        other.native.copy_from(self.native)
        other.tokens, other.waiting, other.panels = list(self.tokens), list(self.waiting), self.panels
        other.logits = self.logits.copy()
        return other

    def sample(self, sampling: Sampling, columns: Ints | None = None) -> int:
        """Draws the next token from `logits`, or an index of `columns` from those of its columns."""
        logits = self.logits if columns is None else self.logits[columns]
        if not len(logits):
            raise ValueError("this session has no logits")
        if not sampling.temperature:
            return _lm.argmax(logits)
        scratch = np.empty(2 * len(logits), np.float32)
        return _lm.sample(
            logits,
            scratch,
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            sampling.min_p,
            sampling.seed,
            len(self.tokens),
        )

    def wipe(self) -> None:
        """Forgets everything and zeroes the cache: nothing of what was read stays in memory."""
        self.native.wipe()
        self.logits.fill(0)
        self.tokens.clear()
        self.waiting.clear()


class Runner:
    """The scratch of one run at a time. Sessions that run at the same time, or are stopped midway, need one each.

    `threads` is how many may work on a run, the caller's included; it may be changed at any time and is not seen in the
    result.
    """

    def __init__(self, model: LanguageModel, max_tokens: int | None = None, variant: str | None = None) -> None:
        self.model = model
        self.variant = variant or model.variant
        self.max_tokens = max_tokens or model.native.batch_limit(self.variant, wide=True)
        self.wide_least = model.native.wide_least(self.variant)
        self.threads = model.threads
        self.step: _lm.Step | None = None
        self.parts: list[tuple[Session, int]] = []
        self.logits: Floats = np.empty((0, 0), np.float32)

    def run(
        self,
        sessions: Sequence[Session],
        gate: Gate | None = None,
        *,
        chunk_budget: int = 0,
        threads: int | None = None,
    ) -> bool:
        """Feeds all that waits in `sessions`; True when done, False when the gate closed (call again to go on).

        `threads` is for this call, instead of `self.threads`. `chunk_budget` > 0 also stops
        after that many chunks of work, and has one thread. The sessions must agree on `panels`. Raises ValueError when
        another run was stopped midway in this runner, or a session belongs to another model.
        """
        address = gate.address if gate is not None else 0
        while self.parts or any(session.waiting for session in sessions):
            if not self.parts:
                self._begin([session for session in sessions if session.waiting])
            elif any(session not in sessions for session, _ in self.parts):
                raise ValueError("a run of other sessions was stopped midway here; finish or abandon it first")
            assert self.step is not None
            if not self.step.run(address, chunk_budget, self.threads if threads is None else threads):
                return False
            self._finish()
        return True

    def abandon(self) -> None:
        """Drops a run that was stopped midway; its sessions stay as they were before it."""
        self.parts = []

    def _begin(self, sessions: Sequence[Session]) -> None:
        parts = self._share_out(sessions)
        last = [session for session, count in parts if count == len(session.waiting)]
        panels = last[0].panels if last else None
        if any(session.panels is not panels for session in last):
            raise ValueError("sessions that run together must have the same head panels")
        tokens = np.array([token for session, count in parts for token in session.waiting[:count]], np.int32)
        positions = [np.arange(len(s.tokens), len(s.tokens) + count, dtype=np.int32) for s, count in parts]
        owners = [session.native for session, count in parts for _ in range(count)]
        ends = np.cumsum([count for _, count in parts], dtype=np.int32) - 1
        wants_logits = [session in last and (panels is None or len(panels) > 0) for session, _ in parts]
        outputs = np.ascontiguousarray(ends[wants_logits], np.int32)
        columns = PANEL * (self.model.panels if panels is None else len(panels))
        if self.logits.shape != (len(outputs), columns):
            self.logits = np.empty((len(outputs), columns), np.float32)
        span = max(owner.capacity for owner in owners)
        if self.step is None or self.step.max_positions < span:
            self.step = _lm.Step(self.model.native, self.variant, self.max_tokens, span, MAX_THREADS)
        self.step.begin(tokens, np.concatenate(positions), owners, outputs, self.logits, panels)
        self.parts = parts

    def _share_out(self, sessions: Sequence[Session]) -> list[tuple[Session, int]]:
        """Returns how many tokens of which sessions make the next step: long prompts first, for the wide kernels."""
        parts: list[tuple[Session, int]] = []
        least, room = self.wide_least, self.max_tokens
        narrow = min(room, self.model.native.batch_limit(self.variant)) if least else room
        for session in sorted(sessions, key=lambda session: len(session.waiting) < least):
            count = min(len(session.waiting), room)
            if count < least or not least:
                count = min(count, narrow)
                narrow -= count
            room -= count
            if count:
                parts.append((session, count))
        return parts

    def _finish(self) -> None:
        row = 0
        for session, count in self.parts:
            session.tokens.extend(session.waiting[:count])
            del session.waiting[:count]
            if not session.waiting and (session.panels is None or len(session.panels)):
                width = self.model.config.n_vocab if session.panels is None else len(self.logits[row])
                session.logits = self.logits[row, :width].copy()
                row += 1
        self.parts = []
