"""The agents that can be made here, and the assets that each needs."""

from __future__ import annotations

from runtime.agent.assets import Assets, NoAssets


def kinds() -> list[str]:
    return ["block_clicker"]


def assets_for(kind: str) -> Assets:
    return NoAssets()
