"""The daemon's eye on the gate word: opened when it is there, told to followers and metrics when it changes."""

from __future__ import annotations

from pathlib import Path

from kernels.gate.word import REASONS, GateReader, GateReading, GateWordError, State, boottime_ns
from runtime.daemon.events import Events


class GateWatch:
    """Reads the gate word. `state` is its state in words ("absent" without a bridge), `reasons` why it is not open."""

    def __init__(self, path: Path, events: Events) -> None:
        self._path = path
        self._events = events
        self._reader: GateReader | None = None
        self.state = "absent"
        self.reasons: tuple[str, ...] = ()
        self.gate_epoch = 0

    def read(self) -> GateReading | None:
        """Returns the reading if work may run now, else None; a change of what it says is published as `gate`."""
        reading: GateReading | None = None
        try:
            if self._reader is None:
                self._reader = GateReader(self._path)
            reading = self._reader.read()
        except GateWordError as error:
            self._reader = None
            seen: tuple[str, tuple[str, ...], int] = ("absent", (error.message,), self.gate_epoch)
        else:
            is_open = reading.is_open(boottime_ns())
            lapsed = reading.state is State.OPEN and not is_open
            state = "closed" if lapsed else reading.state.name.lower()
            seen = (state, ("lease_ran_out",) if lapsed else reading.reasons, reading.gate_epoch)
            reading = reading if is_open else None
        if seen != (self.state, self.reasons, self.gate_epoch):
            self.state, self.reasons, self.gate_epoch = seen
            reasons = list(self.reasons)
            self._events.publish("gate", stands=True, state=self.state, reasons=reasons, gate_epoch=self.gate_epoch)
        return reading

    @property
    def is_urgent(self) -> bool:
        """Whether the car itself is wanted: nobody may wait for a worker's hold. No bridge, no lease: nobody knows."""
        known = [REASONS[name] for name in self.reasons if name in REASONS]
        return len(known) < len(self.reasons) or any(reason.urgent for reason in known)
