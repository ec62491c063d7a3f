"""What an agent is made of: the models and files of its bundle, handed in by the worker."""

from __future__ import annotations

from typing import Protocol

from runtime.agent.errors import AssetMissing
from runtime.backends.protocol import Limits, Model, load_model
from runtime.store.bundle import Bundle
from runtime.store.errors import BundleError


class Assets(Protocol):
    """Where an agent takes its parts from."""

    def model(self, role: str) -> Model:
        """Returns the loaded model of a role of the manifest; AssetMissing when the bundle has none."""
        ...

    def file(self, path: str) -> bytes:
        """Returns the content of a file of the bundle; AssetMissing when it has none of that path."""
        ...


class NoAssets:
    """For agents without models."""

    def model(self, role: str) -> Model:
        raise AssetMissing(f"the agent needs a model for {role!r}, and no bundle was given")

    def file(self, path: str) -> bytes:
        raise AssetMissing(f"the agent needs the file {path!r}, and no bundle was given")


class BundleAssets:
    """An installed bundle as assets. Loads each model once; `close()` gives the memory back."""

    def __init__(self, bundle: Bundle, limits: Limits) -> None:
        self._bundle = bundle
        self._limits = limits
        self._models: dict[str, Model] = {}

    def model(self, role: str) -> Model:
        """See Assets. Raises besides AssetMissing what the backend raises (BackendMissing, ModelRefused)."""
        if role not in self._models:
            if role not in self._bundle.manifest.models:
                raise AssetMissing(f"bundle '{self._bundle.reference}' has no model for {role!r}")
            self._models[role] = load_model(self._bundle, self._limits, role)[1]
        return self._models[role]

    def file(self, path: str) -> bytes:
        """See Assets."""
        try:
            return self._bundle.path(path).read_bytes()
        except (BundleError, OSError) as error:
            raise AssetMissing(f"bundle '{self._bundle.reference}': the agent needs {path!r}: {error}") from error

    def close(self) -> None:
        """Unloads every model. The agents made of them must not be used any more."""
        for model in self._models.values():
            model.close()
        self._models.clear()
