"""RFB against a real VNC server (TigerVNC's Xvnc), and against servers that do not mean well."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kernels.frames.tiles import hash_region
from runtime.desktop.errors import DesktopLost, DisplayUnreachable
from runtime.desktop.protocol import Step
from runtime.desktop.rfb.decode import _Tiles
from runtime.desktop.rfb.desktop import RfbDesktop
from runtime.desktop.rfb.handshake import Login
from runtime.desktop.rfb.link import RfbRefused
from runtime.desktop.x11.capture import Capture
from runtime.desktop.x11.connection import Connection
from runtime.wire.actions import Click, Drag, Hold, Key, Precondition, Scroll, Type
from runtime.wire.tables import Outcome, Refusal
from tests.desktop.test_keyboard import wait_until
from tests.desktop.x_client import XClient

STEP = Step(1, 1, 1)
PASSWORD = "pässword"
needs_xvnc = pytest.mark.skipif(shutil.which("Xvnc") is None, reason="no Xvnc (tigervnc-standalone-server)")


class Vnc:
    """Xvnc on a free port, with a program on its screen."""

    def __init__(self, folder: Path, security: str, *more: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        (folder / "password").write_bytes(response_file(PASSWORD))
        self.display, self.address = f":{self.port}", f"127.0.0.1:{self.port}"
        command = ["Xvnc", self.display, "-geometry", "300x200", "-depth", "24", "-rfbport", str(self.port)]
        command += ["-SecurityTypes", security, "-PasswordFile", str(folder / "password"), "-localhost", "yes"]
        self.process = subprocess.Popen([*command, "-AlwaysShared", *more], stderr=subprocess.DEVNULL)
        wait_until(lambda: Path(f"/tmp/.X11-unix/X{self.port}").exists() and self._listens())
        self.client = XClient(self.display)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()


def response_file(password: str) -> bytes:
    """Returns a password as VNC's own file has it: encrypted with a key that everybody knows."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    fixed = bytes(int(f"{byte:08b}"[::-1], 2) for byte in (23, 82, 107, 6, 35, 78, 88, 7))
    encryptor = Cipher(TripleDES(fixed * 3), modes.ECB()).encryptor()
    return encryptor.update(password.encode("latin-1")[:8].ljust(8, b"\0")) + encryptor.finalize()


@pytest.fixture
def vnc(tmp_path: Path) -> Iterator[Vnc]:
    vnc = Vnc(tmp_path, "None")
    yield vnc
    vnc.close()


@pytest.fixture
def desktop(vnc: Vnc) -> Iterator[RfbDesktop]:
    desktop = RfbDesktop(vnc.address)
    yield desktop
    desktop.close()


@needs_xvnc
@pytest.mark.desktop
def test_its_pixels_are_those_of_the_screen(vnc: Vnc, desktop: RfbDesktop) -> None:
    random = np.random.default_rng(1)
    for x, y, w, h, *colour in random.integers(0, [280, 180, 60, 60, 256, 256, 256], (60, 7)).tolist():
        vnc.client.paint(x, y, w + 1, h + 1, tuple(colour))
    connection = Connection(vnc.display)
    truth = Capture(connection, bytes(16)).capture(0)
    wait_until(lambda: bool((desktop.capture(0).pixels[..., :3] == truth.pixels[..., :3]).all()))
    assert (desktop.capture(0).hashes == truth.hashes).all()
    connection.close()


@needs_xvnc
@pytest.mark.desktop
def test_only_what_was_painted_has_changed(vnc: Vnc, desktop: RfbDesktop) -> None:
    before = desktop.capture(0)
    vnc.client.paint(70, 70, 4, 4, (1, 2, 3))
    wait_until(lambda: desktop.capture(0).frame_id > before.frame_id)
    assert np.argwhere(desktop.capture(before.frame_id).changed).tolist() == [[1, 1]]


@needs_xvnc
@pytest.mark.desktop
def test_actions_arrive(vnc: Vnc, desktop: RfbDesktop) -> None:
    events: list[tuple[str, str, int, int]] = []

    def arrived(count: int) -> bool:
        events.extend(vnc.client.events())
        return len([event for event in events if event[0] == "release"]) >= count

    desktop.apply(Click(33, 44, count=2), None, STEP)
    desktop.apply(Scroll(33, 44, 0, -1), None, STEP)
    desktop.apply(Drag(((10, 10), (90, 60))), None, STEP)
    desktop.apply(Key("ctrl+a"), None, STEP)
    wait_until(lambda: arrived(6))
    pressed = [what for kind, what, *_ in events if kind == "press"]
    assert pressed == ["button 1", "button 1", "button 4", "button 1", "65507", "97"]
    assert ("release", "button 1", 90, 60) in events


@needs_xvnc
@pytest.mark.desktop
def test_any_text_types_right(vnc: Vnc, desktop: RfbDesktop) -> None:
    desktop.apply(Type("ab1é€я"), None, STEP)
    typed = ""

    def arrived() -> bool:
        nonlocal typed
        typed += vnc.client.typed()
        return len(typed) >= 6

    wait_until(arrived)
    assert typed == "ab1é€я"


@needs_xvnc
@pytest.mark.desktop
def test_a_precondition_is_checked_against_the_newest_word(vnc: Vnc, desktop: RfbDesktop) -> None:
    region = (70, 70, 10, 10)
    condition = Precondition(*region, hash_region(desktop.capture(0).pixels, *region, bytes(16)))
    applied = desktop.apply(Click(75, 75), condition, STEP)
    assert applied.outcome is Outcome.applied
    assert applied.window_us > 0
    vnc.client.paint(*region, (1, 2, 3))
    refused = desktop.apply(Click(75, 75), condition, STEP)
    assert (refused.outcome, refused.reason) == (Outcome.refused, Refusal.changed_pixels)


@needs_xvnc
@pytest.mark.desktop
@pytest.mark.parametrize("way", ["release", "close"])
def test_nothing_stays_pressed(vnc: Vnc, desktop: RfbDesktop, way: str) -> None:
    desktop.apply(Hold("shift"), None, STEP)
    assert desktop.pressed() == {"shift"}
    keys = vnc.client.core.QueryKeymap
    wait_until(lambda: any(bytes(keys().reply().keys.buf())))
    if way == "release":
        desktop.release_all()
        assert desktop.pressed() == frozenset()
    else:
        desktop._link.close()  # as a crash would
    wait_until(lambda: not any(bytes(keys().reply().keys.buf())))


@needs_xvnc
@pytest.mark.desktop
def test_a_password_opens_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    vnc = Vnc(tmp_path, "VncAuth")
    try:
        RfbDesktop(vnc.address, Login(PASSWORD)).close()
        with pytest.raises(RfbRefused, match="wants a password"):
            RfbDesktop(vnc.address)
        with pytest.raises(RfbRefused, match="refused"):
            RfbDesktop(vnc.address, Login("wrong"))
    finally:
        vnc.close()


def test_no_server_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with pytest.raises(DisplayUnreachable, match="no VNC server answers"):
        RfbDesktop(f"127.0.0.1:{port}")


HELLO = b"RFB 003.003\n" + b"\0\0\0\1"
INIT = b"\0\x64\0\x32" + bytes(16) + b"\0\0\0\4test"
WHITE = b"\0\0\0\1" + b"\0\0\0\0\0\x64\0\x32\0\0\0\0" + b"\xff" * (100 * 50 * 4)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (b"SSH-2.0-OpenSSH\n" * 2, RfbRefused, "does not speak RFB 3"),
        (b"RFB 003.008\n\0" + b"\0\0\0\4busy", RfbRefused, "busy"),
        (b"RFB 003.008\n\1\x63", RfbRefused, "offers only the security types"),
        (b"RFB 003.008\n\1\1" + b"\0\0\0\1\0\0\0\2no", RfbRefused, "no"),
        (b"RFB 003.008\n\0\xff\xff\xff\xff", RfbRefused, "text of 4294967295"),
        (b"RFB 0", DesktopLost, "ended the connection"),
        (HELLO + INIT + b"\x63", DesktopLost, "unknown message 99"),
        (HELLO + INIT + b"\0\0\0\1" + b"\0\x60\0\0\0\x10\0\x10\0\0\0\0", DesktopLost, "rectangle 16x16"),
        (HELLO + INIT + b"\0\0\0\1" + b"\0\0\0\0\0\x10\0\x10\0\0\0\x63", DesktopLost, "encoding 99"),
        (HELLO + INIT + b"\0\0\0\1" + b"\0\0\0\0\0\x10\0\x10\0\0\0\x10\0\0\0\2xx", DesktopLost, "broken zlib"),
        (HELLO + INIT + b"\3\0\0\0\xff\xff\xff\xff", DesktopLost, "clipboard"),
    ],
)
def test_what_a_bad_server_gets(said: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        speak(said)


def test_a_server_of_version_3_3_that_sends_raw_pixels() -> None:
    assert speak(HELLO + INIT + WHITE) == (255, 255, 255)


def speak(said: bytes) -> tuple[int, ...]:
    """Returns a pixel of the screen that a server shows which says `said` and then nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(said)
                if not said.endswith(WHITE):
                    peer.shutdown(socket.SHUT_WR)
                while peer.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            desktop = RfbDesktop(f"127.0.0.1:{server.getsockname()[1]}")
            try:
                return tuple(desktop.capture(0).pixels[7, 7, :3].tolist())
            finally:
                desktop.close()
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\0" + bytes(range(12)), [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]),
        (b"\1\7\7\7", [[7, 7, 7]] * 4),
        (b"\2\1\1\1\2\2\2" + b"\x40\x80", [[1] * 3, [2] * 3, [2] * 3, [1] * 3]),
        (b"\x80\5\5\5\2\6\6\6\0", [[5] * 3] * 3 + [[6] * 3]),
        (b"\x82\1\1\1\2\2\2" + b"\x80\1\1\1", [[1] * 3, [1] * 3, [2] * 3, [2] * 3]),
    ],
)
def test_zrle_tiles(data: bytes, expected: list[list[int]]) -> None:
    assert _Tiles(data).tile(2, 2).reshape(-1, 3).tolist() == expected


@pytest.mark.parametrize("data", [b"", b"\x11", b"\1\7", b"\x80\5\5\5\xff\xff", b"\x82\1\1\1\2\2\2\x05"])
def test_broken_zrle_tiles_are_errors(data: bytes) -> None:
    with pytest.raises((IndexError, ValueError)):
        _Tiles(data).tile(2, 2)
