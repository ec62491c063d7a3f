"""A backend that computes nothing: it takes time, can be preempted, and gives outputs that depend on its inputs alone.

For tests, for fleets of cars without models, and to measure everything else. The manifest sets it:

    [models.model.options.null]
    latency_us = 2000       # of a whole run
    steps = 10              # looks at the gate on the way, so that a step takes latency_us / steps
    outputs = "noise"       # the same for the same inputs; or "zeros"
    together = 1            # runs that it makes in the time of one
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.backends.feeds import check_feeds
from runtime.backends.protocol import Feeds, ModelRefused, Run, StepResult, check_memory, model_entry
from runtime.backends.protocol import Limits as Limits
from runtime.store.bundle import Bundle
from runtime.store.manifest import ModelEntry, TensorSpec

_OPTIONS: dict[str, object] = {"latency_us": 0, "steps": 1, "outputs": "noise", "together": 1}


class NullBackend:
    """See the module. `sleep` takes seconds."""

    name = "null"

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep

    def load(self, bundle: Bundle, limits: Limits, role: str = "model") -> NullModel:
        """Loads nothing, but refuses what a real backend would. Raises ModelRefused, BundleError."""
        entry = model_entry(bundle, role)
        bundle.path(entry.file)
        bundle.check_device(entry.file)
        check_memory(bundle, role, entry.memory_bytes, limits)
        options = {**_OPTIONS, **entry.options.get(self.name, {})}
        latency_us, steps, outputs = options["latency_us"], options["steps"], options["outputs"]
        together = options["together"]
        is_right = isinstance(latency_us, int) and latency_us >= 0 and isinstance(steps, int) and steps >= 1
        is_right = is_right and isinstance(together, int) and together >= 1
        if set(options) != set(_OPTIONS) or not is_right or outputs not in ("noise", "zeros"):
            raise ModelRefused(
                f"bundle '{bundle.reference}', model '{role}': options.null must be like {_OPTIONS}, got {options}",
                next_step="correct the bundle's description and pack it again",
            )
        assert isinstance(latency_us, int)
        assert isinstance(steps, int)
        assert isinstance(together, int)
        return NullModel(entry, self._sleep, latency_us, steps, outputs == "noise", together)


class NullModel:
    """A runtime.backends.protocol.Model of nothing."""

    def __init__(
        self,
        entry: ModelEntry,
        sleep: Callable[[float], None],
        latency_us: int,
        steps: int,
        is_noise: bool,
        together: int = 1,
    ) -> None:
        self.inputs, self.outputs = entry.inputs, entry.outputs
        self.resident_bytes = entry.memory_bytes
        self.stop_bound_us = latency_us // steps
        self.sleep, self.latency_us, self.steps, self.is_noise = sleep, latency_us, steps, is_noise
        self._is_closed = False
        self.keeps_progress = True
        self.most_together = together

    def set_threads(self, threads: int) -> None:
        """Nothing: it waits, and does that with one."""

    def start(self, feeds: Feeds) -> NullRun:
        if self._is_closed:
            raise ValueError("the model is closed")
        return NullRun(self, feeds, check_feeds(self.inputs, feeds))

    def close(self) -> None:
        self._is_closed = True

    def examples(self, count: int) -> list[Run]:
        """Returns runs on arrays of their own number, one in every dimension that is not fixed."""
        shapes = {spec: tuple(size if isinstance(size, int) else 1 for size in spec.shape) for spec in self.inputs}
        return [
            self.start({spec.name: np.full(shape, number, spec.dtype) for spec, shape in shapes.items()})
            for number in range(count)
        ]

    def step_together(self, runs: Sequence[Run], gate: GateToken | None) -> list[StepResult]:
        """Waits once for all of them: as long as the one that has most left."""
        going = [run for run in runs if isinstance(run, NullRun)]
        most_left = max(run.left for run in going)
        while most_left:
            if gate is not None and not gate.is_open():
                return [StepResult.PREEMPTED if run.left else StepResult.DONE for run in going]
            if self.latency_us:
                self.sleep(self.stop_bound_us / 1e6)
            most_left -= 1
            for run in going:
                run.left = min(run.left, most_left)
        return [StepResult.DONE] * len(going)


class NullRun:
    """A runtime.backends.protocol.Run that waits its steps out."""

    def __init__(self, model: NullModel, feeds: Feeds, sizes: dict[str, int]) -> None:
        self._model, self._sizes = model, sizes
        self.left = model.steps
        digest = hashlib.sha256()
        for spec in model.inputs:
            digest.update(np.ascontiguousarray(feeds[spec.name]).tobytes())
        self._seed = int.from_bytes(digest.digest()[:8], "little")

    def step(self, gate: GateToken | None) -> StepResult:
        while self.left:
            if gate is not None and not gate.is_open():
                return StepResult.PREEMPTED
            if self._model.latency_us:
                self._model.sleep(self._model.stop_bound_us / 1e6)
            self.left -= 1
        return StepResult.DONE

    def outputs(self) -> dict[str, NDArray[Any]]:
        if self.left:
            raise ValueError("outputs() of a run that is not done")
        return {spec.name: self._output(spec, number) for number, spec in enumerate(self._model.outputs)}

    def _output(self, spec: TensorSpec, number: int) -> NDArray[Any]:
        shape = tuple(self._sizes.get(size, 1) if isinstance(size, str) else size for size in spec.shape)
        if not self._model.is_noise:
            return np.zeros(shape, spec.dtype)
        noise = np.random.default_rng([self._seed, number]).random(shape)
        dtype = np.dtype(spec.dtype)
        return noise.astype(dtype) if dtype.kind == "f" else (noise * 100).astype(dtype)
