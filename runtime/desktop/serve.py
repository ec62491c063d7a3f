"""The connector of an X display with all that belongs to it: state folder, desktop, watchdog, people, listener."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from runtime.desktop.connector import Events, serve_desktop
from runtime.desktop.journal import Journal
from runtime.desktop.limits import DesktopRules, load_rules
from runtime.desktop.log import SessionLog
from runtime.desktop.watchdog import Watchdog
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.desktop import X11Desktop
from runtime.desktop.x11.person import PersonWatch
from runtime.desktop.x11.windows import Windows
from runtime.transport.identity import Identity

LIMITS_FILE = "limits.toml"


async def serve_display(
    display: str | None,
    listen_url: str,
    identity: Identity | None,
    state_folder: str | os.PathLike[str],
    events: Events,
    *,
    limits_path: str | os.PathLike[str] | None = None,
) -> None:
    """Serves the X display (None: $DISPLAY) at `listen_url` until it is cancelled; `events` as in connector.Connector.

    The owner's limits are read from `limits_path`, else from limits.toml in the state folder if that is there. The
    folder is taken first: two connectors on one folder would release each other's keys. Raises LimitsError, and what
    Journal, X11Desktop, Watchdog and serve_desktop raise.
    """
    path = Path(state_folder) / LIMITS_FILE if limits_path is None else Path(limits_path)
    rules = load_rules(path) if limits_path is not None or path.exists() else DesktopRules()
    with ExitStack() as held:
        journal = held.enter_context(closing(Journal(state_folder)))
        log = held.enter_context(closing(SessionLog(journal.folder)))

        def tell(event: dict[str, Any]) -> None:
            log.append(event)
            events(event)

        desktop = held.enter_context(closing(X11Desktop(display, journal.folder)))
        watchdog = held.enter_context(closing(Watchdog(desktop.display, desktop.pressed_list.path)))
        people = held.enter_context(
            closing(PersonWatch(Connection(display), desktop.own_events, rules.takeover.rules()))
        )
        windows = Windows(held.enter_context(closing(Connection(display))))
        await serve_desktop(
            desktop,
            listen_url,
            identity,
            journal,
            tell,
            guard=watchdog,
            people=people,
            rules=rules,
            window_of=windows.at,
        )
