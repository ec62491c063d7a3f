"""One X server with one Chromium, worked through the product's own X11 connector: where demonstrations are made.

Workplace.start(scale) ─► open(task) ─► begin(seed, look) ─► frame() / apply(action) / settle() ─► finished
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from xcffib.xproto import MapState

from models.screen_agent.looks import Look, apply_script
from models.screen_agent.screen import Screen
from runtime.desktop.episodes import Box
from runtime.desktop.x11.connection import Connection
from runtime.evaluation.chromium import Chromium
from runtime.evaluation.miniwob import Finish, MiniwobDriver, Started
from runtime.evaluation.xserver import XServer

WINDOW = (480, 420)  # CSS pixels
TIME_LIMIT_S = 90.0


class Workplace(Screen):
    """A context manager. What is seen is the upper left part of the window, as large as the look says."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._x = XServer(round(WINDOW[0] * scale), round(WINDOW[1] * scale))
        self._home = tempfile.TemporaryDirectory(prefix="idlehands-recorder-")
        super().__init__(self._x, Path(self._home.name))
        self._size = (0, 0)
        self._finish: asyncio.Task[Finish] | None = None

    async def __aenter__(self) -> Workplace:
        self._x.__enter__()
        self.browser = await Chromium.start(self._x.display, *WINDOW, scale=self.scale)
        self.driver = MiniwobDriver(self.browser)
        self.connect()
        self._asking = Connection(self._x.display)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finish is not None:
            self._finish.cancel()
        self._asking.close()
        self.close()
        await self.browser.close()
        self._x.__exit__(None, None, None)
        self._home.cleanup()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames of this episode, in pixels."""
        return self._size

    @property
    def is_over(self) -> bool:
        """Returns whether the episode has ended."""
        return self.finish is not None

    async def begin(self, seed: str, look: Look) -> Started:
        """Starts an episode with this look; returns when it is drawn and nothing moves any more."""
        self._size = (round(look.width * self.scale), round(look.height * self.scale))
        self.park()
        await self.browser.evaluate(apply_script(look) + "; document.activeElement?.blur()")
        started = await self.driver.start(seed, max_time_s=TIME_LIMIT_S)
        if self._finish is not None:
            self._finish.cancel()
        self._finish = asyncio.ensure_future(self.driver.finished())
        await self.settle()
        return started

    @property
    def finish(self) -> Finish | None:
        """Returns how the episode ended, None while it runs."""
        return self._finish.result() if self._finish is not None and self._finish.done() else None

    def frame(self) -> NDArray[np.uint8]:
        """Returns what is seen now, uint8 (height, width, 4); good until the next call."""
        width, height = self._size
        return self.desktop.capture(0).pixels[:height, :width]

    def popups(self) -> list[Box]:
        """Returns the boxes of windows above the page, such as the list of a drop-down field."""
        core, found = self._asking.core, []
        for window in self._asking.core.QueryTree(self._asking.root).reply().children:
            attributes = core.GetWindowAttributes(window).reply()
            if attributes.override_redirect and attributes.map_state == MapState.Viewable:
                at = core.GetGeometry(window).reply()
                if at.width > 8 and at.height > 8:
                    found.append((at.x, at.y, at.width, at.height))
        return found
