"""Errors of the runtime that a user can meet. See kernels/errors.py for the tree; each room adds its own branch."""

from __future__ import annotations

from kernels.errors import IdlehandsError


class RuntimeFault(IdlehandsError):
    """A part of the runtime cannot do what it was asked; nothing was changed."""
