"""The CAN log source: replays a recorded bus (candump .log, .blf, .asc) through a car's map, on any clock.

canlog:drive.log?map=tesla_model3&end=hold        end=hold repeats the last frame of each id at its own rate
"""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_bridge.clock import Clock
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Reading
from firmware_bridge.sources.can_decode import Decoder
from firmware_bridge.sources.can_map import CarMap, load_map
from firmware_bridge.sources.table import SourceUrl

if TYPE_CHECKING:
    import can

# (1436509052.249713) can0 118#3E0A00000000FFFF and, for CAN FD, 118##1AABB; R is a remote frame
_CANDUMP = re.compile(
    r"\((\d{1,12}\.\d{1,9})\)\s+\S+\s+([0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})(#|##[0-9A-Fa-f])([0-9A-Fa-f]*|R\d?)(\s+[RT])?"
)
_HELD_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a log; `time_ns` is from the log's first frame."""

    time_ns: int
    frame_id: int
    is_extended: bool
    data: bytes


def open_can_log(url: SourceUrl) -> CanLogSource:
    """Returns the source of `canlog:FILE?map=CAR&end=hold|stop`."""
    url.check_options("map", "end")
    if "map" not in url.options:
        raise SourceError(f"source {url.text} needs ?map=CAR, a name or a path of a .toml")
    end = url.options.get("end", "stop")
    if end not in ("hold", "stop"):
        raise SourceError(f"source {url.text}: end must be hold or stop, got {end!r}")
    car = load_map(url.options["map"])
    return CanLogSource(url.text, read_log(Path(url.path)), car, holds_end=end == "hold")


def read_log(path: Path) -> list[Frame]:
    """Reads a whole log. Raises SourceError for one that is absent, damaged, or whose times fall."""
    frames = _python_can(path) if path.suffix.lower() in (".blf", ".asc") else list(_candump(path))
    if not frames:
        raise SourceError(f"the CAN log {path} has no frames")
    first_ns = frames[0].time_ns
    last_ns = first_ns
    for number, frame in enumerate(frames, start=1):
        if frame.time_ns < last_ns:
            raise SourceError(
                f"{path}: frame {number} is {(last_ns - frame.time_ns) / 1e9:.6f} s before the one before it"
            )
        last_ns = frame.time_ns
    return [Frame(each.time_ns - first_ns, each.frame_id, each.is_extended, each.data) for each in frames]


def _candump(path: Path) -> Iterator[Frame]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        match = _CANDUMP.fullmatch(line.strip())
        if match is None or (len(match[4]) % 2 and not match[4].startswith("R")):
            raise SourceError(f"{path}:{number} is no line of candump -l, got {line[:60]!r}")
        if match[4].startswith("R"):
            continue
        seconds, _, fraction = match[1].partition(".")
        time_ns = int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
        frame_id = int(match[2], 16)
        if frame_id & 0x20000000:  # an error frame: the controller's, not the car's
            continue
        yield Frame(time_ns, frame_id & 0x1FFFFFFF, len(match[2]) == 8, bytes.fromhex(match[4]))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split("\n")
    except FileNotFoundError as error:
        raise SourceError(f"there is no CAN log {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the CAN log {path} cannot be read: {error}") from error


def _python_can(path: Path) -> list[Frame]:
    import can  # candump needs none of it

    try:  # we open the file: python-can leaves it open where its header is damaged
        if path.suffix.lower() == ".blf":
            with open(path, "rb") as binary:
                return [_frame(each) for each in can.BLFReader(binary) if _is_data(each)]
        with open(path, encoding="ascii") as text:
            return [_frame(each) for each in can.ASCReader(text, relative_timestamp=False) if _is_data(each)]
    except FileNotFoundError as error:
        raise SourceError(f"there is no CAN log {path}") from error
    except (can.CanError, OSError, ValueError, LookupError, TypeError, struct.error, EOFError, AttributeError) as error:
        raise SourceError(f"the CAN log {path} is damaged: {error!r}") from error


def _is_data(message: can.Message) -> bool:
    return not (message.is_error_frame or message.is_remote_frame)


def _frame(message: can.Message) -> Frame:
    return Frame(int(message.timestamp * 1e9), message.arbitration_id, message.is_extended_id, bytes(message.data))


class CanLogSource:
    """Replays `frames` from now on; with `holds_end` what was last said goes on being said every 50 ms."""

    def __init__(self, url: str, frames: list[Frame], car: CarMap, *, holds_end: bool) -> None:
        self.url = url
        self._frames = frames
        self._decoder = Decoder(car)
        self._holds_end = holds_end

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        start_ns = clock.now_ns()
        held: dict[str, Reading] = {}
        for frame in self._frames:
            due_ns = start_ns + frame.time_ns
            if due_ns > clock.now_ns():
                await clock.sleep_until(due_ns)
            for reading in self._decoder.decode(frame.frame_id, frame.is_extended, frame.data, due_ns):
                held[reading.name] = reading
                yield reading
        while self._holds_end:
            await clock.sleep_until(clock.now_ns() + _HELD_NS)
            for last in held.values():
                yield Reading(last.name, last.value, last.unit, clock.now_ns(), last.quality)
