"""The connector of an X display with all that belongs to it: the desktop, its watchdog, the session's link."""

from __future__ import annotations

import os
from pathlib import Path

from kernels.gate.word import boottime_ns
from runtime.desktop.connector import Events, serve_desktop
from runtime.desktop.errors import StateFolderError
from runtime.desktop.pressed import PressedList
from runtime.desktop.watchdog import Watchdog
from runtime.desktop.x11.desktop import X11Desktop
from runtime.transport.identity import Identity


class WatchdogGuard:
    """The watchdog process as the connector's guard: its heartbeat is a field of the pressed list."""

    def __init__(self, watchdog: Watchdog, pressed: PressedList) -> None:
        self._watchdog, self._pressed = watchdog, pressed

    def session_opened(self) -> None:
        """The heartbeat is watched from now on."""
        self._watchdog.session_opened()

    def session_closed(self) -> None:
        """Nothing is pressed any more."""
        self._watchdog.session_closed()

    def beat(self) -> None:
        """The connector's loop runs."""
        self._pressed.heartbeat_ns = boottime_ns()


async def serve_display(
    display: str | None, listen_url: str, identity: Identity, state_folder: str | os.PathLike[str], events: Events
) -> None:
    """Serves the X display (None: $DISPLAY) at `listen_url` until it is cancelled; `events` as in connector.Connector.

    Raises what X11Desktop, Watchdog and serve_desktop raise.
    """
    folder = Path(state_folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateFolderError(f"{folder} cannot be made: {error.strerror}") from error
    desktop = X11Desktop(display, folder)
    try:
        watchdog = Watchdog(desktop.display, desktop.pressed_list.path)
        try:
            guard = WatchdogGuard(watchdog, desktop.pressed_list)
            await serve_desktop(desktop, listen_url, identity, folder, events, guard=guard)
        finally:
            watchdog.close()
    finally:
        desktop.close()
