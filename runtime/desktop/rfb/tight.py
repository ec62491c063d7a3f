"""Tight: filtered pixels in one of four zlib streams, one colour, or a JPEG. The encoding of TightVNC and TigerVNC.

    u8 control    bits 0-3 begin stream 0-3 anew
                  bits 4-7  0xxx  stream in bits 4-5; bit 6: a filter follows (0 copy, 1 palette, 2 gradient)
                            1000  one colour         1001  JPEG (compact length, file)
    pixels        3 bytes R G B each; at least 12 bytes of them are compressed: compact length, zlib
    compact       1 to 3 bytes of 7 bits, the lowest first

After the community's rfbproto. JPEG comes only from a server that was asked for a quality; without it Tight is exact.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from runtime.desktop.rfb.link import Link

Pixels = NDArray[np.uint8]
_FILL, _JPEG = 8, 9
_COPY, _PALETTE, _GRADIENT = 0, 1, 2
_LEAST_COMPRESSED = 12
_TAIL_MAX = 64  # bytes that zlib may leave for the next rectangle: the end of a flush


class Tight:
    """Decodes the Tight rectangles of one connection; four zlib streams run over all of it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._streams = [zlib.decompressobj() for _ in range(4)]
        self._tails = [b""] * 4

    def rectangle(self, target: Pixels) -> None:
        """Reads one rectangle into `target` (h, w, 4). Raises ValueError for what contradicts itself."""
        h, w = target.shape[:2]
        (control,) = self._link.read(1)
        for stream in range(4):
            if control >> stream & 1:
                self._streams[stream], self._tails[stream] = zlib.decompressobj(), b""
        kind = control >> 4
        if kind == _FILL:
            target[..., :3] = np.frombuffer(self._link.read(3), np.uint8)[::-1]
        elif kind == _JPEG:
            target[..., :3] = self._jpeg(h, w)[..., ::-1]
        elif kind < _FILL:
            wanted = self._link.read(1)[0] if kind & 4 else _COPY
            target[..., :3] = self._filtered(wanted, kind & 3, h, w)[..., ::-1]
        else:
            raise ValueError(f"the Tight control byte {control:#04x}")

    def _filtered(self, wanted: int, stream: int, h: int, w: int) -> Pixels:
        if wanted == _COPY:
            return self._inflated(stream, h * w * 3).reshape(h, w, 3)
        if wanted == _GRADIENT:
            return ungradient(self._inflated(stream, h * w * 3).reshape(h, w, 3))
        if wanted == _PALETTE:
            colours = self._link.read(1)[0] + 1
            palette = np.frombuffer(self._link.read(colours * 3), np.uint8).reshape(-1, 3)
            if colours == 2:
                rows = self._inflated(stream, (w + 7) // 8 * h).reshape(h, -1)
                indices = np.unpackbits(rows, axis=1)[:, :w]
            else:
                indices = self._inflated(stream, w * h).reshape(h, w)
                if int(indices.max()) >= colours:
                    raise ValueError(f"colour {int(indices.max())} of {colours}")
            unpacked: Pixels = palette[indices]
            return unpacked
        raise ValueError(f"the Tight filter {wanted}")

    def _inflated(self, stream: int, count: int) -> Pixels:
        """Returns `count` bytes, compressed if there are enough of them; never more, whatever came."""
        if count < _LEAST_COMPRESSED:
            return np.frombuffer(self._link.read(count), np.uint8)
        data = self._tails[stream] + self._link.read(self._compact())
        inflater = self._streams[stream]
        try:
            out = inflater.decompress(data, count)
        except zlib.error as error:
            raise ValueError(f"broken zlib: {error}") from error
        self._tails[stream] = inflater.unconsumed_tail
        if len(out) != count or len(inflater.unconsumed_tail) > _TAIL_MAX:
            raise ValueError(f"{len(out)} bytes of pixels, {count} expected, {len(inflater.unconsumed_tail)} left over")
        return np.frombuffer(out, np.uint8)

    def _compact(self) -> int:
        length = 0
        for shift in (0, 7, 14):
            (byte,) = self._link.read(1)
            if shift == 14:
                return length | byte << shift
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                return length
        raise AssertionError("a compact length has three bytes at most")

    def _jpeg(self, h: int, w: int) -> Pixels:
        from PIL import Image, UnidentifiedImageError  # only for servers that were asked for pictures

        data = io.BytesIO(self._link.read(self._compact()))  # 4 MiB at most
        try:
            with Image.open(data, formats=("JPEG",)) as picture:
                if picture.size != (w, h):
                    raise ValueError(f"a JPEG of {picture.size} for {w}x{h}")
                return np.asarray(picture.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ValueError(f"a broken JPEG: {error}") from error


def ungradient(differences: Pixels) -> Pixels:
    """Returns the pixels (h, w, 3) whose differences from left + above - above left, clamped, these are.

    Each pixel needs the three before it, so whole anti-diagonals are done at once: h + w steps, not h · w.
    """
    h, w = differences.shape[:2]
    padded = np.zeros((h + 1, w + 1, 3), np.int16)
    for diagonal in range(h + w - 1):
        y = np.arange(max(0, diagonal - w + 1), min(h, diagonal + 1))
        x = diagonal - y
        predicted = padded[y + 1, x] + padded[y, x + 1] - padded[y, x]
        padded[y + 1, x + 1] = (np.clip(predicted, 0, 255) + differences[y, x]) & 0xFF
    return padded[1:, 1:].astype(np.uint8)
