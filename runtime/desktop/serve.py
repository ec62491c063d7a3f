"""A connector with all that belongs to it.

an X display    state folder, desktop, watchdog, people, windows, listener
a VNC server    state folder, desktop, listener: nobody stands beside it, nobody's hands can be told apart there
"""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from runtime.config.config import Desktop as DesktopSettings
from runtime.desktop.connector import Events, serve_desktop
from runtime.desktop.errors import DisplayUnreachable, LimitsError
from runtime.desktop.journal import Journal
from runtime.desktop.limits import DesktopRules, load_rules
from runtime.desktop.log import SessionLog
from runtime.desktop.rfb.desktop import RfbDesktop
from runtime.desktop.rfb.handshake import Login
from runtime.desktop.rfb.watchdog import RfbWatchdog
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
    require_grant: bool = False,
) -> None:
    """Serves the X display (None: $DISPLAY) at `listen_url` until it is cancelled; `events` as in connector.Connector.

    The owner's limits are read from `limits_path`, else from limits.toml in the state folder if that is there. The
    folder is taken first: two connectors on one folder would release each other's keys. Raises LimitsError, and what
    Journal, X11Desktop, Watchdog and serve_desktop raise.
    """
    rules = _rules(limits_path, Path(state_folder))
    with ExitStack() as held:
        journal = held.enter_context(closing(Journal(state_folder)))
        log = held.enter_context(closing(SessionLog(journal.folder)))

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
            _logged(log, events),
            guard=watchdog,
            people=people,
            rules=rules,
            window_of=windows.at,
            require_grant=require_grant,
        )


async def serve_rfb(
    settings: DesktopSettings,
    identity: Identity | None,
    events: Events,
    *,
    limits_path: str | os.PathLike[str] | None = None,
) -> None:
    """Serves the VNC server `settings.rfb` until it is cancelled; otherwise as `serve_display`.

    Raises what that does, and DisplayUnreachable or RfbRefused for the server. Limits on windows are refused: a VNC
    server names none.
    """
    rules = _rules(limits_path, settings.state)
    if rules.limits.windows:
        raise LimitsError("limits.windows cannot be held on a VNC desktop: it names no windows")
    login = Login(
        password=_password(settings.rfb_password_file),
        user=settings.rfb_user,
        certificate=_certificate(settings.rfb_certificate),
    )
    with ExitStack() as held:
        journal = held.enter_context(closing(Journal(settings.state)))
        log = held.enter_context(closing(SessionLog(journal.folder)))
        watchdog = held.enter_context(closing(RfbWatchdog(settings.rfb, login)))
        desktop = held.enter_context(
            closing(RfbDesktop(settings.rfb, login, jpeg_quality=settings.rfb_jpeg_quality, on_hold=watchdog.hold))
        )
        await serve_desktop(
            desktop,
            settings.listen,
            identity,
            journal,
            _logged(log, events),
            guard=watchdog,
            rules=rules,
            require_grant=settings.require_grant,
        )


def _rules(limits_path: str | os.PathLike[str] | None, state_folder: Path) -> DesktopRules:
    path = state_folder / LIMITS_FILE if limits_path is None else Path(limits_path)
    return load_rules(path) if limits_path is not None or path.exists() else DesktopRules()


def _logged(log: SessionLog, events: Events) -> Events:
    def tell(event: dict[str, Any]) -> None:
        log.append(event)
        events(event)

    return tell


def _password(path: str) -> str | None:
    if not path:
        return None
    return _read(path, "the VNC password's file").split("\n", 1)[0].rstrip("\r")


def _certificate(path: str) -> str:
    return _read(path, "the VNC server's certificate") if path else ""


def _read(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DisplayUnreachable(f"{what} {path} cannot be read: {error}", next_step="name a readable file") from error
