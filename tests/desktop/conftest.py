"""A real X server for the tests of this folder, and the desktops that the contract is run over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.desktop.memory import MemoryDesktop, MemoryScreen
from runtime.desktop.x11.desktop import X11Desktop
from runtime.evaluation.xserver import XServer
from tests.desktop.x_client import XClient

WIDTH, HEIGHT = 300, 200  # ragged tiles on both edges


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    with XServer(WIDTH, HEIGHT) as server:
        yield server.display


@pytest.fixture
def x_client(display: str) -> Iterator[XClient]:
    client = XClient(display)
    yield client
    client.close()


@pytest.fixture
def x_desktop(display: str, x_client: XClient, tmp_path: Path) -> Iterator[X11Desktop]:
    desktop = X11Desktop(display, tmp_path)
    yield desktop
    desktop.close()


class Rig:
    """A desktop of any kind with a program on it: `paint` is the program's, `events` what it was told."""

    def __init__(self, desktop: Any, program: Any) -> None:
        self.desktop = desktop
        self._program = program

    def paint(self, x: int, y: int, w: int, h: int, colour: tuple[int, int, int]) -> None:
        self._program.paint(x, y, w, h, colour)

    def events(self) -> list[tuple[str, str, int, int]]:
        if isinstance(self._program, XClient):
            return self._program.events()
        told, self._program.events[:] = list(self._program.events), []
        return [(event.kind, event.what, event.x, event.y) for event in told]


@pytest.fixture(params=["memory", pytest.param("x11", marks=pytest.mark.desktop)])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "memory":
        screen = MemoryScreen(WIDTH, HEIGHT)
        desktop = MemoryDesktop(screen)
        yield Rig(desktop, screen)
        desktop.close()
    else:
        client = request.getfixturevalue("x_client")
        yield Rig(request.getfixturevalue("x_desktop"), client)
