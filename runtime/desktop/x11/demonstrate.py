"""Listens to a person on an X server and keeps what they show (runtime/desktop/demonstration.py): raw events by XI2,
the screen by XShm, looked at when it has come to rest."""

from __future__ import annotations

import secrets
import select
import time
from collections.abc import Callable

from runtime.desktop.demonstration import Input, Listener, Pixels
from runtime.desktop.episodes import Episode
from runtime.desktop.x11.capture import Capture
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.raw import RAW_KINDS, opcode_of, raw_event, select_raw

LOCK_MASK = 2
SHIFTS = (0xFFE1, 0xFFE2)  # left, right
QUIET_S = 0.05


def demonstrate(
    display: str | None,
    task: str,
    instruction: str,
    seconds: float,
    stopped: Callable[[], bool],
    ready: Callable[[], None] = lambda: None,
    tell: Callable[[str], None] = lambda said: None,
) -> Episode:
    """Records until `stopped()` or for `seconds`; `ready` is called when it hears, `tell` with each step.

    Raises DisplayUnreachable, DisplayUnsuitable, DesktopLost.
    """
    listening = Connection(display)
    capture = Capture(Connection(display), secrets.token_bytes(16))
    opcode, keysyms = opcode_of(listening), _keysyms(listening)
    select_raw(listening)

    def look() -> Pixels:
        capture.drain()
        pixels: Pixels = capture.capture(0).pixels.copy()
        return pixels

    listener = Listener(instruction, look, tell)
    shifts: set[int] = set()  # held, by the events themselves: the server may be further than they are
    listener.settle()
    ready()
    until_s, changed_s = time.monotonic() + seconds, 0.0
    while not stopped() and time.monotonic() < until_s:
        select.select([listening.fileno(), capture.fileno()], [], [], QUIET_S)
        for event in listening.events():
            raw = raw_event(event, opcode)
            if raw is None or raw.is_repeat or not RAW_KINDS[raw.kind].startswith(("key", "button")):
                continue
            pointer = listening.core.QueryPointer(listening.root).reply()
            kind, code = RAW_KINDS[raw.kind], raw.detail
            if kind.startswith("key"):
                code = _keysym(keysyms, raw.detail, bool(shifts), bool(int(pointer.mask) & LOCK_MASK))
                if code in SHIFTS:
                    (shifts.add if kind == "key_press" else shifts.discard)(raw.detail)
            listener.hear(Input(kind, code, int(pointer.root_x), int(pointer.root_y), raw.time_ms))
        if capture.drain():
            changed_s = changed_s or time.monotonic()
            capture.capture(0)
        elif changed_s:
            changed_s = 0.0
            listener.settle()
    steps = listener.finish()
    width, height = capture.size
    capture.close()
    listening.close()
    seed = f"train-person-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    return Episode(task, seed, instruction, 1.0, width, height, 1.0, True, steps)


def _keysyms(connection: Connection) -> dict[int, list[int]]:
    setup = connection.conn.setup
    first, count = setup.min_keycode, setup.max_keycode - setup.min_keycode + 1
    mapping = connection.core.GetKeyboardMapping(first, count).reply()
    columns, flat = mapping.keysyms_per_keycode, list(mapping.keysyms)
    return {first + number: flat[number * columns : (number + 1) * columns] for number in range(count)}


def _keysym(keysyms: dict[int, list[int]], keycode: int, is_shifted: bool, is_locked: bool) -> int:
    """Returns the keysym of a key as it is held: column 0, or 1 with shift; caps lock makes capitals."""
    columns = keysyms.get(keycode, [])
    plain = columns[0] if columns else 0
    shifted = columns[1] if len(columns) > 1 and columns[1] else plain
    if is_locked and 0x61 <= plain <= 0x7A:
        is_shifted = not is_shifted
    return int(shifted if is_shifted else plain)
