"""Rectangles of an RFB update into pixels: raw, copied, Tight, ZRLE, and two pseudo-encodings that say something else.

    number  encoding          what comes
       0    raw               w·h pixels of 4 bytes
       1    copy              where from
       7    Tight             tight.py
      16    ZRLE              u32 length, then one zlib stream over the whole connection: 64×64 tiles of 3-byte pixels
    -223    desktop size      none: the screen has another size now
    -239    cursor            its pixels and mask: told, so that the server does not paint it into the screen

     -32…   JPEG quality      never comes: asks Tight for pictures (-32 the worst to -23 the best)

After RFC 6143, chapter 7. A server that contradicts itself ends the connection: DesktopLost.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from runtime.desktop.errors import DesktopLost
from runtime.desktop.rfb.link import Link
from runtime.desktop.rfb.tight import Tight

RAW, COPY, TIGHT, ZRLE, DESKTOP_SIZE, CURSOR = 0, 1, 7, 16, -223, -239
_WORST_JPEG = -32
RECTANGLE = struct.Struct(">HHHHi")
_TILE = 64
_COPY, _U32 = struct.Struct(">HH"), struct.Struct(">I")
_SIDE_MAX = 16_384
_ZRLE_MAX = 1 << 28
Pixels = NDArray[np.uint8]


def encodings(jpeg_quality: int) -> tuple[int, ...]:
    """Returns what we ask a server for, the best first; `jpeg_quality` 1 to 10, 0 for exact pixels."""
    pictures = (_WORST_JPEG + jpeg_quality - 1,) if jpeg_quality else ()
    return (TIGHT, ZRLE, COPY, RAW, DESKTOP_SIZE, CURSOR, *pictures)


class Decoder:
    """Decodes what one server sends; the zlib streams of Tight and ZRLE run over the whole connection."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._zlib = zlib.decompressobj()
        self._tight = Tight(link)

    def rectangle(self, pixels: Pixels) -> tuple[Pixels, tuple[int, int, int, int] | None]:
        """Reads one rectangle into `pixels` (height, width, 4).

        Returns the pixels, in new memory if the screen has another size now, and the box (x, y, w, h) that was drawn.
        """
        x, y, w, h, encoding = self._link.unpack(RECTANGLE)
        if encoding == DESKTOP_SIZE:
            if not 0 < w <= _SIDE_MAX or not 0 < h <= _SIDE_MAX:
                raise self._wrong(f"a screen of {w}x{h}")
            return np.zeros((h, w, 4), np.uint8), (0, 0, w, h)
        if encoding == CURSOR:
            self._link.read(w * h * 4 + (w + 7) // 8 * h)
            return pixels, None
        if x + w > pixels.shape[1] or y + h > pixels.shape[0]:
            raise self._wrong(f"a rectangle {w}x{h} at ({x}, {y}) on {pixels.shape[1]}x{pixels.shape[0]}")
        target = pixels[y : y + h, x : x + w]
        if encoding == RAW:
            target[:] = np.frombuffer(self._link.read(w * h * 4), np.uint8).reshape(h, w, 4)
        elif encoding == COPY:
            self._copy(pixels, target)
        elif encoding == TIGHT:
            try:
                self._tight.rectangle(target)
            except ValueError as error:
                raise self._wrong(f"a broken Tight rectangle: {error}") from error
        elif encoding == ZRLE:
            self._zrle(target)
        else:
            raise self._wrong(f"the encoding {encoding}, which we did not ask for")
        return pixels, (x, y, w, h)

    def _copy(self, pixels: Pixels, target: Pixels) -> None:
        x, y = self._link.unpack(_COPY)
        h, w = target.shape[:2]
        if x + w > pixels.shape[1] or y + h > pixels.shape[0]:
            raise self._wrong(f"a copy from ({x}, {y})")
        target[:] = pixels[y : y + h, x : x + w].copy()

    def _zrle(self, target: Pixels) -> None:
        (length,) = self._link.unpack(_U32)
        h, w = target.shape[:2]
        # A tile takes at most its raw pixels, a run at most 4 bytes a pixel, and a palette.
        limit = h * w * 4 + (h // _TILE + 1) * (w // _TILE + 1) * 400
        if length > _ZRLE_MAX:
            raise self._wrong(f"{length} bytes of ZRLE")
        try:
            data = self._zlib.decompress(self._link.read(length), limit)
        except zlib.error as error:
            raise self._wrong(f"broken zlib: {error}") from error
        reader = _Tiles(data)
        try:
            for top in range(0, h, _TILE):
                for left in range(0, w, _TILE):
                    area = target[top : top + _TILE, left : left + _TILE, :3]
                    area[:] = reader.tile(area.shape[0], area.shape[1])
        except (IndexError, ValueError) as error:
            raise self._wrong(f"a broken ZRLE tile: {error}") from error

    def _wrong(self, what: str) -> DesktopLost:
        return DesktopLost(
            f"the VNC server at {self._link.name} sent {what}", next_step="report it with the server's version"
        )


class _Tiles:
    """ZRLE's tiles, one after another. IndexError or ValueError where the data ends too early or contradicts itself."""

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._at = 0

    def tile(self, h: int, w: int) -> Pixels:
        """Returns the next tile, uint8 (h, w, 3)."""
        kind = int(self._take(1)[0])
        if kind == 0:
            return self._take(h * w * 3).reshape(h, w, 3)
        if kind == 1:
            return np.broadcast_to(self._take(3), (h, w, 3))
        if kind <= 16:
            return self._packed(kind, h, w)
        if kind == 128:
            return self._runs(None, h * w).reshape(h, w, 3)
        if kind >= 130:
            return self._runs(self._take((kind - 128) * 3).reshape(-1, 3), h * w).reshape(h, w, 3)
        raise ValueError(f"subencoding {kind}")

    def _packed(self, colours: int, h: int, w: int) -> Pixels:
        palette = self._take(colours * 3).reshape(-1, 3)
        bits = 1 if colours == 2 else 2 if colours <= 4 else 4
        row_bytes = (w * bits + 7) // 8
        rows = np.unpackbits(self._take(row_bytes * h).reshape(h, row_bytes), axis=1)[:, : w * bits]
        weights = 1 << np.arange(bits - 1, -1, -1)
        indices = (rows.reshape(h, w, bits) * weights).sum(axis=2)
        unpacked: Pixels = palette[indices]
        return unpacked

    def _runs(self, palette: Pixels | None, count: int) -> Pixels:
        out = np.empty((count, 3), np.uint8)
        filled = 0
        while filled < count:
            if palette is None:
                colour, is_run = self._take(3), True
            else:
                index = int(self._take(1)[0])
                colour, is_run = palette[index & 0x7F], index >= 128
            length = self._length() if is_run else 1
            if filled + length > count:
                raise ValueError("a run beyond its tile")
            out[filled : filled + length] = colour
            filled += length
        return out

    def _length(self) -> int:
        length = 1
        while True:
            byte = int(self._take(1)[0])
            length += byte
            if byte != 255:
                return length

    def _take(self, count: int) -> Pixels:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise IndexError("the data ends too early")
        self._at += count
        return part
