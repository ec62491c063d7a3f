"""The connector of an X display with all that belongs to it: state folder, desktop, watchdog, listener."""

from __future__ import annotations

import os

from runtime.desktop.connector import Events, serve_desktop
from runtime.desktop.journal import Journal
from runtime.desktop.watchdog import Watchdog
from runtime.desktop.x11.desktop import X11Desktop
from runtime.transport.identity import Identity


async def serve_display(
    display: str | None,
    listen_url: str,
    identity: Identity | None,
    state_folder: str | os.PathLike[str],
    events: Events,
) -> None:
    """Serves the X display (None: $DISPLAY) at `listen_url` until it is cancelled; `events` as in connector.Connector.

    The state folder is taken first: two connectors on one folder would release each other's keys. Raises what
    Journal, X11Desktop, Watchdog and serve_desktop raise.
    """
    journal = Journal(state_folder)
    try:
        desktop = X11Desktop(display, journal.folder)
        try:
            watchdog = Watchdog(desktop.display, desktop.pressed_list.path)
            try:
                await serve_desktop(desktop, listen_url, identity, journal, events, guard=watchdog)
            finally:
                watchdog.close()
        finally:
            desktop.close()
    finally:
        journal.close()
