"""An independent witness: a process of its own that writes down every input event of an X server, and a comparison.

    X server ──XInput 2 raw events──► recorder ──► JSONL, one event a line
    what was asked for ─────────────► compare(recorded, actions) ──► presses too many (doubled), presses missing

It shares nothing with the connector: not its process, not its connection, not its journal. Run it by hand with
`python -m runtime.evaluation.recorder :7 events.jsonl`; it ends when its input does.
"""

from __future__ import annotations

import difflib
import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from kernels.gate.word import boottime_ns
from runtime.desktop.errors import DesktopError
from runtime.desktop.inputs import presses
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.raw import RAW_KINDS, device_names, opcode_of, raw_event, select_raw
from runtime.errors import RuntimeFault
from runtime.wire.actions import Action


class RecorderError(RuntimeFault):
    """The recorder of input events did not start, or its recording cannot be read."""

    next_step = "see its message above; it needs an X server with XInput 2.2"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event: `t_ns` (CLOCK_BOOTTIME) is when the recorder heard of it, `server_ms` the X server's own time.

    `kind` is key_press, key_release, button_press, button_release, motion or touch; `detail` a keycode or button;
    (x, y) where the pointer is; `device` the name of the device that it came from.
    """

    t_ns: int
    server_ms: int
    kind: str
    detail: int
    is_modifier: bool
    x: int
    y: int
    device: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Presses (of buttons, and of keys other than modifiers) that were recorded against those that were asked for.

    `doubled` are recorded and nobody asked for them; `missing` were asked for and are not recorded.
    """

    recorded: int
    asked: int
    doubled: int
    missing: int


class Recorder:
    """Records `display` into `path` as a context manager. `stop` ends it and returns what was recorded.

    Raises RecorderError if it does not start.
    """

    def __init__(self, display: str, path: str | os.PathLike[str]) -> None:
        self.display, self.path = display, Path(path)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Recorder:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, self.display, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "recording\n":
            self._end()
            raise RecorderError(f"the recorder of display {self.display!r} ended at its start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def stop(self) -> list[Recorded]:
        """Ends the recording, once everything that the server knew of is written, and returns it."""
        self._end()
        return read_recording(self.path)

    def _end(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._process = None


def read_recording(path: str | os.PathLike[str]) -> list[Recorded]:
    """Returns the events of a recording. Raises RecorderError for a line that is not one of its events."""
    events = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                events.append(Recorded(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise RecorderError(f"{os.fspath(path)}, line {number}, is no recorded event: {error}") from error
    return events


def compare(recorded: Iterable[Recorded], applied: Iterable[Action], unknown: Iterable[Action] = ()) -> Comparison:
    """Returns how the recorded presses differ from those of the `applied` actions, in their order.

    An action that ended as *unknown* may have happened, wholly or in part: its presses are neither doubled nor missing.
    """
    return compare_presses(recorded, _presses(applied), _presses(unknown))


def compare_presses(recorded: Iterable[Recorded], asked: Sequence[str], unknown: Iterable[str] = ()) -> Comparison:
    """`compare` for who knows the presses only (runtime/desktop/inputs.py `presses`), not what was typed."""
    seen = [
        f"button {event.detail}" if event.kind == "button_press" else "key"
        for event in recorded
        if event.kind == "button_press" or (event.kind == "key_press" and not event.is_modifier)
    ]
    too_many, missing = _difference(seen, asked)
    doubled = too_many - Counter(unknown)
    return Comparison(len(seen), len(asked), doubled.total(), missing.total())


def _presses(actions: Iterable[Action]) -> list[str]:
    return [press for action in actions for press in presses(action)]


def _difference(seen: Sequence[str], asked: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """Returns what is in `seen` and not in `asked`, and the other way round, as the shortest edit has it."""
    too_many: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    if seen == asked:
        return too_many, missing
    matcher = difflib.SequenceMatcher(None, seen, asked, autojunk=False)
    for operation, seen_from, seen_to, asked_from, asked_to in matcher.get_opcodes():
        if operation != "equal":
            too_many.update(seen[seen_from:seen_to])
            missing.update(asked[asked_from:asked_to])
    return too_many, missing


def record(display: str, out: TextIO, stop: TextIO) -> None:
    """Writes every event of `display` to `out` until `stop` ends; then what the server still has, and returns."""
    connection = Connection(display)
    opcode, names = opcode_of(connection), device_names(connection)
    modifiers = {int(code) for code in connection.core.GetModifierMapping().reply().keycodes if code}
    select_raw(connection)
    print("recording", flush=True)
    pointer, is_last = (0, 0), False
    while True:
        for event in connection.events():
            raw = raw_event(event, opcode)
            if raw is None:
                continue
            if raw.x is not None or raw.y is not None:
                pointer = (pointer[0] if raw.x is None else raw.x, pointer[1] if raw.y is None else raw.y)
            kind = RAW_KINDS[raw.kind]
            is_modifier = kind.startswith("key") and raw.detail in modifiers
            device = names.get(raw.source, f"device {raw.source}")
            line = Recorded(boottime_ns(), raw.time_ms, kind, raw.detail, is_modifier, *pointer, device)
            out.write(json.dumps(asdict(line)) + "\n")
        out.flush()
        if is_last:
            break
        ready, _, _ = select.select([connection.fileno(), stop.fileno()], [], [])
        if stop.fileno() in ready:
            connection.sync()
            is_last = True
    connection.close()


def main(arguments: list[str]) -> int:
    """Records until the standard input ends. Returns the exit code."""
    display, path = arguments
    try:
        with open(path, "w", encoding="utf-8") as out:
            record(display, out, sys.stdin)
    except (DesktopError, OSError) as error:
        print(f"recorder: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
