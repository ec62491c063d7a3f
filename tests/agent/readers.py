"""The agents that can be made here, and the assets that each needs: the committed bundle, signed with a test's key."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from bench.ocr import install
from runtime.agent.assets import Assets, NoAssets
from runtime.agent.protocol import AGENTS
from runtime.backends.protocol import Limits
from runtime.daemon.assets import BundleAssets

_FOLDER = tempfile.TemporaryDirectory(prefix="idlehands-tests-")  # goes with the process


def kinds() -> list[str]:
    return sorted(AGENTS)


@lru_cache(maxsize=1)
def reader_assets() -> BundleAssets:
    return BundleAssets(install(Path(_FOLDER.name)), Limits())


def assets_for(kind: str) -> Assets:
    return NoAssets() if kind in ("block_clicker", "random_clicker") else reader_assets()
