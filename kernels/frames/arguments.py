"""Checks that the faces of the frame kernels share: frames, keys, the variants, and what a closed gate raises."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.common.native import not_built
from kernels.gate.word import GateClosed, GateToken

try:
    from kernels.frames import _frames
except ImportError as error:  # pragma: no cover - only without a build
    raise not_built("kernels.frames._frames", error) from error

native = _frames  # the faces take the doorway from here, so that an absent build is told once and well
Frame = NDArray[np.uint8]  # BGRX (h, w, 4): the pixels of a row lie together, rows may be any stride apart


def available_variants() -> tuple[str, ...]:
    """Returns the names of the variants that this CPU can run, from `scalar` to the best."""
    return _frames.available_variants()


def active_variant() -> str:
    """Returns the name of the variant that runs when none is asked for."""
    return available_variants()[-1]


def check_frame(frame: Any) -> Frame:
    """Returns `frame` if it is BGRX uint8 (h, w, 4) and the pixels of a row lie together.

    Raises TypeError or ValueError otherwise.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        got = f"{frame.dtype} array" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise TypeError(f"a frame is a uint8 array (h, w, 4) of BGRX pixels, got {got}")
    if frame.ndim != 3 or frame.shape[2] != 4 or 0 in frame.shape:
        raise ValueError(f"a frame is a uint8 array (h, w, 4) of BGRX pixels, got the shape {frame.shape}")
    if frame.strides[1:] != (4, 1):
        raise ValueError(
            f"the pixels of a row must lie together (strides (any, 4, 1)), got {frame.strides}; "
            "cut columns from a frame with `frame[:, x:x+w]`, not with a step, or copy it"
        )
    return frame


def gate_address(gate: GateToken | None) -> int:
    """Returns the address that kernels take: 0 is not gated."""
    return 0 if gate is None else gate.address


def raise_if_preempted(status: int) -> None:
    """Raises GateClosed if a kernel returned IH_PREEMPTED."""
    if status:
        raise GateClosed
