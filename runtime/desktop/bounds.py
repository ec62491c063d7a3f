"""Whether an action, and the region that it depends on, lie on the screen."""

from __future__ import annotations

from runtime.wire.actions import Action, Click, Drag, Move, Precondition, Scroll
from runtime.wire.tables import Refusal


def out_of_bounds(action: Action, precondition: Precondition | None, size: tuple[int, int]) -> Refusal | None:
    """Returns the refusal of an action or region that leaves a screen of `size` (width, height), None if none does."""
    width, height = size
    points: tuple[tuple[int, int], ...] = action.path if isinstance(action, Drag) else ()
    if isinstance(action, Move | Click | Scroll):
        points = ((action.x, action.y),)
    if not all(0 <= x < width and 0 <= y < height for x, y in points):
        return Refusal.out_of_bounds
    if precondition is not None and not _is_inside(precondition, width, height):
        return Refusal.out_of_bounds
    return None


def _is_inside(region: Precondition, width: int, height: int) -> bool:
    x, y, w, h = region.x, region.y, region.w, region.h
    return x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height
