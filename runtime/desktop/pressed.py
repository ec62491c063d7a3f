"""What is held down on a desktop, in a file that two processes map: the connector writes it *before* it presses.

    0   u32  magic "IHPR"          24  u32  buttons, bit n is button n
    4   u32  version               28  u32  releases that the watchdog made
    8   u64  heartbeat_ns          32  256 bits: keys, bit n is keycode n
    16  u64  grab_since_ns (0: no) 64  256 bits: keycodes whose symbol was lent by us and is to be taken back
                                   96  u32  a resource of the connector's connection, to end it by
                                  100  u32  times that the watchdog ended a connection that held the server too long

Little-endian; every field is written by one store or is only ever read after its writer is dead or stopped, so there is
no lock. Times are CLOCK_BOOTTIME. The file outlives a `kill -9`: that is its purpose.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from runtime.desktop.errors import StateFolderError

_MAGIC, _VERSION, _SIZE = 0x52504849, 1, 128
_HEAD = struct.Struct("<II")
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_HEARTBEAT, _GRAB, _BUTTONS, _RELEASES, _KEYS, _LENT, _RESOURCE, _CUT_OFF = 8, 16, 24, 28, 32, 64, 96, 100
_BITMAP_BYTES = 32


class PressedList:
    """The mapped file at `path`, created empty (mode 0600) if it is absent or of another version.

    Raises StateFolderError if the file cannot be created or mapped.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if os.fstat(descriptor).st_size != _SIZE:
                    os.ftruncate(descriptor, _SIZE)
                self._map = mmap.mmap(descriptor, _SIZE)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StateFolderError(f"{self.path} cannot be used: {error.strerror}") from error
        if _HEAD.unpack_from(self._map, 0) != (_MAGIC, _VERSION):
            self._map[:] = bytes(_SIZE)
            _HEAD.pack_into(self._map, 0, _MAGIC, _VERSION)

    def press_key(self, keycode: int) -> None:
        """Notes that `keycode` is about to go down."""
        self._map[_KEYS + keycode // 8] |= 1 << keycode % 8

    def release_key(self, keycode: int) -> None:
        """Notes that `keycode` is up."""
        self._map[_KEYS + keycode // 8] &= ~(1 << keycode % 8)

    def press_button(self, button: int) -> None:
        """Notes that pointer button `button` (1 … 31) is about to go down."""
        _U32.pack_into(self._map, _BUTTONS, self._u32(_BUTTONS) | 1 << button)

    def release_button(self, button: int) -> None:
        """Notes that `button` is up."""
        _U32.pack_into(self._map, _BUTTONS, self._u32(_BUTTONS) & ~(1 << button))

    def held_keys(self) -> list[int]:
        """Returns the keycodes that are, or were about to be, down."""
        return self._bits(_KEYS)

    def held_buttons(self) -> list[int]:
        """Returns the pointer buttons that are, or were about to be, down."""
        held = self._u32(_BUTTONS)
        return [button for button in range(32) if held >> button & 1]

    def clear(self) -> None:
        """Notes that nothing is down."""
        self._map[_KEYS : _KEYS + _BITMAP_BYTES] = bytes(_BITMAP_BYTES)
        _U32.pack_into(self._map, _BUTTONS, 0)

    def lend(self, keycode: int) -> None:
        """Notes that the unused `keycode` is about to get a symbol from us."""
        self._map[_LENT + keycode // 8] |= 1 << keycode % 8

    def lent(self) -> list[int]:
        """Returns the keycodes whose symbols are to be taken back."""
        return self._bits(_LENT)

    def clear_lent(self) -> None:
        """Notes that every lent keycode is unused again."""
        self._map[_LENT : _LENT + _BITMAP_BYTES] = bytes(_BITMAP_BYTES)

    @property
    def heartbeat_ns(self) -> int:
        """When the connector last said that it runs."""
        return self._u64(_HEARTBEAT)

    @heartbeat_ns.setter
    def heartbeat_ns(self, now_ns: int) -> None:
        _U64.pack_into(self._map, _HEARTBEAT, now_ns)

    @property
    def grab_since_ns(self) -> int:
        """Since when the connector holds the whole server (0: it does not)."""
        return self._u64(_GRAB)

    @grab_since_ns.setter
    def grab_since_ns(self, since_ns: int) -> None:
        _U64.pack_into(self._map, _GRAB, since_ns)

    @property
    def resource(self) -> int:
        """A resource of the connector's injecting connection: ending its client ends the grab."""
        return self._u32(_RESOURCE)

    @resource.setter
    def resource(self, xid: int) -> None:
        _U32.pack_into(self._map, _RESOURCE, xid)

    @property
    def releases(self) -> int:
        """How many times the watchdog had to release something."""
        return self._u32(_RELEASES)

    def count_release(self) -> None:
        """Notes one more release by the watchdog."""
        _U32.pack_into(self._map, _RELEASES, self._u32(_RELEASES) + 1 & 0xFFFFFFFF)

    @property
    def cut_off(self) -> int:
        """How many times the watchdog ended a connection that held the server too long."""
        return self._u32(_CUT_OFF)

    def count_cut_off(self) -> None:
        """Notes one more connection that was ended so."""
        _U32.pack_into(self._map, _CUT_OFF, self._u32(_CUT_OFF) + 1 & 0xFFFFFFFF)

    def close(self) -> None:
        """Ends the mapping; the file stays."""
        self._map.close()

    def _bits(self, offset: int) -> list[int]:
        held = int.from_bytes(self._map[offset : offset + _BITMAP_BYTES], "little")
        return [bit for bit in range(256) if held >> bit & 1] if held else []

    def _u32(self, offset: int) -> int:
        return int(_U32.unpack_from(self._map, offset)[0])

    def _u64(self, offset: int) -> int:
        return int(_U64.unpack_from(self._map, offset)[0])
