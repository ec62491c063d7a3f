"""The agents that can be made here, and the assets that each needs: the committed bundle, signed with a test's key."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from bench.ocr import BUNDLE, install
from runtime.agent.assets import Assets, NoAssets
from runtime.agent.protocol import AGENTS
from runtime.backends.protocol import Limits
from runtime.daemon.assets import BundleAssets

_FOLDER = tempfile.TemporaryDirectory(prefix="idlehands-tests-")  # goes with the process


def kinds() -> list[str]:
    return sorted(AGENTS)


@lru_cache(maxsize=4)
def bundle_assets(kind: str) -> BundleAssets:
    folder = Path(_FOLDER.name) / kind
    folder.mkdir()
    return BundleAssets(install(folder, BUNDLE.with_name(f"{kind}.ihb")), Limits())


def reader_assets() -> BundleAssets:
    return bundle_assets("text_reader")


def assets_for(kind: str) -> Assets:
    return NoAssets() if kind in ("block_clicker", "random_clicker") else bundle_assets(kind)
