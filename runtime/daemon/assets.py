"""What agents take their parts from: the models and files of an installed bundle."""

from __future__ import annotations

from runtime.agent.errors import AssetMissing
from runtime.backends.protocol import Limits, Model, load_model
from runtime.store.bundle import Bundle


class BundleAssets:
    """The parts of `bundle`; a model is loaded once, by the first backend of its manifest that works here, and kept."""

    def __init__(self, bundle: Bundle, limits: Limits) -> None:
        self.bundle, self._limits = bundle, limits
        self._models: dict[str, Model] = {}

    def model(self, role: str) -> Model:
        """Returns the loaded model of the role or file `role`. Raises AssetMissing, BackendError, BundleError."""
        entries = self.bundle.manifest.models
        if role not in entries and all(entry.file != role for entry in entries.values()):
            raise AssetMissing(f"bundle '{self.bundle.reference}' has no model {role!r}")
        if role not in self._models:
            self._models[role] = self.load(role)
        return self._models[role]

    def load(self, role: str) -> Model:
        """Returns the model, loaded now."""
        return load_model(self.bundle, self._limits, role)[1]

    def file(self, path: str) -> bytes:
        """Returns the content of the file `path`. Raises AssetMissing, BundleError."""
        if all(entry.path != path for entry in self.bundle.manifest.files):
            raise AssetMissing(f"bundle '{self.bundle.reference}' has no file {path!r}")
        return self.bundle.read(path)
