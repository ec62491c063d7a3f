"""A gate that is open for as long as a bench lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernels.gate.word import LEASE_MAX_NS, GateReader, State, boottime_ns
from kernels.gate.writer import GateWriter


@contextmanager
def opened_gate(path: Path) -> Iterator[GateReader]:
    """Has the gate open for as long as this lasts, its lease renewed as a bridge does."""
    ends = threading.Event()
    with GateWriter(path) as writer:

        def renew() -> None:
            while not ends.is_set():
                writer.publish(State.OPEN, [], boottime_ns() + LEASE_MAX_NS)
                ends.wait(0.05)

        renewing = threading.Thread(target=renew, daemon=True)
        renewing.start()
        try:
            reader = GateReader(path)
            while not reader.read().is_open(boottime_ns()):
                time.sleep(0.001)
            yield reader
        finally:
            ends.set()
            renewing.join()
