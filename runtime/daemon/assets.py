"""What a worker hands to its agents: the models and files of an installed bundle."""

from __future__ import annotations

from runtime.agent.assets import NoAssets
from runtime.agent.errors import AssetMissing
from runtime.backends.protocol import Limits, Model, load_model
from runtime.daemon.control import LoadedModel
from runtime.jobs.spec import JobSpec
from runtime.store.bundle import Bundle
from runtime.store.models import ModelStore


class BundleAssets:
    """The parts of `bundle`; models are loaded once, by the first backend of their manifest that works here."""

    def __init__(self, bundle: Bundle, limits: Limits) -> None:
        self._bundle, self._limits = bundle, limits
        self._models: dict[str, tuple[str, Model]] = {}

    def model(self, name: str) -> Model:
        """Returns the loaded model of the role or file `name`. Raises AssetMissing, BackendError, BundleError."""
        entries = self._bundle.manifest.models
        if name not in entries and all(entry.file != name for entry in entries.values()):
            raise AssetMissing(f"bundle '{self._bundle.reference}' has no model {name!r}")
        if name not in self._models:
            self._models[name] = load_model(self._bundle, self._limits, name)
        return self._models[name][1]

    def loaded(self) -> tuple[LoadedModel, ...]:
        """Returns what is loaded, with its bound of stopping as it has been seen so far."""
        return tuple(
            LoadedModel(self._bundle.reference, role, backend, model.resident_bytes, model.stop_bound_us)
            for role, (backend, model) in self._models.items()
        )

    def file(self, name: str) -> bytes:
        """Returns the content of the file `name`. Raises AssetMissing, BundleError."""
        if all(entry.path != name for entry in self._bundle.manifest.files):
            raise AssetMissing(f"bundle '{self._bundle.reference}' has no file {name!r}")
        return self._bundle.path(name).read_bytes()


def assets_for(spec: JobSpec, store: ModelStore, limits: Limits) -> tuple[BundleAssets | NoAssets, bytes]:
    """Returns the assets of a job's agent and their bundle's hash (b"" without one).

    A job that names no model gets the active bundle of its agent's kind; without one the agent must do without.
    Raises ModelNotFound for a model that is named and not installed, UntrustedBundle, BundleError.
    """
    name = spec.model or next((one.name for one in store.list_models() if one.is_active and one.kind == spec.agent), "")
    if not name:
        return NoAssets(), b""
    bundle = store.get(name)
    return BundleAssets(bundle, limits), bytes.fromhex(bundle.sha256)
