"""Recorded screens for the benches of the wire: what was to be seen before each step of a session, pixel for pixel.

    file     zstd of: u32 length, MessagePack list of [name, kind, width, height, steps], then every screen, XOR the
             one before it
    kinds    "miniwob": demonstrations of pages, one an episode
             "desktop": a terminal, an editor, a calculator, a browser

`python -m bench.recording FOLDER` makes the committed file anew: pages from demonstrations in FOLDER (`make train`
records them), the desktop from programs on an X server of its own (openbox, xterm, mousepad, galculator, chromium).
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

from models.screen_agent.episodes import decode, read_shard
from runtime.desktop.protocol import Step
from runtime.desktop.x11.desktop import X11Desktop
from runtime.evaluation.xserver import XServer
from runtime.wire.actions import Action, Click, Drag, Key, Scroll, Type

RECORDED = Path(__file__).with_name("data") / "screens.zst"
TASKS = (
    "book-flight", "click-checkboxes", "click-dialog", "email-inbox", "enter-date", "login-user", "search-engine",
    "social-media", "use-autocomplete", "read-table",
)  # fmt: skip
WIDTH, HEIGHT = 1280, 800
_LEVEL, _WINDOW_LOG = 19, 27
_LENGTH = struct.Struct("<I")
_QUIET_S, _AT_MOST_S = 0.3, 4.0


@dataclass(frozen=True)
class Recording:
    """One session; `screens` is uint8 (steps, height, width, 4), B G R 0."""

    name: str
    kind: str
    screens: NDArray[np.uint8]


def load(names: Container[str] | None = None, path: Path = RECORDED) -> Iterator[Recording]:
    """Yields the recordings in `path`, or those that are named."""
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG).stream_reader(file)
        for name, kind, width, height, steps in msgpack.unpackb(
            stream.read(*_LENGTH.unpack(stream.read(_LENGTH.size)))
        ):
            data = stream.read(steps * height * width * 4)
            if names is None or name in names:
                different = np.frombuffer(data, np.uint8).reshape(steps, height, width, 4)
                yield Recording(name, kind, np.bitwise_xor.accumulate(different, axis=0))


def write(recordings: list[Recording], path: Path = RECORDED) -> None:
    """Writes `recordings` to `path`."""
    heads = [[one.name, one.kind, one.screens.shape[2], one.screens.shape[1], len(one.screens)] for one in recordings]
    settings = zstandard.ZstdCompressionParameters.from_level(_LEVEL, window_log=_WINDOW_LOG, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    head = msgpack.packb(heads)
    with path.open("wb") as file:
        file.write(stream.compress(_LENGTH.pack(len(head)) + head))
        for one in recordings:
            different = one.screens.copy()
            different[1:] ^= one.screens[:-1]
            file.write(stream.compress(different.tobytes()))
        file.write(stream.flush())


def pages(folder: Path) -> Iterator[Recording]:
    """Yields an episode of each task: the first of the last shard that is at the page's own zoom or nearest to it."""
    for task in TASKS:
        shards = [list(read_shard(path)) for path in sorted((folder / task).glob("*.mpz"))]
        episode = min((one for shard in shards for one in shard), key=lambda one: (abs(one.scale - 1.5), one.seed))
        yield Recording(task, "miniwob", decode(episode).frames)


def desktop(tell: Callable[[str], None]) -> Recording:
    """Works ordinary programs and keeps the screen before each step."""
    screens: list[NDArray[np.uint8]] = []
    with ExitStack() as held, tempfile.TemporaryDirectory() as home:
        display = held.enter_context(XServer(WIDTH, HEIGHT)).display
        env = {"DISPLAY": display, "HOME": home, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PS1": "$ "}

        def start(*command: str) -> None:
            process = subprocess.Popen(command, env=env, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            held.callback(process.wait)
            held.callback(process.terminate)
            time.sleep(1.5)

        start("openbox")
        worked = X11Desktop(display, home)
        held.callback(worked.close)
        page = "".join(
            f"<h3>Order {n}</h3><p>{'Ten crates of oranges, to be paid in May. ' * 4}</p>" for n in range(40)
        )
        programs = (
            ("xterm", "-geometry", "80x24+20+20", "-e", "sh"),
            ("mousepad",),
            ("galculator",),
            ("chromium", "--no-sandbox", f"--user-data-dir={home}/c", f"data:text/html,{page}"),
        )
        for number, action in enumerate(steps_of(programs, start)):
            if action is not None:
                worked.apply(action, None, Step(1, 1, number + 1))
            screens.append(at_rest(worked))
            tell(f"desktop: {len(screens)} screens")
    return Recording("programs", "desktop", np.stack(screens))


def steps_of(programs: tuple[tuple[str, ...], ...], start: Callable[..., None]) -> Iterator[Action | None]:
    """Yields what is done, None where a program was started instead."""
    for command in programs:
        start(*command)
        yield None
        yield Click(WIDTH // 2, HEIGHT // 2) if command[0] == "chromium" else Click(200, 200)
        if command[0] == "xterm":
            for line in ("ls -l /usr/share | head -40", "cat /etc/services | head -60", "echo done", "seq 200"):
                yield Type(line)
                yield Key("enter")
        elif command[0] == "mousepad":
            for word in ("Dear Ms Weaver,", "the crates came today.", "Two of them were open,", "and one was wet."):
                yield Type(word)
                yield Key("enter")
            yield Key("ctrl+a")
            yield Key("ctrl+c")
            yield Key("ctrl+end")
            yield Key("ctrl+v")
            yield Key("alt+f")
            yield Key("escape")
        elif command[0] == "galculator":
            for text in ("12", "*", "7", "="):
                yield Type(text)
            yield Drag(((640, 250), (900, 420)))
        else:
            for _ in range(6):
                yield Scroll(WIDTH // 2, HEIGHT // 2, 0, 3)
            for _ in range(3):
                yield Scroll(WIDTH // 2, HEIGHT // 2, 0, -3)
            yield Key("ctrl+f")
            yield Type("Order 17")
            yield Key("enter")
            yield Key("escape")


def at_rest(worked: X11Desktop) -> NDArray[np.uint8]:
    """Returns the screen once it has not changed for a while, or after some seconds."""
    frame = worked.capture(0)
    until_s = time.monotonic() + _AT_MOST_S
    changed_s = time.monotonic()
    while time.monotonic() < min(until_s, changed_s + _QUIET_S):
        time.sleep(0.03)
        later = worked.capture(frame.frame_id)
        if later.frame_id != frame.frame_id:
            frame, changed_s = later, time.monotonic()
    pixels = frame.pixels.copy()
    pixels[..., 3] = 0
    return pixels


if __name__ == "__main__":
    made = [*pages(Path(sys.argv[1])), desktop(lambda said: print(said, end="\r", flush=True))]
    write(made)
    print(f"{sum(len(one.screens) for one in made)} screens of {len(made)} sessions: {RECORDED.stat().st_size} bytes")
