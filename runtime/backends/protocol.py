"""The seam of backends, and the table of them.

    bundle ──Backend.load──► Model ──start(feeds)──► Run ──step(gate)──► DONE ──outputs()──► arrays by name
                              │                        ▲        └─────► PREEMPTED: the gate closed; step again later
                              └─ close(): its memory is given back

A run that was preempted gives the same outputs, to the bit, as one that was not. How soon it stops is the backend's:
`stop_bound_us` is the longest that it was seen to work on between two looks at the gate, and is published.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.errors import RuntimeFault
from runtime.store.bundle import Bundle
from runtime.store.errors import BundleError
from runtime.store.manifest import ModelEntry
from runtime.store.manifest import TensorSpec as TensorSpec

Feeds = Mapping[str, NDArray[Any]]


class BackendError(RuntimeFault):
    """A backend cannot load or run a model."""

    next_step: ClassVar[str] = "`idlehands doctor` says which backends work here"


class BackendMissing(BackendError):
    """None of the backends that the bundle names can be used on this machine."""

    next_step: ClassVar[str] = "install the backend's package, or pack the bundle for another one"


class ModelUnsupported(BackendMissing):
    """The model has an operator or a shape that this backend does not know; another one may."""

    next_step: ClassVar[str] = "name another backend in the bundle's description, such as onnxruntime"


class ModelRefused(BackendError):
    """A backend does not take the model: not its format, or it needs more memory than the worker may use."""

    next_step: ClassVar[str] = "give the worker more memory (worker.memory_MiB), or use a smaller variant"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model may use. `memory_bytes` 0 is without a limit; `cache_folder` is for what a backend prepared once."""

    threads: int = 1
    memory_bytes: int = 0
    cache_folder: Path | None = None


class StepResult(Enum):
    """How a step ended."""

    DONE = "done"
    PREEMPTED = "preempted"


class Run(Protocol):
    """One evaluation. Keeps what it computed until it is done or dropped."""

    def step(self, gate: GateToken | None) -> StepResult:
        """Works until the run is done or the gate is closed; None never closes. A run that is done stays DONE."""

    def outputs(self) -> dict[str, NDArray[Any]]:
        """Returns the outputs by name; they are the caller's. Raises ValueError before the run is done."""


class Model(Protocol):
    """A model in memory. Not thread-safe: one thread at a time starts and steps its runs."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def resident_bytes(self) -> int:
        """Memory that the model holds while it is loaded, as measured or as the manifest says."""

    @property
    def stop_bound_us(self) -> int:
        """The longest time seen between two looks at the gate, µs; at first, of a run on zeros if shapes are fixed."""

    @property
    def keeps_progress(self) -> bool:
        """Whether a preempted run goes on where it stood. Where not, it begins anew, and is not paused for the duty."""

    def set_threads(self, threads: int) -> None:
        """Has the runs that are started from now on compute with at most `threads`."""

    def start(self, feeds: Feeds) -> Run:
        """Begins a run. Raises ValueError if a feed is missing, unknown, or of another dtype or shape."""

    def close(self) -> None:
        """Gives the memory back. Runs of it must not be stepped any more. May be called again."""


@runtime_checkable
class Gathering(Protocol):
    """A model that can also step several of its runs as one, for less than their sum where reading weights or the call
    itself is what costs. Whether it is less is measured where it runs (runtime/residency/together.py)."""

    @property
    def most_together(self) -> int:
        """How many runs it takes at once; 1: this one cannot."""

    def examples(self, count: int) -> list[Run]:
        """Returns new runs of usual size on inputs without a meaning, each another, the same each time: to measure."""

    def step_together(self, runs: Sequence[Run], gate: GateToken | None) -> list[StepResult]:
        """Steps runs of this model to the same bits as each alone; one that was preempted may go on alone or in any
        company. What it raises says nothing of a single run: step each alone then."""


class Backend(Protocol):
    """Loads models. `name` is that of the table and of manifests."""

    name: str

    def load(self, bundle: Bundle, limits: Limits, role: str = "model") -> Model:
        """Loads the model `role` of an installed bundle. Raises ModelRefused, BundleError."""


# name -> (where it is, what must be installed for it)
BACKENDS: dict[str, tuple[str, str]] = {
    "native": ("runtime.backends.native:NativeBackend", ""),
    "onnxruntime": ("runtime.backends.onnxruntime:OnnxRuntimeBackend", "onnxruntime"),
    "cuda": ("runtime.backends.cuda.backend:CudaBackend", ""),
    "tensorrt": ("runtime.backends.tensorrt.backend:TensorRTBackend", "tensorrt"),
    "tensorrt_rtx": ("runtime.backends.tensorrt.backend:TensorRTRtxBackend", "tensorrt_rtx"),
    "null": ("runtime.backends.null:NullBackend", ""),
}


def make_backend(name: str) -> Backend:
    """Returns a backend. Raises BackendMissing: not in the table, or its package is not installed or does not load."""
    if name not in BACKENDS:
        raise BackendMissing(f"there is no backend '{name}'; there are: {', '.join(BACKENDS)}")
    where, package = BACKENDS[name]
    if package and importlib.util.find_spec(package) is None:
        raise BackendMissing(f"backend '{name}' needs the Python package {package}", next_step=f"pip install {package}")
    module, _, attribute = where.partition(":")
    try:
        return cast(Backend, getattr(importlib.import_module(module), attribute)())
    except ImportError as error:
        raise BackendMissing(f"backend '{name}' does not load here: {error}") from error


def load_model(bundle: Bundle, limits: Limits, role: str = "model") -> tuple[str, Model]:
    """Loads with the first backend of the manifest's preference that works here; returns (its name, the model).

    Raises BackendMissing with every backend's reason, ModelRefused, BundleError.
    """
    reasons = []
    for name in model_entry(bundle, role).backends:
        try:
            return name, make_backend(name).load(bundle, limits, role)
        except BackendMissing as error:
            reasons.append(f"{name}: {error.message}")
    raise BackendMissing(f"bundle '{bundle.reference}', model '{role}' runs on no backend here: {'; '.join(reasons)}")


def model_entry(bundle: Bundle, role: str) -> ModelEntry:
    """Returns a model of the bundle by its role or by its file's name. Raises BundleError."""
    models = bundle.manifest.models
    if role in models:
        return models[role]
    for entry in models.values():
        if entry.file == role:
            return entry
    there = ", ".join(models) or "none"
    raise BundleError(f"bundle '{bundle.reference}' has no model '{role}'; there are: {there}", next_step="")


def check_memory(bundle: Bundle, role: str, needed_bytes: int, limits: Limits) -> None:
    """Raises ModelRefused if a model does not fit into the limits."""
    if limits.memory_bytes and needed_bytes > limits.memory_bytes:
        raise ModelRefused(
            f"bundle '{bundle.reference}', model '{role}' needs {needed_bytes} bytes, {limits.memory_bytes} may be used"
        )
