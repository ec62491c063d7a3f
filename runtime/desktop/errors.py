"""What a user can meet at a desktop.

RuntimeFault
└── DesktopError
    ├── DisplayUnreachable      no DISPLAY, refused, not local
    ├── DisplayUnsuitable       an extension is missing, pixels are not 32-bit BGRX
    ├── DisplayTaken            another connector works this display
    ├── DesktopLost             the display went away in the middle
    ├── StateFolderError        the state folder cannot be written, or is held by another connector
    ├── LimitsError             the file of limits is wrong
    ├── LogError                the session log is damaged, or was altered
    └── SessionError
        ├── SessionRefused      the desktop did not accept the hello
        └── SessionLost         the link or the desktop went away; the last action may be unknown
"""

from __future__ import annotations

from typing import ClassVar

from runtime.errors import RuntimeFault


class DesktopError(RuntimeFault):
    """The desktop cannot be captured or worked."""


class DisplayUnreachable(DesktopError):
    """There is no X server at the display that was named, or it refused the connection."""

    next_step: ClassVar[str] = "set DISPLAY (or --display) to a running local X server that this user may use"


class DisplayUnsuitable(DesktopError):
    """The X server lacks an extension that capture or injection needs, or shows other than 32-bit BGRX pixels."""

    next_step: ClassVar[str] = "run the connector beside an X server with MIT-SHM, DAMAGE, XFIXES, XTEST and XInput 2"


class DisplayTaken(DesktopError):
    """Another connector works this display: two would press keys into each other's actions."""

    next_step: ClassVar[str] = "stop the other connector (`idlehands desktop`) on this display first"


class DesktopLost(DesktopError):
    """The display went away while it was worked: the X server ended, or ended our connection."""

    next_step: ClassVar[str] = (
        "start the connector again when the display is back: it knows how far the last action came"
    )


class StateFolderError(DesktopError):
    """The connector's state folder cannot be written, is damaged, or is held by another connector."""

    next_step: ClassVar[str] = "name a folder of this connector's own that it may write (--state)"


class LimitsError(DesktopError):
    """The file of limits is not TOML, or a limit is unknown or out of range. The connector does not start."""

    next_step: ClassVar[str] = "correct the file; runtime/desktop/limits.py lists every limit"


class LogError(DesktopError):
    """The session log is damaged, was altered, or is not signed by the key that was named."""

    next_step: ClassVar[str] = "keep the file as it is: records before the first bad one are still good"


class SessionError(DesktopError):
    """The session with a desktop ended, or did not begin."""


class SessionRefused(SessionError):
    """The desktop answered the hello with a refusal."""

    next_step: ClassVar[str] = "see the reason; with another owner's session open, wait until it has ended"


class SessionLost(SessionError):
    """The link to the desktop broke or fell silent; an action that was under way is unknown until the next hello."""

    next_step: ClassVar[str] = "connect again: the desktop's hello tells what became of the last action"
