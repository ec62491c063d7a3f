"""What an agent is made of: the models and files of its bundle, handed in by the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from runtime.agent.errors import AssetMissing

if TYPE_CHECKING:
    from runtime.backends.protocol import Model


class Assets(Protocol):
    """Where an agent takes its parts from. Names are those in the bundle's manifest."""

    def model(self, name: str) -> Model:
        """Returns the loaded model of the file `name`; AssetMissing when the bundle has none of that name."""
        ...

    def file(self, name: str) -> bytes:
        """Returns the content of the file `name`; AssetMissing when the bundle has none of that name."""
        ...


class NoAssets:
    """For agents without models."""

    def model(self, name: str) -> Model:
        raise AssetMissing(f"the agent needs the model {name!r}, and no bundle was given")

    def file(self, name: str) -> bytes:
        raise AssetMissing(f"the agent needs the file {name!r}, and no bundle was given")
