"""The CAN source: listens to a bus through python-can, kernel filters first. It has no way to send.

    can:socketcan/can0?map=tesla_model3               a Linux interface (set it up with `listen-only on` as well)
    can:udp_multicast/239.74.163.2?map=my_car.toml    CAN over multicast, between processes
    can:slcan/%2Fdev%2FttyACM0?map=...&bitrate=500000

A frame's time is the kernel's, taken when it arrived: what waited in a queue while the bridge was stopped is old.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote

import can

from firmware_bridge.clock import Clock
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Quality, Reading, Value
from firmware_bridge.sources.can_decode import Counts, Decoder
from firmware_bridge.sources.can_map import CarMap, load_map
from firmware_bridge.sources.table import SourceUrl

# After so many readings in a row the loop turns, so that a flood cannot keep the policy from being evaluated.
_BATCH = 64
_MOST_WAITING = 10_000
_SPACING_NS = 15_000_000  # less than a period of the policy's
_LISTEN_S = 0.25  # how long the thread takes to notice that it is to end
# Keywords that ask an interface of python-can not to acknowledge either, where it can be asked.
_LISTEN_ONLY: dict[str, dict[str, Any]] = {"slcan": {"listen_only": True}, "pcan": {"state": can.BusState.PASSIVE}}


def open_can(url: SourceUrl) -> CanSource:
    """Returns the source of `can:INTERFACE/CHANNEL?map=CAR&bitrate=N`."""
    url.check_options("map", "bitrate")
    interface, _, channel = url.path.partition("/")
    if not interface or not channel:
        raise SourceError(f"source {url.text}: expected can:INTERFACE/CHANNEL?map=CAR")
    if "map" not in url.options:
        raise SourceError(f"source {url.text} needs ?map=CAR, a name or a path of a .toml")
    car = load_map(url.options["map"])
    options: dict[str, Any] = dict(_LISTEN_ONLY.get(interface, {}))
    if "bitrate" in url.options:
        if not url.options["bitrate"].isdigit():
            raise SourceError(f"source {url.text}: bitrate must be a whole number, got {url.options['bitrate']!r}")
        options["bitrate"] = int(url.options["bitrate"])
    return CanSource(url.text, interface, unquote(channel), car, options)


def filters_of(car: CarMap) -> list[dict[str, Any]]:
    """Returns the exact filters of a car's frames: the kernel wakes us for no other."""
    return [
        {"can_id": frame_id, "can_mask": 0x1FFFFFFF if is_extended else 0x7FF, "extended": is_extended}
        for frame_id, is_extended in car.messages
    ]


class CanSource:
    """Listens to one bus. The bus is opened when reading begins, so that it can be opened again after a fault."""

    def __init__(
        self,
        url: str,
        interface: str,
        channel: str,
        car: CarMap,
        options: dict[str, Any],
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.url = url
        self._interface = interface
        self._channel = channel
        self._car = car
        self._options = options
        self._wall_ns = wall_ns
        self._decoder = Decoder(car)

    @property
    def counts(self) -> Counts:
        return self._decoder.counts

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        """Yields what the bus says. Raises SourceError when it cannot be opened or breaks."""
        bus = self._open()
        loop = asyncio.get_running_loop()
        heard: deque[Reading | Exception] = deque()
        ready, stopping = asyncio.Event(), threading.Event()
        listener = threading.Thread(
            target=self._listen,
            args=(bus, clock, heard, lambda: loop.call_soon_threadsafe(ready.set), stopping),
            name="can",
            daemon=True,
        )
        listener.start()
        try:
            while True:
                await ready.wait()
                ready.clear()
                for _ in range(_BATCH):
                    if not heard:
                        break
                    reading = heard.popleft()
                    if isinstance(reading, Exception):
                        raise reading
                    yield reading
                else:
                    ready.set()
                    await asyncio.sleep(0)
        finally:
            stopping.set()
            await asyncio.to_thread(listener.join)
            bus.shutdown()

    def _listen(
        self,
        bus: can.BusABC,
        clock: Clock,
        heard: deque[Reading | Exception],
        tell: Callable[[], object],
        stopping: threading.Event,
    ) -> None:
        """In a thread of its own: takes frames as they come, and tells the loop at once of what is new, of what only
        confirms every _SPACING_NS: a parked car says the same a thousand times a second."""
        last: dict[str, tuple[Value, Quality]] = {}
        told_ns = 0
        try:
            while not stopping.is_set():
                message = bus.recv(_LISTEN_S)
                if message is None or message.is_error_frame or message.is_remote_frame:
                    continue
                time_ns = self._time_ns(message.timestamp, clock)
                data = bytes(message.data)
                is_news = False
                for reading in self._decoder.decode(message.arbitration_id, message.is_extended_id, data, time_ns):
                    said = reading.value, reading.quality
                    is_news |= last.get(reading.name) != said
                    last[reading.name] = said
                    heard.append(reading)
                if len(heard) > _MOST_WAITING:
                    raise OSError(f"{len(heard)} readings wait: the bridge does not keep up")
                now_ns = clock.now_ns()
                if is_news or now_ns - told_ns >= _SPACING_NS:
                    told_ns = now_ns
                    tell()
        except (can.CanError, OSError, ValueError) as error:
            heard.append(SourceError(f"source {self.url} broke: {error}"))
            tell()
        except Exception as error:  # noqa: BLE001 - whatever else it is ends the bridge, as an error of the loop's own does
            heard.append(error)
            tell()

    def _open(self) -> can.BusABC:
        try:
            return can.Bus(
                interface=self._interface,
                channel=self._channel,
                can_filters=filters_of(self._car),
                receive_own_messages=False,
                **self._options,
            )
        except (can.CanError, OSError, ImportError, ValueError, TypeError) as error:
            raise SourceError(f"source {self.url} cannot be opened: {error}") from error

    def _time_ns(self, wall_s: float, clock: Clock) -> int:
        """Returns the frame's time on `clock`: now less its age, which the kernel's wall-clock stamp tells.

        If the wall clock was set back meanwhile, the frame lies in the future and is invalid; set forward, it is stale.
        """
        return clock.now_ns() - (self._wall_ns() - int(wall_s * 1e9))
