"""The same desktop, other VNC servers: x11vnc over Xvfb, and a Qt program that is its own server (no X at all)."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.frames.tiles import hash_region
from runtime.desktop.protocol import Step
from runtime.desktop.rfb.desktop import RfbDesktop
from runtime.desktop.rfb.handshake import Login
from runtime.desktop.rfb.link import RfbRefused
from runtime.desktop.x11.capture import Capture
from runtime.desktop.x11.connection import Connection
from runtime.wire.actions import Click, Hold, Key, Precondition, Type
from runtime.wire.tables import Outcome, Refusal
from tests.desktop.test_keyboard import wait_until
from tests.desktop.x_client import XClient

pytestmark = pytest.mark.desktop
needs_x11vnc = pytest.mark.skipif(shutil.which("x11vnc") is None, reason="no x11vnc (apt-get install x11vnc)")
needs_qt = pytest.mark.skipif(
    importlib.util.find_spec("PySide6") is None, reason="no PySide6-Essentials (make test-desktops installs it)"
)
STEP = Step(1, 1, 1)
PASSWORD = "geheim"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def x11vnc(display: str, x_client: XClient, tmp_path: Path) -> Iterator[str]:
    """Returns the address of an x11vnc that shows `display`."""
    port = free_port()
    (tmp_path / "password").write_text(PASSWORD + "\n")
    command = ["x11vnc", "-display", display, "-rfbport", str(port), "-localhost", "-shared", "-forever", "-quiet"]
    command += ["-passwdfile", str(tmp_path / "password"), "-noxrecord", "-noipv6", "-wait", "5", "-defer", "5"]
    environment = {key: value for key, value in os.environ.items() if key != "WAYLAND_DISPLAY"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        wait_until(lambda: answers(port))
        yield f"127.0.0.1:{port}"
        process.kill()  # asked to end, it sometimes waits for ever for a lock of its own


@needs_x11vnc
def test_x11vnc_is_looked_at_and_worked(x11vnc: str, display: str, x_client: XClient) -> None:
    desktop = RfbDesktop(x11vnc, Login(PASSWORD))
    random = np.random.default_rng(1)
    for x, y, w, h, *colour in random.integers(0, [280, 180, 60, 60, 256, 256, 256], (30, 7)).tolist():
        x_client.paint(x, y, w + 1, h + 1, tuple(colour))
    connection = Connection(display)
    truth = Capture(connection, bytes(16)).capture(0)
    connection.close()
    wait_until(lambda: bool((desktop.capture(0).pixels[..., :3] == truth.pixels[..., :3]).all()))
    region = (70, 70, 10, 10)
    seen = Precondition(*region, hash_region(desktop.capture(0).pixels, *region, bytes(16)))
    assert desktop.apply(Click(75, 75), seen, STEP).outcome is Outcome.applied
    desktop.apply(Type("aB1"), None, STEP)
    desktop.apply(Key("ctrl+a"), None, STEP)
    events: list[tuple[str, str, int, int]] = []

    def arrived() -> bool:
        events.extend(x_client.events())
        return len([event for event in events if event[0] == "release" and event[1] == "97"]) >= 2

    wait_until(arrived)
    pressed = [what for kind, what, *_ in events if kind == "press"]
    assert pressed[:2] == ["button 1", "97"]
    assert [what for what in pressed if int(what.split()[-1]) < 0xFE00][1:] == ["97", "66", "49", "97"]
    x_client.paint(*region, (1, 2, 3))
    wait_until(lambda: desktop.capture(0).pixels[75, 75, :3].tolist() == [1, 2, 3])
    refused = desktop.apply(Click(75, 75), seen, STEP)
    assert (refused.outcome, refused.reason) == (Outcome.refused, Refusal.changed_pixels)
    desktop.close()


@needs_x11vnc
def test_x11vnc_lets_go_of_what_a_lost_viewer_held(x11vnc: str, x_client: XClient) -> None:
    desktop = RfbDesktop(x11vnc, Login(PASSWORD))
    desktop.apply(Hold("shift"), None, STEP)
    keys = x_client.core.QueryKeymap
    wait_until(lambda: any(bytes(keys().reply().keys.buf())))
    desktop.close()
    wait_until(lambda: not any(bytes(keys().reply().keys.buf())))


@needs_x11vnc
def test_x11vnc_wants_its_password(x11vnc: str) -> None:
    with pytest.raises(RfbRefused, match="refused"):
        RfbDesktop(x11vnc, Login("wrong"))


QT_PROGRAM = """
import json, sys
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLineEdit, QPushButton, QVBoxLayout, QWidget
app = QApplication(sys.argv)
window = QWidget()
window.setWindowFlags(Qt.FramelessWindowHint)
layout = QVBoxLayout(window)
field, button = QLineEdit(), QPushButton("Send")
for widget in (field, button):
    widget.setMinimumHeight(80)
    layout.addWidget(widget)
def tell(**said):
    print(json.dumps(said), flush=True)
button.clicked.connect(lambda: tell(clicked=field.text()))
window.setGeometry(0, 0, 400, 300)
window.show()
app.processEvents()
where = {name: [w.x() + w.width() // 2, w.y() + w.height() // 2] for name, w in (("field", field), ("button", button))}
tell(where=where)
app.exec()
"""


@needs_qt
def test_a_qt_program_that_serves_itself_is_filled_in_and_sent() -> None:
    """Qt's platform plugin `vnc`: RFB 3.3, no X server."""
    port = free_port()
    environment = {**os.environ, "QT_QPA_PLATFORM": f"vnc:size=400x300:port={port}"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", QT_PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None

        def told() -> dict[str, Any]:
            line = process.stdout.readline()  # type: ignore[union-attr]
            assert line, "the Qt program ended"
            return dict(json.loads(line))

        where = told()["where"]
        wait_until(lambda: answers(port))
        desktop = RfbDesktop(f"127.0.0.1:{port}")
        assert desktop.size == (400, 300)
        wait_until(lambda: len(np.unique(desktop.capture(0).pixels[..., :3].reshape(-1, 3), axis=0)) > 3)
        desktop.apply(Click(*where["field"]), None, STEP)
        before = desktop.capture(0)
        desktop.apply(Type("Hello Ann 1"), None, STEP)
        wait_until(lambda: desktop.capture(0).frame_id > before.frame_id)
        desktop.apply(Click(*where["button"]), None, STEP)
        assert told() == {"clicked": "Hello Ann 1"}
        desktop.close()
        process.terminate()


HOLDER = """
import sys, time
from runtime.desktop.protocol import Step
from runtime.desktop.rfb.desktop import RfbDesktop
from runtime.desktop.rfb.handshake import Login
from runtime.desktop.rfb.watchdog import RfbWatchdog
from runtime.wire.actions import Hold
login = Login(sys.argv[2])
watchdog = RfbWatchdog(sys.argv[1], login)
desktop = RfbDesktop(sys.argv[1], login, on_hold=watchdog.hold)
watchdog.session_opened()
desktop.apply(Hold("shift"), None, Step(1, 1, 1))
print("held", flush=True)
while True:
    watchdog.beat()
    time.sleep(0.2)
"""


@needs_x11vnc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_connector_that_dies_or_stops_leaves_nothing_pressed(x11vnc: str, x_client: XClient, number: int) -> None:
    """On a server that does not let go of a lost viewer's keys by itself: the watchdog connects and does."""
    keys = x_client.core.QueryKeymap
    command = [sys.executable, "-c", HOLDER, x11vnc, PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            wait_until(lambda: any(bytes(keys().reply().keys.buf())))
            process.send_signal(number)
            wait_until(lambda: not any(bytes(keys().reply().keys.buf())))
        finally:
            process.kill()
