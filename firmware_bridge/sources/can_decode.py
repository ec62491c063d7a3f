"""Frames to readings: length, checksum and counter are verified before a bit of a frame is believed. Pure.

A frame with a bad checksum or length says that its signals are now invalid (that closes). A frame whose counter stands
still is a repetition of old news: it confirms nothing, and its signals turn stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from firmware_bridge.readings import Quality, Reading, Value
from firmware_bridge.signals import SIGNALS
from firmware_bridge.sources.can_map import CarMap, Field, MessageMap, SignalMap


@dataclass(slots=True)
class Counts:
    """What a decoder has seen, for the status."""

    frames: int = 0
    bad_checksums: int = 0
    bad_lengths: int = 0
    stuck_counters: int = 0
    lost_frames: int = 0


class Decoder:
    """Decodes the frames of one bus; it remembers each message's last counter."""

    def __init__(self, car: CarMap) -> None:
        self._messages = car.messages
        self._counters: dict[int, int] = {}
        self.counts = Counts()

    def decode(self, frame_id: int, is_extended: bool, data: bytes, time_ns: int) -> Iterator[Reading]:
        """Yields the readings of one frame, none for a frame that the car's map does not have."""
        message = self._messages.get((frame_id, is_extended))
        if message is None:
            return
        self.counts.frames += 1
        is_whole = len(data) == message.length
        if not is_whole:
            self.counts.bad_lengths += 1
        elif message.checksum is not None and sum8_with_id(message, message.checksum, data) != message.checksum.raw(
            data
        ):
            self.counts.bad_checksums += 1
            is_whole = False
        if not is_whole:
            for signal in message.signals:
                yield Reading(signal.name, None, SIGNALS[signal.name].unit, time_ns, Quality.INVALID)
            return
        if message.counter is not None and not self._is_next(message, message.counter, data):
            return
        for signal in message.signals:
            if signal.page is None or signal.page[0].raw(data) in signal.page[1]:
                value, quality = _value(signal, data)
                yield Reading(signal.name, value, SIGNALS[signal.name].unit, time_ns, quality)

    def _is_next(self, message: MessageMap, counter: Field, data: bytes) -> bool:
        now = counter.raw(data)
        last = self._counters.get(message.frame_id)
        self._counters[message.frame_id] = now
        if last is None:
            return True
        if now == last:
            self.counts.stuck_counters += 1
            return False
        self.counts.lost_frames += (now - last - 1) % (1 << counter.bits)
        return True


def sum8_with_id(message: MessageMap, checksum: Field, data: bytes) -> int:
    """Returns the sum of the id's two low bytes and of every byte but the checksum's own, modulo 256 (Tesla's)."""
    total = sum(data) - data[checksum.shift // 8] + (message.frame_id & 0xFF) + (message.frame_id >> 8 & 0xFF)
    return total & 0xFF


def _value(signal: SignalMap, data: bytes) -> tuple[Value, Quality]:
    raw = signal.field.raw(data)
    if raw in signal.absent:
        return None, Quality.ABSENT
    if signal.values:
        value = signal.values.get(raw)
        return value, Quality.INVALID if value is None else Quality.GOOD
    number = signal.field.physical(data)
    factor = 1.0 if signal.times is None else signal.times.physical(data)
    if number is None or factor is None:
        return None, Quality.INVALID
    return number * factor * signal.scale + signal.offset, Quality.GOOD
