"""What an action does to the input devices, counted: for whoever compares a recording with what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.wire.actions import Action, Click, Drag, Key, Scroll, Type


@dataclass(frozen=True, slots=True)
class Inputs:
    """Presses of pointer buttons, in order and by number, and how many presses of keys other than modifiers."""

    buttons: tuple[int, ...] = ()
    keys: int = 0


def inputs_of(action: Action) -> Inputs:
    """Returns the presses that `action` makes when it is applied wholly, once."""
    if isinstance(action, Click):
        return Inputs(buttons=(int(action.button),) * action.count)
    if isinstance(action, Drag):
        return Inputs(buttons=(int(action.button),))
    if isinstance(action, Scroll):
        down = (5 if action.dy > 0 else 4,) * abs(action.dy)
        return Inputs(buttons=down + (7 if action.dx > 0 else 6,) * abs(action.dx))
    if isinstance(action, Type):
        return Inputs(keys=len(action.text))
    return Inputs(keys=1) if isinstance(action, Key) else Inputs()


def presses(action: Action) -> tuple[str, ...]:
    """Returns the presses of `action` in words ("button 1", "key"): which ones, and nothing of what was typed."""
    inputs = inputs_of(action)
    return tuple(f"button {button}" for button in inputs.buttons) + ("key",) * inputs.keys
