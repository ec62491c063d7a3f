"""A parked car for benches: every message of its bus at 100 Hz over multicast, and a real bridge process that listens.

It lives in a network namespace of its own (`in_namespace`), so that no frame leaves the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firmware_bridge import signals as s
from firmware_bridge.sources.trace_file import Moment, header_line, moment_line
from kernels.gate.word import GateReader, GateWordError, boottime_ns

ROOT = Path(__file__).parents[1]
GROUP = "239.74.163.2"
_SECOND_NS = 1_000_000_000
# What the Tesla's bus does not say.
OWN = {
    s.PARK_LOCK: True,
    s.IS_MOVING: False,
    s.CABIN_TEMPERATURE: 22.0,
    s.CONSENT: True,
    s.COMPUTE_TEMPERATURE: 50.0,
    s.METERED: False,
    s.CRASH: False,
    s.OTA: False,
    s.LOW_POWER: False,
    s.PAUSE: False,
}
POLICY = "[timing]\ndwell_s = 0.0\ndrain_s = 0.0\n"


def protected(frame_id: int, data: bytes) -> bytes:
    """Returns the frame with Tesla's checksum in its first byte."""
    return bytes([(sum(data[1:]) + (frame_id & 0xFF) + (frame_id >> 8)) & 0xFF]) + data[1:]


def in_namespace(module: str, *arguments: str, timeout_s: float = 300) -> dict[str, Any]:
    """Runs `python -m module arguments` in a network namespace; returns its JSON object, or {"left_out": why}."""
    script = 'ip link set lo up && ip route add 224.0.0.0/4 dev lo && exec "$0" -m "$@"'
    unshare = ["unshare", "-n" if os.geteuid() == 0 else "-rn", "sh", "-c", script, sys.executable]
    done = subprocess.run(
        [*unshare, module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s
    )
    if done.returncode != 0:
        return {"left_out": (done.stderr.strip().splitlines() or ["no reason told"])[-1]}
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


_PACK = (0x132, (39000).to_bytes(2, "little") + (-180 & 0xFFFF).to_bytes(2, "little"))
_SLOW = (
    (0x102, bytes([0x22])),
    (0x103, bytes([0x22])),
    (0x212, bytes([0, 3 << 3])),
    (0x261, (2460).to_bytes(2, "little")),
    (0x292, (805).to_bytes(2, "little")),
    (0x312, ((196 << 44) | (206 << 53)).to_bytes(8, "little")),
    (0x3C2, (1 << 50).to_bytes(8, "little")),
    (0x3C3, (1 << 42).to_bytes(8, "little")),
)


class Bus:
    """The car: every message of a parked Tesla at 100 Hz, with the gear that is selected."""

    def __init__(self, interface: str = "udp_multicast", channel: str = GROUP) -> None:
        import can

        self._can = can
        self._bus = can.Bus(interface=interface, channel=channel)
        self._counter = 0

    def say(self, gear: int = 1) -> None:
        """Sends every message once; with another gear than Park (1) only that one, which is the edge."""
        self._counter += 1
        self._gear(self._counter, gear)
        if gear == 1:
            self._speed(self._counter)
            self._power(self._counter)
            for frame_id, data in (_PACK, *_SLOW):
                self._frame(frame_id, data.ljust(8, b"\0"))

    def say_at_rates(self) -> int:
        """Sends what is due when this is called 100 times a second: gear each time, speed and pack every second time,
        the rest every tenth (a car's rates, as far as they are published). Returns how many frames that were."""
        self._counter += 1
        turn = self._counter
        self._gear(turn, 1)
        if turn % 2 == 0:
            self._speed(turn // 2)
            self._frame(_PACK[0], _PACK[1].ljust(8, b"\0"))
        if turn % 10 == 0:
            self._power(turn // 10)
            for frame_id, data in _SLOW:
                self._frame(frame_id, data.ljust(8, b"\0"))
        return 1 + 2 * (turn % 2 == 0) + (1 + len(_SLOW)) * (turn % 10 == 0)

    def _gear(self, count: int, gear: int) -> None:
        self._frame(0x118, protected(0x118, bytes([0, count % 16, gear << 5, 0, 0, 0, 0, 0])))

    def _speed(self, count: int) -> None:  # raw 500: 0 km/h
        self._frame(0x257, protected(0x257, bytes([0, count % 16 | 0x40, 0x1F, 0, 0, 0, 0, 0])))

    def _power(self, count: int) -> None:
        power = bytes([0, 0, 0, 0, 0, 0, count % 16 << 4])
        self._frame(0x221, power + bytes([(sum(power) + 0x21 + 2) & 0xFF]))

    def close(self) -> None:
        """Leaves the group."""
        self._bus.shutdown()

    def _frame(self, frame_id: int, data: bytes) -> None:
        self._bus.send(self._can.Message(arbitration_id=frame_id, data=data, is_extended_id=False))


@contextlib.contextmanager
def bridge_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A bridge on the bus, with its files below `folder`; terminated at the end."""
    (folder / "policy.toml").write_text(POLICY)
    trace = [header_line("what the bus does not say", 100), moment_line(Moment(0, dict(OWN)))]
    (folder / "own.jsonl").write_text("\n".join(trace))
    command = [
        *(sys.executable, "-m", "firmware_bridge.main", "--policy-file", str(folder / "policy.toml")),
        *("--source", f"can:udp_multicast/{GROUP}?map=tesla_model3", "--source", f"trace:{folder}/own.jsonl?end=hold"),
        *("--runtime-dir", str(folder / "run"), "--state-dir", str(folder / "state")),
    ]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def until_open(bus: Bus, path: Path) -> GateReader:
    """Says that the car is parked until a bridge opens the gate word at `path`; returns its reader."""
    deadline_ns = boottime_ns() + 30 * _SECOND_NS
    while boottime_ns() < deadline_ns:
        bus.say()
        time.sleep(0.01)
        with contextlib.suppress(GateWordError):
            reader = GateReader(path)
            if reader.read().is_open(boottime_ns()):
                return reader
    raise TimeoutError(f"the gate did not open within 30 s: {GateReader(path).read()}")


def wait_open(bus: Bus, reader: GateReader) -> None:
    """Says that the car is parked until the gate is open again."""
    for _ in range(1000):
        bus.say()
        time.sleep(0.01)
        if reader.read().is_open(boottime_ns()):
            return
    raise TimeoutError(f"the gate did not open again: {reader.read()}")


def favour(*pids: int) -> bool:
    """Puts `pids`, this process and what it starts from now on before others (nice -20): a busy machine counts less.

    Not by a real-time class: Linux stops such programs for 49 ms of every second of which they took the rest, on a
    quiet machine too, and that would be measured. Returns False where it is not allowed."""
    try:
        for each in (*pids, 0):
            os.setpriority(os.PRIO_PROCESS, each, -20)
    except PermissionError:
        return False
    return True


def cpu_ns(pid: int) -> int:
    """Returns the CPU time that a process has used."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
