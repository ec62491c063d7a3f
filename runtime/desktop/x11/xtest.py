"""XTest events as values, and sending them. Stands apart because the watchdog needs only this of injection."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from runtime.desktop.pressed import PressedList
from runtime.desktop.x11.connection import Connection

KEY_PRESS, KEY_RELEASE, BUTTON_PRESS, BUTTON_RELEASE, MOTION = 2, 3, 4, 5, 6
_CORE = 0


class Event(NamedTuple):
    """One XTest event. `delay_ms` passes in the server before it; x and y are for motion only."""

    kind: int
    detail: int
    x: int = 0
    y: int = 0
    delay_ms: int = 0


def queue_events(connection: Connection, events: list[Event]) -> None:
    """Queues `events`; the next flush or question of the connection sends them."""
    fake_input, root = connection.xtest.FakeInput, connection.root
    for kind, detail, x, y, delay_ms in events:
        fake_input(kind, detail, delay_ms, root, x, y, _CORE)


def release_listed(
    connection: Connection, pressed: PressedList, announce: Callable[[list[Event]], None] = lambda events: None
) -> bool:
    """Lets go of everything in `pressed` through `connection` and clears it. Returns whether anything was listed.

    `announce` is told before, as the watch for people has to know that it was us.
    """
    keys, buttons = pressed.held_keys(), pressed.held_buttons()
    if not keys and not buttons:
        return False
    events = [Event(KEY_RELEASE, keycode) for keycode in keys] + [Event(BUTTON_RELEASE, button) for button in buttons]
    announce(events)
    queue_events(connection, events)
    connection.sync()
    pressed.clear()
    return True
