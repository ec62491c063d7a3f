"""XInput 2 raw events: everything that any device puts into the server, whoever has the focus or a grab.

    byte  8 u16 kind   10 u16 device   16 u32 detail (keycode, button)   20 u16 source device
         36 valuator mask, then 8 bytes (i32 integral, u32 fraction) for each valuator in it

As XCB hands it out: it puts four bytes of its own (the full sequence number) before byte 36.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from runtime.desktop.x11.connection import GENERIC_EVENT, Connection

KEY_PRESS, KEY_RELEASE, BUTTON_PRESS, BUTTON_RELEASE, MOTION = 13, 14, 15, 16, 17
TOUCH_BEGIN = 22
RAW_KINDS = {
    KEY_PRESS: "key_press",
    KEY_RELEASE: "key_release",
    BUTTON_PRESS: "button_press",
    BUTTON_RELEASE: "button_release",
    MOTION: "motion",
    TOUCH_BEGIN: "touch",
}
_ALL_MASTERS = 1
_HEAD = struct.Struct("<xxxxxxxxHHIIHHI")
_KEY_REPEAT = 1 << 16
_MASK_AT = 36
_VALUE = struct.Struct("<iI")


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One event of a device. `source` is the slave device, `detail` a keycode or button, `x`/`y` None where not given.

    The XTEST pointer's valuators are absolute pixels of the screen; a mouse's are relative.
    """

    kind: int
    source: int
    detail: int
    time_ms: int
    x: int | None = None
    y: int | None = None
    is_repeat: bool = False


def select_raw(connection: Connection) -> None:
    """Asks for the raw events of every device on `connection`."""
    bits = sum(1 << kind for kind in RAW_KINDS)
    # xcffib packs the list of masks wrongly when it has to build it from objects; this is one mask of one word.
    mask = struct.pack("<HHI", _ALL_MASTERS, 1, bits)
    connection.xinput.XISelectEvents(connection.root, 1, [mask])
    connection.sync()


def raw_event(event: memoryview, opcode: int) -> RawEvent | None:
    """Returns what `event` (from Connection.events) says, None if it is no raw event. `opcode` is XInput's."""
    if event[0] & 0x7F != GENERIC_EVENT or event[1] != opcode:
        return None
    kind, _, time_ms, detail, source, mask_words, flags = _HEAD.unpack_from(event)
    if kind not in RAW_KINDS:
        return None
    x = y = None
    if kind == MOTION and mask_words:
        mask = int.from_bytes(event[_MASK_AT : _MASK_AT + 4 * mask_words], "little")
        at = _MASK_AT + 4 * mask_words
        if mask & 1:
            x = _VALUE.unpack_from(event, at)[0]
            at += _VALUE.size
        if mask & 2:
            y = _VALUE.unpack_from(event, at)[0]
    return RawEvent(kind, source, detail, time_ms, x, y, bool(flags & _KEY_REPEAT))


def opcode_of(connection: Connection) -> int:
    """Returns XInput's major opcode on this server."""
    return int(connection.core.QueryExtension(15, "XInputExtension").reply().major_opcode)


def device_names(connection: Connection) -> dict[int, str]:
    """Returns device number -> name of every input device."""
    infos = connection.xinput.XIQueryDevice(0).reply().infos
    return {int(info.deviceid): info.name.to_string() for info in infos}
