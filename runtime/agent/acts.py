"""One action that was decided on, before it becomes a Decision."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.agent.geometry import Box
from runtime.wire.actions import Action, Click


@dataclass(frozen=True)
class Act:
    """`region` holds the pixels that the action depends on, None for one that depends on none."""

    action: Action
    region: Box | None = None
    confidence: float = 1.0


def click(box: Box, confidence: float = 1.0, *modifiers: str, count: int = 1) -> Act:
    """Returns a click on the middle of `box`, which must not have changed."""
    x, y = box.centre
    return Act(Click(x, y, count=count, modifiers=modifiers), box, min(1.0, max(0.0, confidence)))
