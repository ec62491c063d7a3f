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
from runtime.desktop.episodes import Box
from runtime.desktop.protocol import Step as DesktopStep
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.desktop import X11Desktop
from runtime.evaluation.chromium import Chromium
from runtime.evaluation.miniwob import Finish, MiniwobDriver, Started
from runtime.evaluation.xserver import XServer
from runtime.wire.actions import INPUTS, Action, Move, Wait
from runtime.wire.tables import Outcome

WINDOW = (480, 420)  # CSS pixels
TIME_LIMIT_S = 90.0
ANSWER_S = 0.15
QUIET_S = 0.045
SETTLE_S = 1.5
POLL_S = 0.008


class Workplace:
    """A context manager. What is seen is the upper left part of the window, as large as the look says."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._x = XServer(round(WINDOW[0] * scale), round(WINDOW[1] * scale))
        self._folder = tempfile.TemporaryDirectory(prefix="idlehands-recorder-")
        self._seq = 0
        self._size = (0, 0)
        self._finish: asyncio.Task[Finish] | None = None

    async def __aenter__(self) -> Workplace:
        self._x.__enter__()
        self.browser = await Chromium.start(self._x.display, *WINDOW, scale=self.scale)
        self.driver = MiniwobDriver(self.browser)
        self.desktop = X11Desktop(self._x.display, Path(self._folder.name))
        self._asking = Connection(self._x.display)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finish is not None:
            self._finish.cancel()
        self._asking.close()
        self.desktop.close()
        await self.browser.close()
        self._x.__exit__(None, None, None)
        self._folder.cleanup()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames of this episode, in pixels."""
        return self._size

    async def begin(self, seed: str, look: Look) -> Started:
        """Starts an episode with this look; returns when it is drawn and nothing moves any more."""
        self._size = (round(look.width * self.scale), round(look.height * self.scale))
        self.desktop.apply(Move(self._x.width - 2, self._x.height - 2), None, self._step())  # nothing is hovered
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

    async def apply(self, action: Action) -> bool:
        """Does `action`; returns whether it was done."""
        if isinstance(action, Wait):
            await asyncio.sleep(action.ms / 1000)
            return True
        assert isinstance(action, INPUTS)
        applied = await asyncio.to_thread(self.desktop.apply, action, None, self._step())
        return applied.outcome == Outcome.applied

    async def settle(self, answer_s: float = ANSWER_S, most_s: float = SETTLE_S) -> None:
        """Waits until the screen has answered and come to rest, or until it is plain that it will not."""
        loop = asyncio.get_running_loop()
        began = quiet_since = loop.time()
        answered = False
        while loop.time() - began < most_s and self.finish is None:
            if self.desktop.drain():
                self.desktop.capture(0)
                answered, quiet_since = True, loop.time()
            elif loop.time() - quiet_since > (QUIET_S if answered else answer_s):
                return
            await asyncio.sleep(POLL_S)

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

    def _step(self) -> DesktopStep:
        self._seq += 1
        return DesktopStep(1, 1, self._seq)
