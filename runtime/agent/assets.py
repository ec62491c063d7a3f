"""What an agent is made of: the models and files of its bundle, handed in by the worker."""

from __future__ import annotations

from typing import Protocol

from runtime.agent.errors import AssetMissing
from runtime.backends.protocol import Model


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
