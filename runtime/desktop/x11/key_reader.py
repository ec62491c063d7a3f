"""Whether the program that gets the keys is past those that were pressed: seen from when its process runs and sleeps.

    pressed ─► the program is woken ─► reads the keys, and the map for them ─► has nothing more to do: it sleeps
                   runs, or waits for a core, or is stopped: not yet            for some looks on end: it has read them

X tells nobody how far a program has read. But a program with unread events does not sleep in its main thread, however
slow the machine is. So: its main thread has run since the press, and then slept through `LOOKS` looks of ours without
being scheduled once. Each look comes after a round trip of ours, so a program that waits for an answer of the server
(it reads the map that way) has had the chance to get it.

Who never rests (an animation) or does not run at all (its keys are read in another thread, its process is on another
machine) is given a second; who waits for a core or is stopped is waited for, as long as it gets somewhere.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import xcffib
import xcffib.res

from kernels.gate.word import boottime_ns
from runtime.desktop.x11.connection import Connection

UNTOLD_NS = 1_000_000_000  # given to programs whose sleep says nothing
STALLED_NS = 30_000_000_000  # a program that did not run at all for so long is not just slow
BUSY_NS = 120_000_000_000  # one that never rests, and would have to wait for a core at that, has its own affairs
LOOKS, QUIET_NS = 4, 20_000_000
SLEEPS = "S"
_STARVED_SHARE = 0.2  # of the looks found it waiting for a core, or stopped
_PID = 2
_STATUS = re.compile(
    r"^State:\s+(\w).*?^voluntary_ctxt_switches:\s+(\d+)\s+nonvoluntary_ctxt_switches:\s+(\d+)", re.M | re.S
)


class Seen(NamedTuple):
    """A main thread at one look: its state ("S" sleeps), and how often it was scheduled so far."""

    state: str
    scheduled: int


@dataclass
class Unread:
    """Keys that a process was given and may not have read: when the last was pressed, how it was just before."""

    pressed_ns: int
    before: Seen | None
    last: Seen | None = None
    quiet: int = 0
    quiet_ns: int = 0
    ran_ns: int = 0  # when it was last seen to have run
    looks: int = 0
    starved: int = 0

    def is_over(self, seen: Seen | None, now_ns: int) -> bool:
        """Takes in one look. Returns whether the keys were read. Raises TimeoutError: see have_read."""
        age_ns = now_ns - self.pressed_ns
        if seen is None:
            return age_ns >= UNTOLD_NS
        self.looks += 1
        self.starved += seen.state != SLEEPS
        if seen.state == SLEEPS and seen == self.last:
            self.quiet += 1
        else:
            self.quiet, self.quiet_ns = 0, now_ns
        if self.last is None or seen.scheduled != self.last.scheduled:
            self.ran_ns = now_ns
        self.last = seen
        if seen != self.before and self.quiet >= LOOKS and now_ns - self.quiet_ns >= QUIET_NS:
            return True
        if self.starved <= _STARVED_SHARE * self.looks:
            return age_ns >= UNTOLD_NS
        if now_ns - self.ran_ns > STALLED_NS or age_ns > BUSY_NS:
            raise TimeoutError(f"it could not run, or did not rest, for {age_ns / 1e9:.0f} s")
        return False


class KeyReader:
    """The programs that were given keys on the server of `connection`. `proc` is for the tests."""

    def __init__(self, connection: Connection, proc: Path = Path("/proc")) -> None:
        self._connection = connection
        self._proc = proc
        extension = connection.asking(lambda: connection.core.QueryExtension(10, "X-Resource").reply())
        self._has_pids = bool(extension.present)
        self._mask = ~int(connection.conn.setup.resource_id_mask)
        self._unread: dict[int, Unread] = {}  # by process, 0 if it is not known
        self.pressed_ns = 0

    def press(self) -> None:
        """Keys are about to be pressed, for whoever has the focus."""
        pid, self.pressed_ns = self._focus(), boottime_ns()
        self._unread[pid] = Unread(self.pressed_ns, self._look(pid))

    def have_read(self) -> bool:
        """Returns whether all keys were read by who got them. To be asked every few ms, after they were pressed.

        Raises TimeoutError, once, for a program that did not run for 30 s, or did not rest for two minutes.
        """
        if self._unread:
            self._connection.sync()
        for pid, unread in list(self._unread.items()):
            try:
                if not unread.is_over(self._look(pid), boottime_ns()):
                    return False
            except TimeoutError as error:
                del self._unread[pid]
                raise TimeoutError(f"process {pid} does not read its keys: {error}") from None
            del self._unread[pid]
        return True

    def _look(self, pid: int) -> Seen | None:
        """Returns how the main thread of `pid` is, None if that says nothing."""
        if not pid or pid == os.getpid():
            return None
        try:
            found = _STATUS.search((self._proc / str(pid) / "status").read_text())
        except OSError:
            return None
        return None if found is None else Seen(found[1], int(found[2]) + int(found[3]))

    def _focus(self) -> int:
        """Returns the process that gets the keys, 0 if none does or the server does not know."""
        core = self._connection.core
        window = int(self._connection.asking(lambda: core.GetInputFocus().reply()).focus)
        if window == xcffib.xproto.InputFocus.PointerRoot:
            window = int(self._connection.asking(lambda: core.QueryPointer(self._connection.root).reply()).child)
        return self._pid(window) if window and self._has_pids else 0

    def _pid(self, window: int) -> int:
        res: Any = xcffib.res
        spec = res.ClientIdSpec.synthetic(window & self._mask, _PID)
        try:
            reply = self._connection.asking(lambda: self._connection.conn(res.key).QueryClientIds(1, [spec]).reply())
        except xcffib.ProtocolException:  # it has just ended
            return 0
        return next((int(found.value[0]) for found in reply.ids if len(found.value)), 0)
