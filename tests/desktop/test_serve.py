"""The whole connector as users run it: a process beside a real X server, reached over TLS, killed in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.desktop.errors import DisplayTaken, DisplayUnreachable, SessionLost, StateFolderError
from runtime.desktop.remote import RemoteDesktop
from runtime.desktop.serve import serve_display
from runtime.evaluation.recorder import Recorder, compare
from runtime.transport.dial import dial
from runtime.transport.identity import Identity
from runtime.wire.actions import Action, Click, Drag, Hold, Precondition, Type
from runtime.wire.tables import Outcome, Refusal
from tests.desktop.test_keyboard import wait_until
from tests.desktop.test_watchdog import keys_down
from tests.desktop.x_client import XClient

pytestmark = pytest.mark.desktop
SERVE = """
import asyncio, json, sys
from pathlib import Path
from runtime.desktop.serve import serve_display
from runtime.transport.identity import Identity
display, folder = sys.argv[1], Path(sys.argv[2])
tell = lambda event: print(json.dumps(event), flush=True)
asyncio.run(serve_display(display, "tls://127.0.0.1:0", Identity.load(folder / "desktop"), folder / "state", tell))
"""


class Served:
    """A connector process for a display, and a car that it trusts."""

    def __init__(self, display: str, folder: Path) -> None:
        self.display, self.folder = display, folder
        desktop = Identity.create(folder / "desktop", "desktop")
        self.car = Identity.create(folder / "car", "car")
        desktop.trust(self.car.certificate_pem)
        self.car.trust(desktop.certificate_pem)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, self.display, str(self.folder)], stdout=subprocess.PIPE, text=True
        )
        self.address = self.until("listening")["address"]

    def until(self, name: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name:
                return event
        raise AssertionError(f"the connector ended with {self.process.wait()} before {name!r}")

    def end(self, number: int) -> None:
        os.kill(self.process.pid, number)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def session(self, story: Callable[[RemoteDesktop], Awaitable[None]], owner_epoch: int = 1) -> None:
        async def tell() -> None:
            stream = await dial(self.address, self.car)
            async with await RemoteDesktop.connect(stream, job="job", owner_epoch=owner_epoch) as remote:
                await remote.next_frame()
                await story(remote)

        asyncio.run(asyncio.wait_for(tell(), 30))


@pytest.fixture
def served(display: str, x_client: XClient, tmp_path: Path) -> Iterator[Served]:
    served = Served(display, tmp_path)
    yield served
    if served.process.poll() is None:
        served.end(signal.SIGKILL)
    elif served.process.stdout is not None:
        served.process.stdout.close()


def test_a_session_over_tls_sees_acts_and_is_recorded(
    served: Served, display: str, x_client: XClient, tmp_path: Path
) -> None:
    applied: list[Action] = []

    async def story(remote: RemoteDesktop) -> None:
        condition = Precondition(0, 0, 64, 64, remote.hash_region(0, 0, 64, 64))
        for action in (Click(10, 10), Type("héllo " * 20), Drag(((5, 5), (60, 60)))):
            result = await remote.act(action, condition)
            assert result.outcome is Outcome.applied
            applied.append(action)
        x_client.paint(0, 0, 64, 64, (1, 2, 3))
        refused = await remote.act(Click(10, 10), condition)
        assert (refused.outcome, refused.reason) == (Outcome.refused, Refusal.changed_pixels)

    with Recorder(display, tmp_path / "events.jsonl") as recorder:
        served.session(story)
        comparison = compare(recorder.stop(), applied)
    assert (comparison.doubled, comparison.missing, comparison.asked) == (0, 0, 122)


def test_a_killed_connector_lets_go_and_its_successor_knows_what_was_done(
    served: Served, display: str, x_client: XClient, tmp_path: Path
) -> None:
    async def killed(remote: RemoteDesktop) -> None:
        await remote.act(Hold("shift"))
        assert keys_down(x_client) == 1
        served.end(signal.SIGKILL)
        with pytest.raises(SessionLost):
            await remote.act(Click(1, 1))

    served.session(killed)
    wait_until(lambda: keys_down(x_client) == 0)
    served.start()

    async def after(remote: RemoteDesktop) -> None:
        assert (remote.hello.last_seq, remote.hello.last_outcome) == (1, Outcome.applied)
        assert (await remote.act(Click(1, 1))).seq == 2

    served.session(after, owner_epoch=2)


@pytest.mark.parametrize("seed", range(4))
def test_an_action_under_way_at_a_kill_is_told_truly(served: Served, display: str, tmp_path: Path, seed: int) -> None:
    """The connector is killed at some moment of a stream of clicks; the recorder says what really happened."""
    sent: list[Action] = []

    async def stream_of_clicks(remote: RemoteDesktop) -> None:
        try:
            for number in range(10_000):
                sent.append(Click(number % 300, 10))
                if number == 40 + 7 * seed:
                    asyncio.get_running_loop().call_later(0.0003 * seed, served.end, signal.SIGKILL)
                await remote.act(sent[-1])
        except SessionLost:
            return

    with Recorder(display, tmp_path / "events.jsonl") as recorder:
        served.session(stream_of_clicks)
        served.start()
        known: list[tuple[int, Outcome]] = []

        async def ask(remote: RemoteDesktop) -> None:
            known.append((remote.hello.last_seq, remote.hello.last_outcome))

        served.session(ask, owner_epoch=2)
        recorded = recorder.stop()
    ((last_seq, outcome),) = known
    assert last_seq in (len(sent), len(sent) - 1)
    assert outcome is not Outcome.unknown
    applied = sent[: last_seq - (outcome is not Outcome.applied)]
    comparison = compare(recorded, applied)
    assert (comparison.doubled, comparison.missing) == (0, 0)


def test_a_second_connector_is_an_error(served: Served, display: str, tmp_path: Path) -> None:
    def ignore(event: dict[str, Any]) -> None:
        raise AssertionError(event)

    with pytest.raises(StateFolderError, match="held by another connector"):
        asyncio.run(serve_display(display, "tls://127.0.0.1:0", served.car, tmp_path / "state", ignore))
    with pytest.raises(DisplayTaken, match="another connector works display"):
        asyncio.run(serve_display(display, "tls://127.0.0.1:0", served.car, tmp_path / "other", ignore))


def test_no_display_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(DisplayUnreachable, match="DISPLAY is not set"):
        asyncio.run(serve_display(None, "tls://127.0.0.1:0", None, tmp_path, print))
    with pytest.raises(DisplayUnreachable, match="':9999'"):
        asyncio.run(serve_display(":9999", "tls://127.0.0.1:0", None, tmp_path, print))
