"""Language models on our own kernels (kernels/lm), behind the seam of backends; language.py has their options.

What ends in .gguf is loaded here by the backend `native`. A run that was preempted goes on within the token it stood
in. When it is done or dropped, its KV cache is wiped. Runs that are stepped together read the weights once a token.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError
from kernels.gate.word import POLL_NS, GateToken
from kernels.lm.decoder import Decoder
from kernels.lm.grammar import Choice
from kernels.lm.model import LanguageModel, Runner
from runtime.backends.language import INPUTS, OUTPUTS, LanguageOptions, prompt_of, read_options
from runtime.backends.protocol import Feeds, Limits, ModelRefused, Run, StepResult, check_memory, model_entry
from runtime.store.bundle import Bundle

EXAMPLE_TOKENS = 8


def load_language_model(bundle: Bundle, limits: Limits, role: str) -> NativeLanguageModel:
    """Loads a GGUF of the bundle. Raises ModelRefused, BundleError.

    It is repacked into `limits.cache_folder`; without one, into a folder that goes with the model;
    an encrypted one in memory alone.
    """
    entry = model_entry(bundle, role)
    path = bundle.path(entry.file)
    where = f"bundle '{bundle.reference}', model '{role}'"
    check_memory(bundle, role, max(entry.memory_bytes, path.stat().st_size), limits)
    options = read_options(entry, "native", where)
    sha256 = next(file.sha256 for file in bundle.manifest.files if file.path == entry.file)
    is_encrypted = bundle.is_encrypted(entry.file)
    plain = bundle.read(entry.file) if is_encrypted else b""
    own_folder = None if is_encrypted or limits.cache_folder else Path(tempfile.mkdtemp(prefix="idlehands-lm-"))
    try:
        if is_encrypted:
            model = LanguageModel.load_in_memory(plain, entry.file)
        else:
            model = LanguageModel.load(path, limits.cache_folder or own_folder or Path(), sha256=sha256)
        options.check_vocabulary(model.config.n_vocab, where)
        return NativeLanguageModel(model, options, own_folder, where)
    except (ModelRefused, KernelError, MemoryError, OSError) as error:
        if own_folder is not None:
            shutil.rmtree(own_folder, ignore_errors=True)
        if isinstance(error, ModelRefused):
            raise
        raise ModelRefused(f"{where}: {error}", next_step="") from error


class NativeLanguageModel:
    """A runtime.backends.protocol.Model that writes, and Gathering."""

    def __init__(self, model: LanguageModel, options: LanguageOptions, own_folder: Path | None, where: str) -> None:
        self._model: LanguageModel | None = model
        self._options, self._own_folder, self._where = options, own_folder, where
        codes = range(options.first_code, options.first_code + options.codes)
        self._among = Choice.of(codes) if options.codes else None  # one for all: runs of one head go together
        self._company: Runner | None = None  # the runner of those that are stepped together
        self.inputs, self.outputs = INPUTS, OUTPUTS
        self.resident_bytes = model.packed.stream_bytes
        self.stop_bound_us = POLL_NS // 1000
        self.keeps_progress = True
        self.most_together = model.batch_limit

    def set_threads(self, threads: int) -> None:
        if self._model is not None:
            self._model.threads = threads

    def start(self, feeds: Feeds) -> NativeLanguageRun:
        """Begins an answer. Raises ValueError too for an empty prompt, an unknown token, or one beyond the context."""
        model, options = self._loaded(), self._options
        capacity = options.context or model.config.context
        prompt = prompt_of(feeds, model.config.n_vocab, options, capacity, self._where)
        return self._begin(prompt, options.max_tokens, capacity)

    def examples(self, count: int) -> list[Run]:
        """Returns runs of a few tokens: what one more costs is what an answer costs."""
        model, options = self._loaded(), self._options
        capacity = options.context or model.config.context
        tokens = max(1, min(EXAMPLE_TOKENS, options.max_tokens, capacity // 2))
        words = np.random.default_rng(0).integers(0, model.config.n_vocab, (count, min(EXAMPLE_TOKENS, capacity // 2)))
        return [self._begin(prompt.tolist(), tokens, capacity, stops=False) for prompt in words]

    def step_together(self, runs: Sequence[Run], gate: GateToken | None) -> list[StepResult]:
        """See the protocol: one call of the network a token for all that are not done."""
        model = self._loaded()
        mine = [run for run in runs if isinstance(run, NativeLanguageRun)]
        if gate is None or gate.is_open():
            going = [run for run in mine if not run.is_done]
            company = self._company_of(model, going)
            while going and company.run([run.decoder.session for run in going], gate):
                for run in going:
                    run.take()
                going = [run for run in going if not run.is_done]
        return [StepResult.DONE if run.is_done else StepResult.PREEMPTED for run in mine]

    def leaves_company(self, run: NativeLanguageRun) -> None:
        """A run goes on alone: what was under way for it and others is dropped, less than a token."""
        company = self._company
        if company is not None and any(session is run.decoder.session for session, _ in company.parts):
            company.abandon()

    def close(self) -> None:
        """Drops the weights, and the folder that was made for them alone."""
        self._model = self._company = None
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)
            self._own_folder = None

    def _loaded(self) -> LanguageModel:
        if self._model is None:
            raise ValueError("the model is closed")
        return self._model

    def _begin(self, prompt: list[int], limit: int, capacity: int, *, stops: bool = True) -> NativeLanguageRun:
        model, among = self._loaded(), self._among
        session = model.session(capacity)
        session.feed(prompt, panels=None if among is None else among.panels)
        stop = frozenset({self._options.stop_token} - {-1}) if stops else frozenset()
        return NativeLanguageRun(self, Decoder(session, Runner(model), limit, stop=stop, among=among))

    def _company_of(self, model: LanguageModel, runs: Sequence[NativeLanguageRun]) -> Runner:
        """Returns the runner for these; what it, or one of theirs, had under way in other company is dropped."""
        if self._company is None:
            self._company = Runner(model)
        sessions = {id(run.decoder.session) for run in runs}
        if any(id(session) not in sessions for session, _ in self._company.parts):
            self._company.abandon()
        for run in runs:
            run.decoder.runner.abandon()
        self._company.threads = model.threads
        return self._company


class NativeLanguageRun:
    """A runtime.backends.protocol.Run that writes one answer, greedily."""

    def __init__(self, model: NativeLanguageModel, decoder: Decoder) -> None:
        self._model, self.decoder = model, decoder
        self.is_done = False

    def step(self, gate: GateToken | None) -> StepResult:
        if self.is_done:
            return StepResult.DONE
        if gate is not None and not gate.is_open():
            return StepResult.PREEMPTED
        self._model.leaves_company(self)
        if not self.decoder.step(gate):
            return StepResult.PREEMPTED
        self._end()
        return StepResult.DONE

    def take(self) -> None:
        """Chooses a token from what a run of the network in company left."""
        self.decoder.take()
        if self.decoder.done:
            self._end()

    def outputs(self) -> dict[str, NDArray[Any]]:
        if not self.is_done:
            raise ValueError("outputs() of a run that is not done")
        return {"tokens": np.array(self.decoder.chosen, np.int32)}

    def _end(self) -> None:
        self.is_done = True
        self.decoder.session.wipe()

    def __del__(self) -> None:
        if not self.is_done:
            self.decoder.session.wipe()
