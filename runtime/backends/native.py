"""The native backend: models on our own kernels, which look at the gate within a run and go on where they stood.

ONNX models run on the int8 graph engine (kernels/graph), GGUF language models on native_lm.py. A model with an operator
that the engine does not know is left to the next backend of its manifest. A graph's options:

[models.model.options.native]
independent = true    # what the first axis of every input and output counts does not look at each other, so that runs
                      # of several sessions may be computed as one, and a batch in parts that stay in the cache; false:
                      # they never are
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.gate.word import POLL_NS, GateToken
from kernels.graph.cache import Spec
from kernels.graph.errors import GraphError, UnsupportedModelError
from kernels.graph.model import GraphModel
from kernels.graph.model import Run as GraphRun
from kernels.graph.model import StepResult as GraphResult
from kernels.graph.planning import PlanningStopped, stoppable
from runtime.backends.feeds import check_feeds
from runtime.backends.language import SUFFIX
from runtime.backends.native_lm import load_language_model
from runtime.backends.protocol import (
    Feeds,
    Limits,
    Model,
    ModelRefused,
    ModelUnsupported,
    Run,
    StepResult,
    check_memory,
    model_entry,
)
from runtime.store.bundle import Bundle
from runtime.store.manifest import ModelEntry, TensorSpec

MOST_TOGETHER = 16
OPEN_SIZE = 64  # of an example's dimension that the model leaves open


class NativeBackend:
    """See the module. `Limits.cache_folder` keeps packed weights and plans, which makes the next load quick."""

    name = "native"

    def load(self, bundle: Bundle, limits: Limits, role: str = "model") -> Model:
        """Loads a model of the bundle. Raises ModelUnsupported, ModelRefused, BundleError."""
        entry = model_entry(bundle, role)
        if entry.file.endswith(SUFFIX):
            return load_language_model(bundle, limits, role)
        path = bundle.path(entry.file)
        check_memory(bundle, role, entry.memory_bytes, limits)
        where = f"bundle '{bundle.reference}', model '{role}'"
        is_independent = _is_independent(entry, where)
        is_encrypted = bundle.is_encrypted(entry.file)
        source = bundle.read(entry.file) if is_encrypted else path
        # What is packed of an encrypted model is as secret as it is: nothing of it is kept.
        cache = None if is_encrypted else limits.cache_folder
        try:
            sha256 = next(file.sha256 for file in bundle.manifest.files if file.path == entry.file)
            model = GraphModel.load(source, cache, name=where, sha256=sha256, independent_batch=is_independent)
        except UnsupportedModelError as error:
            raise ModelUnsupported(error.message) from error
        except GraphError as error:
            raise ModelRefused(error.message, next_step=error.advice) from error
        known_bytes = max(entry.memory_bytes, path.stat().st_size)
        made = NativeModel(
            model, entry.inputs or _specs(model.inputs), entry.outputs or _specs(model.outputs), known_bytes
        )
        made.held_bytes = len(source) if isinstance(source, bytes) else 0
        if is_independent:
            made.gather()
        check_memory(bundle, role, made.resident_bytes, limits)
        return made


@dataclass(eq=False)
class _Company:
    """Runs under way as one: `whole` is the run of all their rows."""

    members: list[weakref.ref[NativeRun]]
    whole: NativeRun

    def is_of(self, runs: Sequence[NativeRun]) -> bool:
        return [member() for member in self.members] == list(runs)


class NativeModel:
    """A runtime.backends.protocol.Model of one graph, Gathering where its bundle says that its rows are independent."""

    def __init__(
        self, model: GraphModel, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], known_bytes: int
    ) -> None:
        self._model: GraphModel | None = model
        self.inputs, self.outputs = inputs, outputs
        self._known_bytes = known_bytes
        self.held_bytes = 0  # of the model's own file, where it is encrypted: new shapes are planned from it
        self.stop_bound_us = POLL_NS // 1000
        self.keeps_progress = True
        self.most_together = 1

    def gather(self) -> None:
        """Runs may be stepped together, if the first axis of all is open."""
        tensors = (*self.inputs, *self.outputs)
        if tensors and all(spec.shape and isinstance(spec.shape[0], str) for spec in tensors):
            self.most_together = MOST_TOGETHER

    @property
    def resident_bytes(self) -> int:
        """The packed weights, or the file, or what the manifest says: whichever is most; and what was decrypted."""
        weights = 0 if self._model is None else len(self._model.weights_memory)
        return max(weights, self._known_bytes) + (0 if self._model is None else self.held_bytes)

    def set_threads(self, threads: int) -> None:
        if self._model is not None:
            self._model.threads = threads

    def start(self, feeds: Feeds) -> NativeRun:
        if self._model is None:
            raise ValueError("the model is closed")
        check_feeds(self.inputs, feeds)
        return NativeRun(self._model, feeds)

    def examples(self, count: int) -> list[Run]:
        """Returns runs of one row each, what is open besides taken to be OPEN_SIZE."""
        dice = np.random.default_rng(0)
        made: list[Run] = []
        for _ in range(count):
            feeds = {}
            for spec in self.inputs:
                shape = (1, *(size if isinstance(size, int) else OPEN_SIZE for size in spec.shape[1:]))
                feeds[spec.name] = (dice.random(shape) * (1 if spec.dtype.startswith("float") else 100)).astype(
                    spec.dtype
                )
            made.append(self.start(feeds))
        return made

    def step_together(self, runs: Sequence[Run], gate: GateToken | None) -> list[StepResult]:
        """See the protocol. Runs of one shape are one run of the engine; others are stepped one after the other."""
        mine = [run for run in runs if isinstance(run, NativeRun)]
        groups: dict[tuple[Any, ...], list[NativeRun]] = {}
        for run in mine:
            groups.setdefault(() if run.is_done or run.is_begun else run.shape, []).append(run)
        for shape, group in groups.items():
            if len(group) == 1 or not shape:
                for run in group:
                    run.step(gate)
            else:
                self._step_as_one(group, gate)
        return [StepResult.DONE if run.is_done else StepResult.PREEMPTED for run in mine]

    def _step_as_one(self, group: list[NativeRun], gate: GateToken | None) -> None:
        company = group[0].company
        if company is None or not company.is_of(group):
            feeds = {spec.name: np.concatenate([run.feeds[spec.name] for run in group], axis=0) for spec in self.inputs}
            company = _Company([weakref.ref(run) for run in group], self.start(feeds))
        for run in group:
            run.company = company
        if company.whole.step(gate) is StepResult.DONE:
            outputs, row = company.whole.outputs(), 0
            for run in group:
                run.end_with({name: array[row : row + run.rows].copy() for name, array in outputs.items()})
                row += run.rows

    def close(self) -> None:
        """Drops the weights and working memories; their mappings go back to the system as the last run lets go."""
        self._model = None


class NativeRun:
    """A runtime.backends.protocol.Run that pauses where it stands.

    The plan of new shapes is made by the first `step`, because it takes long enough for the gate to close.
    """

    def __init__(self, model: GraphModel, feeds: Feeds) -> None:
        self._model = model
        self.feeds = dict(feeds)
        self.company: _Company | None = None
        self._run: GraphRun | None = None
        self._outputs: dict[str, NDArray[Any]] | None = None

    @property
    def is_done(self) -> bool:
        return self._outputs is not None

    @property
    def is_begun(self) -> bool:
        """Whether it has gone a part of its way alone."""
        return self._run is not None

    @property
    def rows(self) -> int:
        return int(next(iter(self.feeds.values())).shape[0])

    @property
    def shape(self) -> tuple[Any, ...]:
        """What runs that are made one must share: all but how many rows they have."""
        return tuple((name, array.shape[1:]) for name, array in sorted(self.feeds.items()))

    def step(self, gate: GateToken | None) -> StepResult:
        """See the protocol. Raises ModelUnsupported for shapes that the engine cannot do."""
        if self.is_done:
            return StepResult.DONE
        if gate is not None and not gate.is_open():
            return StepResult.PREEMPTED
        self.company = None
        if self._run is None:
            # Only the gate itself stops it, no window of the duty: begun anew in every window it would never end.
            whole = None if gate is None else gate.until(0)
            try:
                with stoppable(lambda: whole is not None and not whole.is_open()):
                    self._run = self._model.start(self.feeds)
            except PlanningStopped:
                return StepResult.PREEMPTED
            except UnsupportedModelError as error:  # a shape that only this feed brought up
                raise ModelUnsupported(error.message) from error
        if self._run.step(0 if gate is None else gate.address) is not GraphResult.DONE:
            return StepResult.PREEMPTED
        self._outputs = dict(self._run.outputs())
        return StepResult.DONE

    def end_with(self, outputs: dict[str, NDArray[Any]]) -> None:
        """It was computed as a part of another run."""
        self._outputs, self.company = outputs, None

    def outputs(self) -> dict[str, NDArray[Any]]:
        if self._outputs is None:
            raise ValueError("outputs() of a run that is not done")
        return dict(self._outputs)


def _is_independent(entry: ModelEntry, where: str) -> bool:
    """Returns the option of that name. Raises ModelRefused for any other, or if it is neither true nor false."""
    options = entry.options.get("native", {})
    if set(options) - {"independent"} or not isinstance(options.get("independent", False), bool):
        raise ModelRefused(
            f"{where}: options.native of a graph may be independent = true or false, got {options}",
            next_step="correct the bundle's description and pack it again",
        )
    return bool(options.get("independent", False))


def _specs(found: tuple[Spec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            spec.name,
            tuple(f"{number}.{axis}" if size is None else size for axis, size in enumerate(spec.shape)),
            spec.dtype,
        )
        for number, spec in enumerate(found)
    )
