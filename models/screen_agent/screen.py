"""A screen that is worked through the product's own X11 connector: look, act, wait until it has come to rest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.desktop.protocol import Step as DesktopStep
from runtime.desktop.x11.desktop import X11Desktop
from runtime.evaluation.xserver import XServer
from runtime.wire.actions import INPUTS, Action, Move, Wait
from runtime.wire.tables import Outcome

ANSWER_S = 0.15
QUIET_S = 0.045
SETTLE_S = 1.5
POLL_S = 0.008


class Screen:
    """A server that runs, between `connect` and `close`. `folder` holds the connector's state."""

    def __init__(self, server: XServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._seq = 0
        self.desktop: X11Desktop

    def connect(self) -> None:
        """Takes the display. Raises what X11Desktop does."""
        self.desktop = X11Desktop(self._server.display, self._folder)

    def close(self) -> None:
        """Lets go of everything and of the display."""
        if hasattr(self, "desktop"):
            self.desktop.close()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._server.width, self._server.height

    @property
    def is_over(self) -> bool:
        """Returns whether nothing more will come: waiting for rest ends at once."""
        return False

    def park(self) -> None:
        """Moves the pointer out of the way, so that nothing is hovered."""
        self.desktop.apply(Move(self._server.width - 2, self._server.height - 2), None, self._step())

    def frame(self) -> NDArray[np.uint8]:
        """Returns what is seen now, uint8 (height, width, 4); good until the next call."""
        return self.desktop.capture(0).pixels

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
        while loop.time() - began < most_s and not self.is_over:
            if self.desktop.drain():
                self.desktop.capture(0)
                answered, quiet_since = True, loop.time()
            elif loop.time() - quiet_since > (QUIET_S if answered else answer_s):
                return
            await asyncio.sleep(POLL_S)

    def _step(self) -> DesktopStep:
        self._seq += 1
        return DesktopStep(1, 1, self._seq)
