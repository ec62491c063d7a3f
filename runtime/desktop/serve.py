"""The connector of an X display with all that belongs to it: state folder, desktop, watchdog, people, listener."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing

from runtime.desktop.connector import Events, serve_desktop
from runtime.desktop.journal import Journal
from runtime.desktop.takeover import TakeoverRules
from runtime.desktop.watchdog import Watchdog
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.desktop import X11Desktop
from runtime.desktop.x11.person import PersonWatch
from runtime.transport.identity import Identity


async def serve_display(
    display: str | None,
    listen_url: str,
    identity: Identity | None,
    state_folder: str | os.PathLike[str],
    events: Events,
    *,
    takeover_rules: TakeoverRules | None = None,
) -> None:
    """Serves the X display (None: $DISPLAY) at `listen_url` until it is cancelled; `events` as in connector.Connector.

    The state folder is taken first: two connectors on one folder would release each other's keys. Raises what
    Journal, X11Desktop, Watchdog and serve_desktop raise.
    """
    rules = takeover_rules or TakeoverRules()
    with ExitStack() as held:
        journal = held.enter_context(closing(Journal(state_folder)))
        desktop = held.enter_context(closing(X11Desktop(display, journal.folder)))
        watchdog = held.enter_context(closing(Watchdog(desktop.display, desktop.pressed_list.path)))
        people = held.enter_context(closing(PersonWatch(Connection(display), desktop.own_events, rules)))
        await serve_desktop(
            desktop,
            listen_url,
            identity,
            journal,
            events,
            guard=watchdog,
            people=people,
            takeover_rules=rules,
        )
