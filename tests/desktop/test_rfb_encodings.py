"""Every encoding gives the pixels of the screen; Tight also by hand, and broken; the screen's size; the cursor."""

from __future__ import annotations

import io
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xcffib.xproto
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from runtime.desktop.protocol import Step
from runtime.desktop.rfb import desktop as rfb_desktop
from runtime.desktop.rfb.decode import COPY, CURSOR, DESKTOP_SIZE, RAW, TIGHT, ZRLE
from runtime.desktop.rfb.desktop import RfbDesktop
from runtime.desktop.rfb.tight import Tight, ungradient
from runtime.desktop.x11.capture import Capture
from runtime.desktop.x11.connection import Connection
from runtime.wire.actions import Move
from tests.desktop.test_keyboard import wait_until
from tests.desktop.test_rfb import Vnc, needs_xvnc


@pytest.fixture
def vnc(tmp_path: Path) -> Iterator[Vnc]:
    vnc = Vnc(tmp_path, "None")
    yield vnc
    vnc.close()


def draw(vnc: Vnc) -> NDArray[np.uint8]:
    """Paints what each encoding has its own way for: flat areas, few colours, many. Returns the screen."""
    random = np.random.default_rng(1)
    vnc.client.paint(0, 0, 300, 200, (240, 240, 240))
    for x, y, w, h, *colour in random.integers(0, [280, 180, 60, 60, 256, 256, 256], (40, 7)).tolist():
        vnc.client.paint(x, y, w + 1, h + 1, tuple(colour))
    for x in range(0, 64):
        vnc.client.paint(x, 100, 1, 90, (4 * x, 255 - 4 * x, x))
    noise = random.integers(0, 256, (20, 40, 4), np.uint8)
    vnc.client.core.PutImage(2, vnc.client.window, vnc.client.gc, 40, 20, 200, 10, 0, 24, noise.size, noise.tobytes())
    vnc.client.sync()
    connection = Connection(vnc.display)
    try:
        return Capture(connection, bytes(16)).capture(0).pixels[..., :3].copy()
    finally:
        connection.close()


@needs_xvnc
@pytest.mark.desktop
@pytest.mark.parametrize("encoding", [RAW, COPY, ZRLE, TIGHT])
def test_the_pixels_are_exact(vnc: Vnc, monkeypatch: pytest.MonkeyPatch, encoding: int) -> None:
    monkeypatch.setattr(rfb_desktop, "encodings", lambda quality: (encoding, RAW, DESKTOP_SIZE, CURSOR))
    desktop = RfbDesktop(vnc.address)
    truth = draw(vnc)
    wait_until(lambda: bool((desktop.capture(0).pixels[..., :3] == truth).all()))
    desktop.close()


@needs_xvnc
@pytest.mark.desktop
def test_pictures_are_near_if_the_owner_wants_them(vnc: Vnc) -> None:
    truth = draw(vnc).astype(int)
    desktop = RfbDesktop(vnc.address, jpeg_quality=9)
    wait_until(lambda: bool(np.abs(desktop.capture(0).pixels[..., :3] - truth).mean() < 3))
    desktop.close()


@needs_xvnc
@pytest.mark.skipif(shutil.which("xrandr") is None, reason="apt-get install x11-xserver-utils")
@pytest.mark.desktop
def test_the_screen_changes_its_size(vnc: Vnc) -> None:
    """Both ways, while it is looked at and clicked."""
    desktop = RfbDesktop(vnc.address)
    for width, height in ((640, 480), (1024, 768), (640, 480)):
        subprocess.run(["xrandr", "--display", vnc.display, "-s", f"{width}x{height}"], check=True)
        wait_until(lambda wanted=(width, height): desktop.size == wanted)  # type: ignore[misc]
        frame = desktop.capture(0)
        assert frame.pixels.shape[1::-1] == (width, height)
        assert frame.changed.all()
        vnc.client.paint(1, 1, 8, 8, (9, 8, 7))
        wait_until(lambda: desktop.capture(0).pixels[4, 4, :3].tolist() == [9, 8, 7])
    desktop.close()


@needs_xvnc
@pytest.mark.desktop
def test_the_cursor_is_told_and_not_painted_into_the_screen(vnc: Vnc) -> None:
    client = vnc.client
    vnc.client.paint(0, 0, 300, 200, (200, 200, 200))
    source, gc, cursor = (client.connection.generate_id() for _ in range(3))
    client.core.CreatePixmap(1, source, client.root, 16, 16)
    client.core.CreateGC(gc, source, xcffib.xproto.GC.Foreground, [1])
    client.core.PolyFillRectangle(source, gc, 1, [xcffib.xproto.RECTANGLE.synthetic(0, 0, 16, 16)])
    client.core.CreateCursor(cursor, source, source, 65535, 0, 0, 0, 0, 0, 8, 8)
    client.core.ChangeWindowAttributes(client.window, xcffib.xproto.CW.Cursor, [cursor])
    client.sync()
    desktop = RfbDesktop(vnc.address)
    desktop.apply(Move(30, 100), None, Step(1, 1, 1))
    client.paint(0, 0, 4, 4, (1, 2, 3))
    wait_until(lambda: desktop.capture(0).pixels[2, 2, :3].tolist() == [1, 2, 3])
    wait_until(lambda: bool((desktop.capture(0).pixels[8:, :, :3] == 200).all()))
    desktop.close()


class Said:
    """A link that says what it is given."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError("the server ended the connection")
        return data


def tight(*said: bytes, h: int = 4, w: int = 6) -> list[NDArray[np.uint8]]:
    """Returns the pixels (R G B) after each of the rectangles."""
    decoder = Tight(Said(b"".join(said)))  # type: ignore[arg-type]
    found = []
    for _ in said:
        target = np.zeros((h, w, 4), np.uint8)
        decoder.rectangle(target)
        found.append(target[..., 2::-1].copy())
    return found


def compact(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    if length < 0x4000:
        return bytes([length & 0x7F | 0x80, length >> 7])
    return bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])


class Stream:
    def __init__(self) -> None:
        self._zlib = zlib.compressobj()

    def pack(self, data: bytes) -> bytes:
        packed = self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        return compact(len(packed)) + packed


def test_a_stream_runs_over_rectangles_until_it_is_begun_anew() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (4, 6, 3), np.uint8)
    first, other = Stream(), Stream()
    shown = tight(
        b"\x00" + first.pack(pixels.tobytes()),
        b"\x00" + first.pack(pixels[::-1].tobytes()),
        b"\x10" + other.pack(pixels.tobytes()),
        b"\x01" + Stream().pack(pixels.tobytes()),
    )
    assert (shown[0] == pixels).all()
    assert (shown[1] == pixels[::-1]).all()
    assert (shown[2] == pixels).all()
    assert (shown[3] == pixels).all()


def test_fill_palettes_small_rectangles_and_pictures() -> None:
    assert (tight(b"\x80\x01\x02\x03")[0] == [1, 2, 3]).all()
    two = tight(b"\x40\x01\x01" + bytes([1, 1, 1, 2, 2, 2]) + bytes([0b10100000] * 4))[0]
    assert two[..., 0].tolist() == [[2, 1, 2, 1, 1, 1]] * 4
    indices = np.arange(24, dtype=np.uint8) % 5
    many = tight(b"\x40\x01\x04" + bytes(range(15)) + Stream().pack(indices.tobytes()))[0]
    assert many[..., 0].reshape(-1).tolist() == (indices * 3).tolist()
    assert tight(b"\x00" + bytes(range(9)), h=1, w=3)[0].reshape(-1).tolist() == list(range(9))
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (250, 10, 20)).save(file, "JPEG", quality=95)
    picture = tight(b"\x90" + compact(len(file.getvalue())) + file.getvalue())[0]
    assert np.abs(picture.astype(int) - [250, 10, 20]).max() < 6


def slow_ungradient(differences: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = np.zeros_like(differences)
    for y, x, c in np.ndindex(differences.shape):
        left = int(out[y, x - 1, c]) if x else 0
        above = int(out[y - 1, x, c]) if y else 0
        both = int(out[y - 1, x - 1, c]) if x and y else 0
        out[y, x, c] = (min(max(left + above - both, 0), 255) + int(differences[y, x, c])) & 0xFF
    return out


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_the_gradient_is_undone(differences: NDArray[np.uint8]) -> None:
    assert (ungradient(differences) == slow_ungradient(differences)).all()


def test_a_gradient_rectangle() -> None:
    differences = np.random.default_rng(3).integers(0, 256, (4, 6, 3), np.uint8)
    shown = tight(b"\x40\x02" + Stream().pack(differences.tobytes()))[0]
    assert (shown == slow_ungradient(differences)).all()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"\xa0", "control byte 0xa0"),
        (b"\x40\x03", "filter 3"),
        (b"\x00\x05hello", "broken zlib"),
        (b"\x00" + Stream().pack(bytes(30)), "30 bytes of pixels, 72 expected"),
        (b"\x00" + Stream().pack(bytes(1 << 20)), "72 expected, .* left over"),
        (b"\x40\x01\x04" + bytes(15) + Stream().pack(bytes([9] * 24)), "colour 9 of 5"),
        (b"\x90\x05hello", "a broken JPEG"),
        (b"\x90\xff\xff\xff", "ended the connection"),
        (b"\x80\x01", "ended the connection"),
    ],
)
def test_what_a_bad_server_sends_is_an_error(said: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tight(said)


def test_a_picture_of_another_size() -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    with pytest.raises(ValueError, match="for 6x4"):
        tight(b"\x90" + compact(len(file.getvalue())) + file.getvalue())


def test_compact_lengths() -> None:
    for length in (0, 1, 127, 128, 16_383, 16_384, 4_194_303):
        assert Tight(Said(compact(length)))._compact() == length  # type: ignore[arg-type]
