"""Waiting for what a display shows: a program's own word that it has painted is not enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from runtime.evaluation.shown import REST_S, looking_at
from runtime.evaluation.xserver import XServer
from tests.desktop.x_client import XClient

pytestmark = pytest.mark.desktop


@pytest.fixture
def client() -> Iterator[tuple[str, XClient]]:
    with XServer(120, 80) as server:
        program = XClient(server.display)
        yield server.display, program
        program.close()


def test_it_waits_until_the_screen_has_changed(client: tuple[str, XClient]) -> None:
    display, program = client

    async def paint_later() -> None:
        await asyncio.sleep(0.1)
        program.paint(10, 10, 5, 5, (255, 0, 0))

    async def wait() -> tuple[bytes, bytes]:
        with looking_at(display) as screen:
            before = await screen.at_rest(5.0)
            painting = asyncio.create_task(paint_later())
            await screen.changed(before, 5.0)
            assert painting.done()
            return before, screen.seen()

    before, after = asyncio.run(wait())
    assert before != after


def test_a_screen_that_stays_the_same_or_never_rests_is_not_waited_for_without_end(client: tuple[str, XClient]) -> None:
    display, program = client

    async def paint_on() -> None:
        for shade in range(1000):
            program.paint(10, 10, 5, 5, (shade % 256, 0, 0))
            await asyncio.sleep(REST_S / 10)

    async def wait() -> float:
        with looking_at(display) as screen:
            began_s = time.monotonic()
            await screen.changed(screen.seen(), 0.1)
            painting = asyncio.create_task(paint_on())
            await screen.at_rest(0.3)
            assert not painting.done()
            painting.cancel()
            return time.monotonic() - began_s

    assert asyncio.run(wait()) >= 0.4
