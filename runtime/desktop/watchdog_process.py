"""Starts the process of a watchdog: it hears its connector over a socket, and says when it is ready."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence

from runtime.desktop.errors import DesktopError

READY = b"r"
_START_S = 30.0  # a machine that is stalled is no reason to work it without one


def start(
    module: str, arguments: Sequence[str], what: str, greeting: bytes = b""
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Runs `module` with `arguments` and the number of its socket, and sends it `greeting`; returns the connector's end
    and the process once that is ready. Raises DesktopError, naming `what` it watches, if it does not come up."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the terminal is for the connector
        )
    ours.settimeout(_START_S)
    try:
        ours.sendall(greeting)
        word = ours.recv(1)
    except TimeoutError:
        process.kill()
        word = b""
    except OSError:  # it has ended already
        word = b""
    if word != READY:
        ours.close()
        raise DesktopError(
            f"the watchdog for {what} ended with code {process.wait()} at its start"
            f" (one that is not ready after {_START_S:g} s is ended)",
            next_step="see its message above; without it a crash could leave keys pressed",
        )
    ours.settimeout(None)
    return ours, process
