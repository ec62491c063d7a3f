"""A private X server (Xvfb) for demos, evaluations and tests, on a display number that the server itself picks."""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType

from runtime.errors import RuntimeFault


class DisplayMissing(RuntimeFault):
    """Xvfb is not installed, or did not come up."""

    next_step = "install it with 'apt-get install xvfb' (make demo does), or set DISPLAY to a running X server"


class XServer:
    """Xvfb as a context manager. `display` is its name (":7"); the server ends with the context.

    Its input devices auto-repeat nothing and no screen saver blanks it, so that what is seen is what was drawn.
    """

    def __init__(self, width: int = 640, height: int = 480) -> None:
        self.width, self.height = width, height
        self.display = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> XServer:
        program = shutil.which("Xvfb")
        if program is None:
            raise DisplayMissing("Xvfb was not found on PATH")
        read_end, write_end = os.pipe()
        screen = f"{self.width}x{self.height}x24"
        self._process = subprocess.Popen(
            [
                program,
                "-displayfd",
                str(write_end),
                "-screen",
                "0",
                screen,
                "-nolisten",
                "tcp",
                "-noreset",
                "-s",
                "0",
                "-ac",
            ],
            pass_fds=(write_end,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(write_end)
        with os.fdopen(read_end) as answer:
            number = answer.readline().strip()
        if not number:
            raise DisplayMissing(f"Xvfb {screen} ended with code {self._process.wait()} before it had a display")
        self.display = f":{number}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
