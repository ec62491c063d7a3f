"""Words to systemd (sd_notify(3)): READY=1, WATCHDOG=1, STATUS=..., STOPPING=1. Silent without NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends datagrams to the service manager; `watchdog_ns` is half its limit, 0 where it does not watch."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        is_for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period_us = environment.get("WATCHDOG_USEC", "0")
        self.watchdog_ns = int(period_us) * 500 if is_for_us and period_us.isdigit() else 0

    def send(self, *words: str) -> None:
        """Sends the words; a manager that is not there or does not listen is no reason to stop."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
            notifier.setblocking(False)
            try:
                notifier.sendto("\n".join(words).encode(), self._address)
            except OSError:
                return
