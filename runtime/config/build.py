"""The three packages must be of one build: PyPI has another `kernels`, and half an upgrade is no upgrade."""

from __future__ import annotations

import importlib

from runtime.errors import RuntimeFault

PACKAGES = ("kernels", "firmware_bridge", "runtime")


class MixedBuild(RuntimeFault):
    """kernels, firmware_bridge and runtime are not of one build, or one of them is another project's package."""

    next_step = "install idlehands into a venv of its own: 'make venv', or 'pip install --force-reinstall idlehands'"


def build_ids() -> dict[str, str]:
    """Returns {package: build id}; "none" where a package carries none."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = str(importlib.import_module(f"{package}._build_id").BUILD_ID)
        except ImportError:
            found[package] = "none"
    return found


def require_one_build() -> str:
    """Returns the build id that the three packages share. Raises MixedBuild."""
    found = build_ids()
    if len(set(found.values())) != 1 or "none" in found.values():
        raise MixedBuild("builds differ: " + ", ".join(f"{package} {build}" for package, build in found.items()))
    return found["runtime"]
