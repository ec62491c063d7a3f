"""A screen agent's bundle as its parts, for what learns on from one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.agent.screen_agent import DECIDER, READER
from runtime.errors import RuntimeFault
from runtime.store.bundle import checked_parts, open_source
from runtime.store.manifest import Manifest, decode_manifest


class OtherKind(RuntimeFault):
    """The bundle is not a screen agent's."""

    next_step = "name one with --base or --begun-with"


@dataclass(frozen=True)
class Parts:
    """A bundle's manifest and files, their hashes checked."""

    manifest: Manifest
    files: dict[str, bytes]

    def of_role(self, role: str) -> bytes:
        return self.files[self.manifest.models[role].file]


def read_bundle(path: Path) -> Parts:
    """Reads a screen agent's bundle. Raises BundleError, OtherKind for one of another kind."""
    with open_source(path) as source:
        data, _ = source.head()
        manifest = decode_manifest(data)
        files = {entry.path: b"".join(checked_parts(manifest, entry, parts)) for entry, parts in source.files(manifest)}
    if manifest.kind != "screen_agent" or not {DECIDER, READER} <= set(manifest.models):
        raise OtherKind(f"{path} is a bundle of kind '{manifest.kind}'; only a screen_agent learns from demonstrations")
    return Parts(manifest, files)
