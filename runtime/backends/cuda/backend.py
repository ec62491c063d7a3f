"""The backend `cuda`: language models on our own kernels (kernels/cuda/lm.cu), a token a launch, on a CUDA device.

The kernels are built by nvcc at the first load and kept in the cache; what they compute has the same bits on every
device. Where there is no device, no driver or no compiler, or the model has matrices of a kind that the kernels do not
take, the next backend of the bundle is used.

    step(gate): queue a token, look every 50 µs whether it is done and whether the gate is open, queue the next one

A device cannot be stopped inside of a token: a step that is preempted returns at once, the device is idle after that
token, and the next step goes on behind it. `stop_bound_us` is the longest token that was seen. What an answer left is
wiped when it is done or dropped; ending the worker gives all of the device's memory back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.build import SOURCES, NvccMissing, cubin
from kernels.errors import KernelError
from kernels.gate.word import GateToken
from kernels.lm.config import read_config
from kernels.lm.gguf import Gguf, parse_gguf, read_gguf
from runtime.backends.cuda.device import CudaError, Device, Function, Stream, open_device
from runtime.backends.cuda.llama import Llama, Room, room_bytes, weights_bytes
from runtime.backends.language import INPUTS, OUTPUTS, SUFFIX, LanguageOptions, prompt_of, read_options
from runtime.backends.protocol import (
    BackendMissing,
    Feeds,
    Limits,
    ModelUnsupported,
    StepResult,
    check_memory,
    model_entry,
)
from runtime.store.bundle import Bundle
from runtime.store.manifest import ModelEntry

LOOK_S = 0.00005
_KERNELS = "lm.cu"


def built_kernels(device: Device, cache: Path) -> dict[str, Function]:
    """Returns the kernels of lm.cu on the device. Raises BackendMissing: they cannot be built for it here."""
    major, minor = device.identity.capability
    try:
        image = cubin(f"sm_{major}{minor}", cache, _KERNELS)
    except NvccMissing as error:
        raise BackendMissing(error.message, next_step=error.advice) from error
    return {name: device.load(image, name) for name in SOURCES[_KERNELS]}


class CudaBackend:
    """See the module. `device` and `kernels` are for tests."""

    name = "cuda"

    def __init__(
        self,
        *,
        device: Callable[[], Device] = open_device,
        kernels: Callable[[Device, Path], dict[str, Function]] = built_kernels,
    ) -> None:
        self._device, self._kernels = device, kernels

    def load(self, bundle: Bundle, limits: Limits, role: str = "model") -> CudaLanguageModel:
        """Loads a language model. Raises BackendMissing, ModelUnsupported, ModelRefused, BundleError."""
        entry = model_entry(bundle, role)
        where = f"bundle '{bundle.reference}', model '{role}'"
        if not entry.file.endswith(SUFFIX):
            raise ModelUnsupported(f"{where} is {entry.file}; our CUDA kernels run language models ({SUFFIX})")
        options = read_options(entry, self.name, where)
        path = bundle.path(entry.file)
        check_memory(bundle, role, max(entry.memory_bytes, path.stat().st_size), limits)
        device = self._device()
        functions = self._kernels(device, limits.cache_folder or Path.home() / ".cache" / "idlehands" / "cuda")
        try:
            gguf = _read(bundle, entry)
            config = read_config(gguf)
            options.check_vocabulary(config.n_vocab, where)
            capacity = options.context or config.context
            needed_bytes = sum(weights_bytes(gguf)) + sum(room_bytes(config, capacity).values())
            check_memory(bundle, role, needed_bytes, limits)
            free_bytes = device.memory()[0]
            if needed_bytes > free_bytes:
                raise ModelUnsupported(f"{where} needs {needed_bytes} bytes of the device, {free_bytes} are free")
            stream = device.stream(high_priority=False)
            try:
                llama = Llama(device, stream, functions, gguf, (options.first_code, options.codes))
                return CudaLanguageModel(llama, stream, options, capacity, where)
            except BaseException:
                stream.close()
                raise
        except KernelError as error:
            raise ModelUnsupported(f"{where}: {error.message}", next_step=error.advice) from error


def _read(bundle: Bundle, entry: ModelEntry) -> Gguf:
    """An encrypted file is opened in memory alone, and from there goes to the device's."""
    if bundle.is_encrypted(entry.file):
        return parse_gguf(memoryview(bundle.read(entry.file)), Path(entry.file))
    return read_gguf(bundle.path(entry.file))


class CudaLanguageModel:
    """A runtime.backends.protocol.Model that writes. Answers under way share the stream, each in a room of its own."""

    def __init__(self, llama: Llama, stream: Stream, options: LanguageOptions, capacity: int, where: str) -> None:
        self._llama: Llama | None = llama
        self._device, self._stream = llama.device, stream
        self._options, self._capacity, self._where = options, capacity, where
        self.inputs, self.outputs = INPUTS, OUTPUTS
        self.stop_bound_us = 0
        self.keeps_progress = True
        self._free: list[Room] = []
        self._rooms: list[Room] = []

    @property
    def resident_bytes(self) -> int:
        """Of the device's memory: weights, and the rooms of answers."""
        return 0 if self._llama is None else self._llama.weights_bytes + sum(room.nbytes for room in self._rooms)

    def set_threads(self, threads: int) -> None:
        """Nothing: it computes on the device."""

    def start(self, feeds: Feeds) -> CudaLanguageRun:
        """Begins an answer. Raises ValueError too for an empty prompt, an unknown token, or one beyond the context."""
        if self._llama is None:
            raise ValueError("the model is closed")
        prompt = prompt_of(feeds, self._llama.config.n_vocab, self._options, self._capacity, self._where)
        return CudaLanguageRun(self, prompt, self._options)

    def close(self) -> None:
        """Waits for what is queued, then gives all memory of the device back."""
        if self._llama is None:
            return
        self._device.use()
        self._stream.wait()
        for room in self._rooms:
            self._llama.wipe(room)
            self._llama.leave(room)
        self._rooms, self._free = [], []
        self._llama.close()
        self._stream.close()
        self._llama = None

    def enter(self, prompt: list[int]) -> Room:
        """Returns a room in which `prompt` is about to be read."""
        assert self._llama is not None
        self._device.use()
        if not self._free:
            room = self._llama.room(self._capacity)
            self._rooms.append(room)
            self._free.append(room)
        room = self._free.pop()
        self._llama.begin(room, prompt)
        return room

    def queue(self, room: Room, *, chooses: bool) -> None:
        assert self._llama is not None
        self._device.use()
        self._llama.token(room, chooses=chooses)

    def is_done(self) -> bool:
        return self._stream.is_done()

    def wait(self) -> None:
        self._stream.wait()

    def leave(self, room: Room) -> None:
        """An answer is over: nothing of it stays, and its room is the next one's."""
        if self._llama is not None and room in self._rooms:
            self._device.use()
            self._llama.wipe(room)
            self._free.append(room)

    @property
    def is_closed(self) -> bool:
        return self._llama is None


class CudaLanguageRun:
    """A runtime.backends.protocol.Run that writes one answer, greedily."""

    def __init__(self, model: CudaLanguageModel, prompt: list[int], options: LanguageOptions) -> None:
        self._model, self._prompt, self._options = model, prompt, options
        self._room: Room | None = None
        self._position = 0
        self._began_ns = 0  # of the token that is queued; 0: none is
        self._was_left = False  # preempted: what passed since is not the device's time
        self._answer: list[int] = []
        self._is_done = False

    def step(self, gate: GateToken | None) -> StepResult:
        while not self._is_done:
            if gate is not None and not gate.is_open():
                self._was_left = True
                return StepResult.PREEMPTED
            if self._model.is_closed:
                raise ValueError("the model is closed")
            if not self._began_ns:
                self._queue()
            elif gate is None:
                self._model.wait()
                self._take()
            elif self._model.is_done():
                self._take()
            else:
                time.sleep(LOOK_S)
        return StepResult.DONE

    def outputs(self) -> dict[str, NDArray[Any]]:
        if not self._is_done:
            raise ValueError("outputs() of a run that is not done")
        return {"tokens": np.array(self._answer, np.int32)}

    @property
    def _chooses(self) -> bool:
        return self._position >= len(self._prompt) - 1

    def _queue(self) -> None:
        if self._room is None:
            self._room = self._model.enter(self._prompt)
        self._was_left, self._began_ns = False, time.perf_counter_ns()
        self._model.queue(self._room, chooses=self._chooses)

    def _take(self) -> None:
        """A token is done: what it chose is the answer's."""
        assert self._room is not None
        if not self._was_left:
            spent_us = (time.perf_counter_ns() - self._began_ns) // 1000
            self._model.stop_bound_us = max(self._model.stop_bound_us, spent_us)
        if self._chooses:
            self._answer.append(int(self._room.told.view(np.int32)[2]))
        self._position += 1
        self._began_ns = 0
        is_over = len(self._answer) >= self._options.max_tokens
        if is_over or (self._answer and self._answer[-1] == self._options.stop_token):
            self._is_done = True
            self._leave()

    def _leave(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            self._model.leave(room)

    def __del__(self) -> None:
        if not self._model.is_closed:
            try:
                self._leave()
            except CudaError:  # the device failed: the worker is started anew
                self._room = None
