"""Which window an action would go to: names of the window at a point, or of the one with the keyboard's focus."""

from __future__ import annotations

import xcffib
from xcffib.xproto import Atom, GetPropertyType

from runtime.desktop.x11.connection import Connection

_NAME_WORDS = 256
_POINTER_ROOT = 1


class Windows:
    """Names of the windows of the server of `connection`. Questions cost some round trips each: for limits only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._title = connection.atom("_NET_WM_NAME")

    def at(self, point: tuple[int, int] | None) -> frozenset[str]:
        """Returns classes and titles of every window from the top at `point` (None: with the focus) to the root."""
        core, root = self._connection.core, self._connection.root
        try:
            if point is None:
                focus = core.GetInputFocus().reply().focus
                if focus == _POINTER_ROOT:
                    pointer = core.QueryPointer(root).reply()
                    return self.at((pointer.root_x, pointer.root_y))
                return self._upwards(focus)
            names: set[str] = set()
            window = root
            while window:
                window = core.TranslateCoordinates(root, window, *point).reply().child
                if window:
                    names |= self._names(window)
            return frozenset(names)
        except xcffib.Error:
            return frozenset()  # it went away while we asked: what is not known is not allowed

    def _upwards(self, window: int) -> frozenset[str]:
        names: set[str] = set()
        while window and window != self._connection.root:
            names |= self._names(window)
            window = self._connection.core.QueryTree(window).reply().parent
        return frozenset(names)

    def _names(self, window: int) -> set[str]:
        names = set()
        for atom in (Atom.WM_CLASS, Atom.WM_NAME, self._title):
            reply = self._connection.core.GetProperty(False, window, atom, GetPropertyType.Any, 0, _NAME_WORDS).reply()
            raw = bytes(reply.value.buf()) if reply.value_len else b""
            names |= {part.decode("utf-8", "replace") for part in raw.split(b"\0") if part}
        return names
