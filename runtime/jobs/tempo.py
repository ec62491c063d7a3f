"""Whether a run is worth its while: its time against what a person would need for the same actions.

    person's time   keystroke-level model: think once, point and click, press a key, home on the keyboard
                    Card, Moran and Newell, CACM 23 (1980)

A run that is slower than FLOOR times a person is handed on: somebody else, or a person, does it sooner. Only the run's
own time counts: not what a wait was meant to take, nor while a person has the desktop.
"""

from __future__ import annotations

from runtime.wire.actions import Action, Click, Drag, Hold, Key, Move, Release, Scroll, Type

THINK_S, CLICK_S, KEY_S, HOME_S = 1.35, 1.3, 0.2, 0.8  # seconds
FLOOR = 1.5  # times a person
JUDGED_AFTER_S = 20.0  # of a run's own time: a start that loads models is not held against it


def person_s(action: Action) -> float:
    """Returns how long a person would need for one action, by the keystroke-level model, without thinking."""
    if isinstance(action, Type):
        return HOME_S + KEY_S * len(action.text)
    if isinstance(action, Key | Hold | Release):
        return KEY_S
    if isinstance(action, Drag):
        return 2 * CLICK_S
    return CLICK_S if isinstance(action, Click | Move | Scroll) else 0.0


class Tempo:
    """One run's own time beside a person's, action by action."""

    def __init__(self) -> None:
        self.own_s, self.person_s = 0.0, THINK_S

    def acted(self, action: Action, own_s: float) -> None:
        """Notes an action that was carried out and the time from the look to the screen's answer."""
        self.own_s += own_s
        self.person_s += person_s(action)

    @property
    def is_too_slow(self) -> bool:
        return self.own_s > JUDGED_AFTER_S and self.own_s > FLOOR * self.person_s

    def said(self) -> str:
        """Returns what a job that is handed on says."""
        return (
            f"this run needs {self.own_s / self.person_s:.1f} times as long as a person would "
            f"({self.own_s:.0f} s for what takes a person {self.person_s:.0f} s): please go on with it"
        )
