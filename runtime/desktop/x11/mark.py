"""The mark that a person sees: a bar at the top of the screen that says who has the desktop. Clicks go through it.

Drawn with rectangles alone: an X server need not have any font. Two upright bars: paused, a person works. A square:
stopped. While the agent works there is no mark, so that it never covers what the agent has to see.
"""

from __future__ import annotations

from typing import Any

from xcffib.xproto import CW, GC, RECTANGLE

from runtime.desktop.takeover import Holder
from runtime.desktop.x11.connection import Connection

_WIDTH, _HEIGHT = 96, 24
_COLOURS = {Holder.person: 0xE08A00, Holder.stopped: 0xC01818}
_SYMBOLS = {
    Holder.person: ((40, 5, 5, 14), (51, 5, 5, 14)),
    Holder.stopped: ((41, 5, 14, 14),),
}
_INPUT_SHAPE = 2
rectangle: Any = RECTANGLE.synthetic


class Mark:
    """The mark's window on the screen of `connection`, hidden until `show`."""

    def __init__(self, connection: Connection, screen_width: int) -> None:
        self._connection = connection
        core, new_id = connection.core, connection.conn.generate_id
        self._window, self._gc, region = new_id(), new_id(), new_id()
        left = max((screen_width - _WIDTH) // 2, 0)
        core.CreateWindow(0, self._window, connection.root, left, 0, _WIDTH, _HEIGHT, 0, 1, 0, CW.OverrideRedirect, [1])
        core.CreateGC(self._gc, self._window, 0, [])
        connection.xfixes.CreateRegion(region, 0, [])
        connection.xfixes.SetWindowShapeRegion(self._window, _INPUT_SHAPE, 0, 0, region)
        connection.xfixes.DestroyRegion(region)
        connection.flush()

    def show(self, holder: Holder) -> None:
        """Shows the mark of `holder`, above everything; none for the agent."""
        core = self._connection.core
        if holder is Holder.agent:
            core.UnmapWindow(self._window)
        else:
            core.ChangeWindowAttributes(self._window, CW.BackPixel, [_COLOURS[holder]])
            core.MapWindow(self._window)
            core.ConfigureWindow(self._window, 64, [0])  # stack mode: above
            core.ClearArea(False, self._window, 0, 0, 0, 0)
            core.ChangeGC(self._gc, GC.Foreground, [0xFFFFFF])
            symbol = [rectangle(*box) for box in _SYMBOLS[holder]]
            core.PolyFillRectangle(self._window, self._gc, len(symbol), symbol)
        self._connection.flush()
