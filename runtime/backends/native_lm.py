"""Language models on our own kernels (kernels/lm), behind the seam of backends; language.py has their options.

What ends in .gguf is loaded here by the backend `native`. A run that was preempted goes on within the token it stood
in. When it is done or dropped, its KV cache is wiped.
"""

from __future__ import annotations

import shutil
import tempfile
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
from runtime.backends.protocol import Feeds, Limits, ModelRefused, StepResult, check_memory, model_entry
from runtime.store.bundle import Bundle


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
    """A runtime.backends.protocol.Model that writes."""

    def __init__(self, model: LanguageModel, options: LanguageOptions, own_folder: Path | None, where: str) -> None:
        self._model: LanguageModel | None = model
        self._options, self._own_folder, self._where = options, own_folder, where
        self.inputs, self.outputs = INPUTS, OUTPUTS
        self.resident_bytes = model.packed.stream_bytes
        self.stop_bound_us = POLL_NS // 1000
        self.keeps_progress = True

    def set_threads(self, threads: int) -> None:
        if self._model is not None:
            self._model.threads = threads

    def start(self, feeds: Feeds) -> NativeLanguageRun:
        """Begins an answer. Raises ValueError too for an empty prompt, an unknown token, or one beyond the context."""
        if self._model is None:
            raise ValueError("the model is closed")
        options, config = self._options, self._model.config
        capacity = options.context or config.context
        prompt = prompt_of(feeds, config.n_vocab, options, capacity, self._where)
        among = Choice.of(range(options.first_code, options.first_code + options.codes)) if options.codes else None
        session = self._model.session(capacity)
        session.feed(prompt, panels=None if among is None else among.panels)
        stop = frozenset({options.stop_token} - {-1})
        return NativeLanguageRun(Decoder(session, Runner(self._model), options.max_tokens, stop=stop, among=among))

    def close(self) -> None:
        """Drops the weights, and the folder that was made for them alone."""
        self._model = None
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)
            self._own_folder = None


class NativeLanguageRun:
    """A runtime.backends.protocol.Run that writes one answer, greedily."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._is_done = False

    def step(self, gate: GateToken | None) -> StepResult:
        if self._is_done:
            return StepResult.DONE
        if gate is not None and not gate.is_open():
            return StepResult.PREEMPTED
        if not self._decoder.step(gate):
            return StepResult.PREEMPTED
        self._is_done = True
        self._decoder.session.wipe()
        return StepResult.DONE

    def outputs(self) -> dict[str, NDArray[Any]]:
        if not self._is_done:
            raise ValueError("outputs() of a run that is not done")
        return {"tokens": np.array(self._decoder.chosen, np.int32)}

    def __del__(self) -> None:
        if not self._is_done:
            self._decoder.session.wipe()
