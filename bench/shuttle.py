"""A slow, lossy link between two network namespaces of this machine: real IP packets, carried in user space.

    namespace "near" ── tun ─► queue ─► rate ─► delay ─► lost? ─► tun ── namespace "far"        and the same back
        10.77.0.1                                                             10.77.0.2

Needs root, /dev/net/tun and iproute2; no netem, no module. What is lost is drawn from a seed, packet by packet. A full
queue drops what comes, as a modem's does. TCP on both sides is the kernel's own.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

NEAR, FAR = "10.77.0.1", "10.77.0.2"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_MTU = 1500
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Shape:
    """What the link is like, each way. `queue_bytes` is what waits for the rate before packets are dropped."""

    rate_bit_s: float = 1e6
    delay_s: float = 0.04
    loss: float = 0.02
    queue_bytes: int = 64 << 10


@dataclass
class Way:
    """One direction: packets in, packets out when their time has come. Pure; times in seconds."""

    shape: Shape
    luck: random.Random
    carried_bytes: int = 0
    lost: int = 0
    dropped: int = 0
    _free_s: float = 0.0
    _flying: list[tuple[float, int, bytes]] = field(default_factory=list)
    _number: int = 0

    def take(self, packet: bytes, now_s: float) -> None:
        """Takes a packet that a sender has handed over."""
        waits_s = max(0.0, self._free_s - now_s)
        if waits_s * self.shape.rate_bit_s / 8 + len(packet) > self.shape.queue_bytes:
            self.dropped += 1
            return
        self._free_s = now_s + waits_s + len(packet) * 8 / self.shape.rate_bit_s
        self.carried_bytes += len(packet)
        if self.luck.random() < self.shape.loss:  # on the air, after it took its time
            self.lost += 1
            return
        self._number += 1
        heapq.heappush(self._flying, (self._free_s + self.shape.delay_s, self._number, packet))

    def due(self, now_s: float) -> list[bytes]:
        """Returns the packets that arrive until `now_s`."""
        found = []
        while self._flying and self._flying[0][0] <= now_s:
            found.append(heapq.heappop(self._flying)[2])
        return found

    def next_s(self) -> float | None:
        """Returns when the next packet arrives, None if none is under way."""
        return self._flying[0][0] if self._flying else None


class SlowLink:
    """Two namespaces with the link between them, as a context manager; `near` and `far` are command prefixes.

    Raises OSError where this user may not make namespaces or TUN devices.
    """

    def __init__(self, shape: Shape, seed: int = 1) -> None:
        self.shape = shape
        name = f"ih{os.getpid()}"
        self._names = (f"{name}n", f"{name}f")
        self.near, self.far = (["ip", "netns", "exec", one] for one in self._names)
        self.ways = tuple(Way(shape, random.Random(seed + number)) for number in range(2))
        self._tuns: list[int] = []
        self._wake = os.pipe()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> SlowLink:
        try:
            for name, address in zip(self._names, (NEAR, FAR), strict=True):
                _run("ip", "netns", "add", name)
                self._tuns.append(_tun_in(name))
                inside = ("ip", "netns", "exec", name, "ip")
                _run(*inside, "addr", "add", f"{address}/24", "dev", "link0")
                _run(*inside, "link", "set", "link0", "mtu", str(_MTU), "up")
                _run(*inside, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._thread = threading.Thread(target=self._carry, name="link", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._wake[1], b"x")
        if self._thread is not None:
            self._thread.join()
        for descriptor in (*self._tuns, *self._wake):
            os.close(descriptor)
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)

    def _carry(self) -> None:
        near, far = self._tuns
        onward = {near: (self.ways[0], far), far: (self.ways[1], near)}
        while True:
            now_s = time.monotonic()
            for way, to in onward.values():
                for packet in way.due(now_s):
                    os.write(to, packet)
            times = [at for way in self.ways if (at := way.next_s()) is not None]
            wait_s = max(0.0, min(times) - time.monotonic()) if times else None
            ready, _, _ = select.select([near, far, self._wake[0]], [], [], wait_s)
            if self._wake[0] in ready:
                return
            for tun in ready:
                onward[tun][0].take(os.read(tun, 65536), time.monotonic())


def can_link() -> bool:
    """Returns whether this user can have such a link here."""
    return os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK) and Path("/proc/self/ns/net").exists()


def _tun_in(namespace: str) -> int:
    """Returns the descriptor of a TUN device "link0" in `namespace`; only a thread of its own goes there."""
    found: list[int] = []
    errors: list[OSError] = []

    def make() -> None:
        try:
            with Path(f"/run/netns/{namespace}").open("rb") as file:
                if _libc.setns(file.fileno(), 0):
                    raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", b"link0", _IFF_TUN | _IFF_NO_PI))
            found.append(descriptor)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
