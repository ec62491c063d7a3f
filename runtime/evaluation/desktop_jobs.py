"""Jobs on real applications: how each is started, what is asked for, and the effect that proves it.

    galculator   the clipboard          mousepad, xterm, gnumeric   a file
    Tk, Qt       what the form saved    zenity (GTK)                what the dialog returned
    Chromium     what the server of a web form was sent

An effect is looked at after the agent has said that it is done; what the screen shows proves nothing.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.evaluation.chromium import FLAGS, find_chromium

APPLICATIONS = Path(__file__).parent / "applications"
SMALL, LARGE = (800, 600), (1920, 1080)
EFFECT_WAIT_S = 3.0


@dataclass
class Scene:
    """Where a job plays: a display, an empty folder, and the process of the application."""

    display: str
    folder: Path
    size: tuple[int, int]

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "DISPLAY": self.display,
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "GTK_THEME": "Adwaita",
            "NO_AT_BRIDGE": "1",
            "QT_QPA_PLATFORM": "xcb",
            "LANG": "C.UTF-8",
        }

    def run(self, *command: str) -> str:
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=10, check=False).stdout


@dataclass(frozen=True)
class DesktopJob:
    """One job. `command` starts the application, `effect` says whether what was asked for has happened.

    `serves`: a context around the job, for what the application talks to. `needs` are programs, `modules` what the
    system's Python must import.
    """

    name: str
    instruction: str
    command: Callable[[Scene], tuple[str, ...]]
    effect: Callable[[Scene], bool]
    needs: tuple[str, ...]
    modules: tuple[str, ...] = ()
    size: tuple[int, int] = SMALL
    before: Callable[[Scene], None] = lambda scene: None
    serves: Callable[[Scene], contextlib.AbstractContextManager[None]] = lambda scene: contextlib.nullcontext()
    steps: int = 1  # clicks and texts that a person needs, for the keystroke-level model

    def missing(self) -> list[str]:
        """Returns what of `needs` and `modules` is not installed."""
        lacking = [name for name in self.needs if shutil.which(name) is None]
        for module in self.modules:
            found = subprocess.run(["/usr/bin/python3", "-c", f"import {module}"], capture_output=True, check=False)
            if found.returncode:
                lacking.append(f"the module {module} of /usr/bin/python3")
        return lacking


def _json(path: Path) -> dict[str, object]:
    try:
        told: dict[str, object] = json.loads(path.read_text())
        return told
    except (OSError, ValueError):
        return {}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _clipboard_after_copying(scene: Scene) -> str:
    """Has the application in front copy what it shows, and returns the clipboard."""
    from runtime.desktop.protocol import Step
    from runtime.desktop.x11.desktop import X11Desktop
    from runtime.wire.actions import Key

    desktop = X11Desktop(scene.display, scene.folder)
    try:
        desktop.apply(Key("ctrl+c"), None, Step(1, 1, 1))
        time.sleep(0.5)
        return scene.run("xclip", "-selection", "clipboard", "-o").strip()
    finally:
        desktop.close()


def _sheet(scene: Scene) -> None:
    (scene.folder / "sheet.csv").write_text("Month,Income,Costs\nMay,100,70\nJune,120,80\nJuly,90,60\n")
    scene.run("ssconvert", str(scene.folder / "sheet.csv"), str(scene.folder / "sheet.gnumeric"))


def _cell(scene: Scene, row: int, column: int) -> str:
    """Returns the content of a cell of the saved sheet, counted from 0."""
    path = scene.folder / "sheet.gnumeric"
    raw = path.read_bytes() if path.exists() else b""
    with contextlib.suppress(OSError, EOFError):
        raw = gzip.decompress(raw)
    found = re.search(rf'<gnm:Cell Row="{row}" Col="{column}"[^>]*>([^<]*)<', raw.decode("utf-8", "replace"))
    return found.group(1) if found else ""


class _Booking(http.server.BaseHTTPRequestHandler):
    """The server of the web form: gives the page, writes down what it is sent."""

    folder = Path()

    def do_GET(self) -> None:
        body = (APPLICATIONS / "booking.html").read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", "0")), 1 << 16)
        (self.folder / "booked.json").write_bytes(self.rfile.read(length))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def _booking_server(scene: Scene) -> Iterator[None]:
    handler = type("Booking", (_Booking,), {"folder": scene.folder})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    (scene.folder / "port").write_text(str(server.server_address[1]))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _browser(scene: Scene) -> tuple[str, ...]:
    flags = [flag for flag in FLAGS if flag != "--remote-debugging-pipe"]
    width, height = scene.size
    return (
        find_chromium(), *flags, f"--user-data-dir={scene.folder / 'profile'}", f"--window-size={width},{height}",
        f"http://127.0.0.1:{(scene.folder / 'port').read_text()}/",
    )  # fmt: skip


JOBS = (
    DesktopJob(
        "calculator",
        'Press "7", then "8", then "+", then "5", then "=".',
        lambda scene: ("galculator",),
        lambda scene: _clipboard_after_copying(scene) == "83",
        needs=("galculator", "xclip"),
        steps=5,
    ),
    DesktopJob(
        "editor",
        'Type "meeting at noon" into the text and press Ctrl+S.',
        lambda scene: ("mousepad", "--disable-server", str(scene.folder / "note.txt")),
        lambda scene: "meeting at noon" in _text(scene.folder / "note.txt"),
        needs=("mousepad",),
        before=lambda scene: (scene.folder / "note.txt").touch(),
        steps=3,
    ),
    DesktopJob(
        "terminal",
        'Type "echo ready > state.txt" into the terminal and press Enter.',
        lambda scene: ("xterm", "-geometry", "80x24+40+40", "-e", "sh"),
        lambda scene: _text(scene.folder / "state.txt") == "ready\n",
        needs=("xterm",),
        steps=2,
    ),
    DesktopJob(
        "tk-form",
        'Enter "Ann Miller" as Name, enter "Oslo" as City, tick "Newsletter" and press "Save".',
        lambda scene: ("/usr/bin/python3", str(APPLICATIONS / "tk_form.py"), str(scene.folder / "saved.json")),
        lambda scene: _json(scene.folder / "saved.json") == {"Name": "Ann Miller", "City": "Oslo", "Newsletter": True},
        needs=("/usr/bin/python3",),
        modules=("tkinter",),
        steps=6,
    ),
    DesktopJob(
        "qt-form",
        'Enter "blue lamp" as Product, enter "12" as Quantity, tick "Express delivery" and press "Order now".',
        lambda scene: ("/usr/bin/python3", str(APPLICATIONS / "qt_form.py"), str(scene.folder / "saved.json")),
        lambda scene: (
            _json(scene.folder / "saved.json") == {"Product": "blue lamp", "Quantity": "12", "Express delivery": True}
        ),
        needs=("/usr/bin/python3",),
        modules=("PyQt5.QtWidgets",),
        steps=6,
    ),
    DesktopJob(
        "gtk-dialog",
        'Enter "north gate" into the text field and press "OK".',
        lambda scene: (
            "sh",
            "-c",
            f"zenity --entry --title Address --text 'Where to?' > {scene.folder}/answer; echo $? > {scene.folder}/code",
        ),
        lambda scene: (_text(scene.folder / "answer"), _text(scene.folder / "code")) == ("north gate\n", "0\n"),
        needs=("zenity",),
        steps=3,
    ),
    DesktopJob(
        "web-form-1080p",
        'Enter "Ann Miller" as Name, enter "3" as Guests, check "Breakfast" and press "Book".',
        _browser,
        lambda scene: _json(scene.folder / "booked.json") == {"Name": "Ann Miller", "Guests": "3", "Breakfast": True},
        needs=("chromium",),
        size=LARGE,
        serves=_booking_server,
        steps=6,
    ),
    DesktopJob(
        "spreadsheet",
        "Click the cell that shows 120, type 135, press Enter and then press Ctrl+S.",
        lambda scene: ("gnumeric", str(scene.folder / "sheet.gnumeric")),
        lambda scene: _cell(scene, 2, 1) == "135",
        needs=("gnumeric", "ssconvert"),
        size=(1000, 700),
        before=_sheet,
        steps=4,
    ),
)


def has_effect(job: DesktopJob, scene: Scene) -> bool:
    """Returns whether the effect is there, waiting some seconds for what an application still has to write."""
    until_s = time.monotonic() + EFFECT_WAIT_S
    while not job.effect(scene):
        if time.monotonic() > until_s:
            return False
        time.sleep(0.2)
    return True
