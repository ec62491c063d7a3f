"""The screen's pixels by XShm, re-read only where XDamage says that something was drawn.

    DamageNotify ─► which tiles are stale ─► per band of tile rows, one request:
        most of its width   whole rows, written by the server straight into the frame's own memory
        a part of it        that part, into the scratch half of the segment, then copied
    ─► hash the tiles that were read ─► what changed

A whole 1080p screen takes about 1 ms, one tile about 0.1 ms. XShm grabs do not contain the pointer's image.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import xcffib.xproto
from numpy.typing import NDArray
from xcffib.damage import ReportLevel
from xcffib.xproto import CW, ConfigureNotifyEvent, EventMask, ImageFormat

from kernels.frames.tiles import HASH_BYTES, TILE, changed_tiles, grid
from kernels.gate.word import boottime_ns
from runtime.desktop.frame import Frame
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.segment import Segment

_ALL_PLANES = 0xFFFFFFFF
_DAMAGE_AREA = struct.Struct("<hhHH")  # at byte 16 of a DamageNotify: x, y, width, height
_DAMAGE_AREA_AT = 16


@dataclass(frozen=True, slots=True)
class Band:
    """Tile rows [top, bottom) and columns [left, right) that are read by one request."""

    top: int
    bottom: int
    left: int
    right: int


class Capture:
    """The screen of `connection` as frames; `key` (16 bytes) keys the tile hashes.

    The connection is this object's own: only `drain` and `capture` may use it, one at a time.
    """

    def __init__(self, connection: Connection, key: bytes) -> None:
        self._connection = connection
        self._key = key
        self._damage_event: int = connection.core.QueryExtension(6, "DAMAGE").reply().first_event
        connection.core.ChangeWindowAttributes(connection.root, CW.EventMask, [EventMask.StructureNotify])
        self._damage: int = connection.conn.generate_id()
        connection.damage.Create(self._damage, connection.root, ReportLevel.DeltaRectangles)
        self._frame_id = 0
        self._segment: Segment | None = None
        self._resize()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the screen in pixels, as of the last `drain`."""
        return self._width, self._height

    def fileno(self) -> int:
        """Returns the socket that is readable when `drain` has something to do."""
        return self._connection.fileno()

    def rekey(self, key: bytes) -> None:
        """Makes `key` the key of the hashes; the next frame shows every tile as changed."""
        self._key = key
        self._stale[:] = True
        self._hashes[:] = 0

    def drain(self) -> int:
        """Takes in what the server has told, without waiting. Returns how many tiles may have changed."""
        resized = False
        for event in self._connection.events():
            kind = event[0] & 0x7F
            if kind == self._damage_event:
                self._soil(*_DAMAGE_AREA.unpack_from(event, _DAMAGE_AREA_AT))
            elif kind == ConfigureNotifyEvent.event_number:
                resized = True
        if resized and self._connection.size() != self.size:
            self._resize()
        return int(np.count_nonzero(self._stale))

    def capture(self, since: int) -> Frame:
        """Returns the screen as it is now, `changed` against the frame `since` (0: all of it).

        Raises DesktopLost if the server is gone.
        """
        began_ns = boottime_ns()
        captured_ns = began_ns
        while self.drain():
            bands = bands_of(self._stale)
            self._stale[:] = False
            captured_ns = boottime_ns()
            try:
                self._read(bands)
            except xcffib.xproto.MatchError:  # the screen has just become smaller
                self._resize()
                continue
            self._hash(bands)
            break
        return Frame(
            frame_id=self._frame_id,
            pixels=self._pixels,
            changed=self._changed_at > since,
            hashes=self._hashes.copy(),
            captured_ns=captured_ns,
            capture_us=(boottime_ns() - began_ns) // 1000,
        )

    def close(self) -> None:
        """Gives the shared memory back, wiped."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _resize(self) -> None:
        self.close()
        self._width, self._height = self._connection.size()
        self._frame_bytes = self._width * self._height * 4
        self._segment = Segment(self._connection, 2 * self._frame_bytes)
        pixels = self._segment.pixels
        self._pixels: NDArray[np.uint8] = pixels[: self._frame_bytes].reshape(self._height, self._width, 4)
        self._scratch = pixels[self._frame_bytes :]
        tiles = grid(self._height, self._width)
        self._stale: NDArray[np.bool_] = np.ones(tiles, np.bool_)
        self._hashes: NDArray[np.uint8] = np.zeros((*tiles, HASH_BYTES), np.uint8)
        self._changed_at: NDArray[np.int64] = np.zeros(tiles, np.int64)

    def _soil(self, x: int, y: int, width: int, height: int) -> None:
        top, left = max(y, 0) // TILE, max(x, 0) // TILE
        self._stale[top : -(-(y + height) // TILE), left : -(-(x + width) // TILE)] = True

    def _read(self, bands: list[Band]) -> None:
        """Reads `bands` into the frame with one round trip. Damage after this moment is told again."""
        self._connection.damage.Subtract(self._damage, 0, 0)
        asked, copies, scratch_at = [], [], 0
        for band in bands:
            y0, y1 = band.top * TILE, min(band.bottom * TILE, self._height)
            x0, x1 = band.left * TILE, min(band.right * TILE, self._width)
            if 2 * (x1 - x0) > self._width:
                asked.append(self._ask(0, y0, self._width, y1 - y0, y0 * self._width * 4))
            else:
                size = (y1 - y0) * (x1 - x0) * 4
                asked.append(self._ask(x0, y0, x1 - x0, y1 - y0, self._frame_bytes + scratch_at))
                copies.append((self._pixels[y0:y1, x0:x1], self._scratch[scratch_at : scratch_at + size]))
                scratch_at += size
        for cookie in asked:
            self._connection.asking(cookie.reply)
        for target, source in copies:
            target[:] = source.reshape(target.shape)

    def _ask(self, x: int, y: int, width: int, height: int, offset: int):  # type: ignore[no-untyped-def]
        assert self._segment is not None
        return self._connection.shm.GetImage(
            self._connection.root, x, y, width, height, _ALL_PLANES, ImageFormat.ZPixmap, self._segment.xid, offset
        )

    def _hash(self, bands: list[Band]) -> None:
        next_id, any_changed = self._frame_id + 1, False
        for band in bands:
            rows, columns = slice(band.top, band.bottom), slice(band.left, band.right)
            area = self._pixels[band.top * TILE : band.bottom * TILE, band.left * TILE : band.right * TILE]
            changed, hashes = changed_tiles(area, self._hashes[rows, columns], self._key)
            if changed.any():
                any_changed = True
                self._changed_at[rows, columns][changed] = next_id
                self._hashes[rows, columns] = hashes
        self._frame_id += any_changed


def bands_of(stale: NDArray[np.bool_]) -> list[Band]:
    """Returns the bands that cover the stale tiles: runs of rows that have any, each as wide as its stale columns."""
    found: list[Band] = []
    rows = np.flatnonzero(stale.any(axis=1))
    for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if rows.size else ():
        top, bottom = int(run[0]), int(run[-1]) + 1
        columns = np.flatnonzero(stale[top:bottom].any(axis=0))
        found.append(Band(top, bottom, int(columns[0]), int(columns[-1]) + 1))
    return found
