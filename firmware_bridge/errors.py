"""Errors of the bridge: settings, sources, policy. See kernels/errors.py for the tree."""

from __future__ import annotations

from kernels.errors import IdlehandsError


class BridgeError(IdlehandsError):
    """The bridge cannot start, or a file handed to it is not what it must be."""
