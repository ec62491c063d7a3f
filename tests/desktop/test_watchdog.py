"""The watchdog: whatever becomes of the connector, nothing stays pressed and the desktop is not frozen."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.desktop.errors import DesktopError
from runtime.desktop.pressed import PressedList
from runtime.desktop.protocol import Phase, Step
from runtime.desktop.watchdog import Watchdog, watch
from runtime.desktop.x11.desktop import PRESSED_FILE, X11Desktop
from runtime.wire.actions import Hold
from runtime.wire.tables import Outcome
from tests.desktop.test_keyboard import wait_until
from tests.desktop.x_client import XClient

pytestmark = pytest.mark.desktop

# A connector that holds Shift, has lent a keycode, and then does what its last argument says.
CONNECTOR = """
import sys, time
from kernels.gate.word import boottime_ns
from runtime.desktop.protocol import Step
from runtime.desktop.watchdog import Watchdog
from runtime.desktop.x11.desktop import PRESSED_FILE, X11Desktop
from runtime.wire.actions import Hold, Type
display, folder, doing = sys.argv[1:]
desktop = X11Desktop(display, folder)
watchdog = Watchdog(display, f"{folder}/{PRESSED_FILE}")
desktop.pressed_list.heartbeat_ns = boottime_ns()
watchdog.session_opened()
desktop.apply(Type("Ж"), None, Step(1, 1, 1))
desktop.apply(Hold("shift"), None, Step(1, 1, 2))
if doing == "grab":
    desktop._injector._grab()
    desktop._injecting.sync()
print(watchdog.pid, flush=True)
while True:
    time.sleep(0.1)
    if doing == "beat":
        desktop.pressed_list.heartbeat_ns = boottime_ns()
"""


def keys_down(client: XClient) -> int:
    """Returns how many keys the server holds down."""
    return sum(bin(byte).count("1") for byte in bytes(client.core.QueryKeymap().reply().keys.buf()))


@pytest.fixture
def connector(display: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", CONNECTOR, display, str(tmp_path), getattr(request, "param", "beat")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()
        yield process
        process.kill()


def test_a_killed_connector_leaves_nothing_pressed_and_nothing_lent(
    connector: subprocess.Popen[bytes], x_client: XClient, tmp_path: Path
) -> None:
    assert keys_down(x_client) == 1
    os.kill(connector.pid, signal.SIGKILL)
    pressed = PressedList(tmp_path / PRESSED_FILE)
    wait_until(lambda: keys_down(x_client) == 0 and not pressed.lent())
    assert pressed.releases == 1
    assert 0x01000416 not in list(x_client.core.GetKeyboardMapping(8, 248).reply().keysyms)


@pytest.mark.parametrize("connector", ["beat", "stall"], indirect=True)
def test_a_stopped_connector_leaves_nothing_pressed(connector: subprocess.Popen[bytes], x_client: XClient) -> None:
    os.kill(connector.pid, signal.SIGSTOP)
    wait_until(lambda: keys_down(x_client) == 0)


@pytest.mark.parametrize("connector", ["grab"], indirect=True)
def test_a_connector_that_is_stopped_while_it_holds_the_server_loses_it(
    connector: subprocess.Popen[bytes], display: str, tmp_path: Path
) -> None:
    os.kill(connector.pid, signal.SIGSTOP)
    client = XClient(display)  # would wait for ever
    wait_until(lambda: keys_down(client) == 0)
    client.close()
    assert PressedList(tmp_path / PRESSED_FILE).cut_off == 1


def test_a_connector_that_beats_keeps_what_it_holds(
    connector: subprocess.Popen[bytes], x_client: XClient, tmp_path: Path
) -> None:
    pressed = PressedList(tmp_path / PRESSED_FILE)
    first = pressed.heartbeat_ns
    wait_until(lambda: pressed.heartbeat_ns - first > 1_500_000_000)
    assert keys_down(x_client) == 1
    assert pressed.releases == 0


def test_the_next_connector_lets_go_of_what_is_still_listed(display: str, x_client: XClient, tmp_path: Path) -> None:
    desktop = X11Desktop(display, tmp_path)
    desktop.apply(Hold("shift"), None, Step(1, 1, 1))
    for connection in desktop._connections:  # as if it and its watchdog had died together
        connection.close()
    desktop._connections.clear()
    assert keys_down(x_client) == 1
    again = X11Desktop(display, tmp_path)
    assert keys_down(x_client) == 0
    again.close()


def test_a_watchdog_that_was_killed_is_started_again(display: str, tmp_path: Path) -> None:
    PressedList(tmp_path / PRESSED_FILE)
    watchdog = Watchdog(display, tmp_path / PRESSED_FILE)
    first = watchdog.pid
    os.kill(first, signal.SIGKILL)
    watchdog._process.wait()
    watchdog.session_opened()
    assert watchdog.pid != first
    watchdog.close()


def test_a_watchdog_begins_when_the_one_before_it_has_let_go(
    display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / PRESSED_FILE
    PressedList(path)
    monkeypatch.setattr("runtime.desktop.watchdog_process._START_S", 1.0)
    with path.open("rb") as held:  # as one does that still releases what its killed connector had pressed
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DesktopError, match="not ready after 1 s"):
            Watchdog(display, path)
    monkeypatch.undo()
    Watchdog(display, path).close()


def test_a_connector_that_died_before_it_heard_its_watchdog_leaves_nothing_pressed(
    display: str, x_client: XClient, tmp_path: Path
) -> None:
    desktop = X11Desktop(display, tmp_path)
    desktop.apply(Hold("shift"), None, Step(1, 1, 1))
    ours, theirs = socket.socketpair()
    theirs.send(b"r")  # unread by us: the kernel says "reset", not "end", to the other side
    ours.close()
    with theirs:
        watch(theirs, desktop.pressed_list, desktop._releasing)
    assert keys_down(x_client) == 0
    desktop.close()


def test_a_watchdog_without_a_display_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DesktopError, match="ended with code 2"):
        Watchdog(":9999", tmp_path / PRESSED_FILE)
    assert "no X server answers at display ':9999'" in capfd.readouterr().err


def test_an_action_whose_connector_was_killed_is_told_by_the_server(
    connector: subprocess.Popen[bytes], display: str, tmp_path: Path
) -> None:
    os.kill(connector.pid, signal.SIGKILL)
    (tmp_path / "next").mkdir()
    desktop = X11Desktop(display, tmp_path / "next")
    mark = desktop.last_mark()
    assert mark is not None
    assert (mark.step, mark.phase) == (Step(1, 1, 2), Phase.ENDED)
    assert desktop.apply(Hold("shift"), None, Step(1, 1, 3)).outcome is Outcome.applied
    desktop.close()


def test_a_grab_of_a_killed_connector_is_not_held_against_the_next(
    connector: subprocess.Popen[bytes], display: str, tmp_path: Path
) -> None:
    os.kill(connector.pid, signal.SIGKILL)
    connector.wait()
    PressedList(tmp_path / PRESSED_FILE).grab_since_ns = 1
    desktop = X11Desktop(display, tmp_path)
    assert desktop.pressed_list.grab_since_ns == 0
    desktop.close()
