"""One whole session, byte by byte: what a client in another language can replay. Times are ms from the link's start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.wire.actions import Click, Done, Type
from runtime.wire.messages import Hello
from runtime.wire.session import MS, Transmit
from runtime.wire.session_car import CarSession
from runtime.wire.session_desktop import DesktopSession, Known
from runtime.wire.tables import CloseReason, Outcome, Refusal
from runtime.wire.tiles import LOCAL, TilePacker


class Recorder:
    """Carries bytes between a car and a desktop, and writes them down."""

    def __init__(self) -> None:
        self.car, self.desktop = CarSession(0), DesktopSession(0)
        self.rows: list[dict[str, Any]] = []
        self.at_ms = 0

    def to_desktop(self, data: bytes | bytearray) -> list[Any]:
        self._note("car", data)
        events = self.desktop.receive(bytes(data), self.at_ms * MS)
        return self._carry(events, self.to_car)

    def to_car(self, data: bytes | bytearray) -> list[Any]:
        self._note("desktop", data)
        return self._carry(self.car.receive(bytes(data), self.at_ms * MS), self.to_desktop)

    def wait(self, ms: int) -> None:
        self.at_ms += ms
        self._carry(self.car.tick(self.at_ms * MS), self.to_desktop)
        self._carry(self.desktop.tick(self.at_ms * MS), self.to_car)

    def _carry(self, events: Sequence[object], send: Any) -> list[Any]:
        for event in events:
            if isinstance(event, Transmit):
                send(event.data)
        return [event for event in events if not isinstance(event, Transmit)]

    def _note(self, sender: str, data: bytes | bytearray) -> None:
        self.rows.append({"at_ms": self.at_ms, "from": sender, "bytes": bytes(data).hex()})


def record() -> list[dict[str, Any]]:
    """Plays the session and returns its rows: sender, time, bytes."""
    link = Recorder()
    link.to_desktop(link.car.send_hello(Hello(1, "job-1", 7, b"token", "example", "none"), 0))
    for event in link.desktop.answer(Known(7, 41, Outcome.applied), session=1, width=80, height=65, tile_key=b"K" * 16):
        assert isinstance(event, Transmit)
        link.to_car(event.data)
    link.to_desktop(link.car.send_credit(2))
    pixels = np.zeros((65, 80, 4), np.uint8)
    hashes = np.arange(4 * 16, dtype=np.uint8).reshape(2, 2, 16)
    packer = TilePacker(LOCAL)
    for part in packer.parts(1, pixels, hashes, captured_ns=5, capture_us=6):
        link.to_car(link.desktop.send_part(part))
    link.wait(5)
    seq, data = link.car.send_act(1, Click(3, 4))
    link.to_desktop(data)
    link.to_car(link.desktop.send_result(seq, Outcome.applied, received_ns=7, applied_ns=8))
    pixels[64:, 64:] = 200
    hashes[1, 1] = 99
    for part in packer.parts(2, pixels, hashes, captured_ns=9, capture_us=6):
        link.to_car(link.desktop.send_part(part))
    link.wait(250)
    seq, data = link.car.send_act(2, Type("hé"))
    link.to_desktop(data)
    link.to_car(link.desktop.send_result(seq, Outcome.refused, Refusal.bad_text, received_ns=10))
    _, data = link.car.send_act(2, Done())
    link.to_desktop(data)  # the fence itself refuses it
    link.to_car(link.desktop.send_takeover(True))
    link.to_desktop(link.car.send_bye(CloseReason.job_over, link.at_ms * MS))
    link.to_car(link.desktop.send_bye(CloseReason.job_over))
    assert link.car.closed is not None
    assert link.car.closed.reason == CloseReason.job_over
    return link.rows
