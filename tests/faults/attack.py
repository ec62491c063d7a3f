"""Tries an operation with a fault at its first write, its second, … until it gets through; writes.c makes the faults.

pytest ──run_module──► a child under LD_PRELOAD ──attack──► for N = 1…:  prepare(folder)
                                                                         fork: arm(N), act(folder) ─► how it ended
                                                                         check(folder, how)
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from enum import Enum
from functools import cache
from pathlib import Path

from kernels.errors import IdlehandsError

REPOSITORY = Path(__file__).resolve().parents[2]
FOREVER = 2000


class Mode(Enum):
    """What happens at the N-th change to the file system."""

    full = 1
    io = 2
    kill = 3


class Ended(Enum):
    """How the operation ended: got through, told its caller (a clear error), or was killed."""

    done = 0
    told = 11
    killed = -signal.SIGKILL


@cache
def library() -> Path:
    """Returns the compiled writes.c, made once a process."""
    folder = Path(tempfile.mkdtemp(prefix="idlehands-faults-"))
    made = folder / "writes.so"
    source = Path(__file__).with_name("writes.c")
    command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return made


def run_module(module: str, *arguments: str) -> str:
    """Runs `python -m module` with the faults at hand; returns what it printed. Its failure is an assertion's."""
    child = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "LD_PRELOAD": str(library()), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
    )
    shutil.rmtree(library().parent)
    library.cache_clear()
    assert child.returncode == 0, child.stdout
    return child.stdout


def attack(
    mode: Mode,
    prepare: Callable[[Path], None],
    act: Callable[[Path], None],
    check: Callable[[Path, Ended], None],
) -> int:
    """Returns how many points were tried. `act` may raise IdlehandsError (told); anything else fails the attack."""
    in_memory = Path("/dev/shm")  # the faults are ours: nothing is gained by waiting for a real disk
    with tempfile.TemporaryDirectory(dir=in_memory if in_memory.is_dir() else None) as root:
        for n in range(1, FOREVER):
            folder = Path(root, str(n))
            folder.mkdir()
            prepare(folder)
            ended, reached = _forked(mode, n, folder, act)
            try:
                check(folder, ended)
            except BaseException:
                print(f"mode {mode.name}, change {n}, ended {ended.name}", flush=True)
                raise
            shutil.rmtree(folder)
            if not reached:
                return n - 1
    raise AssertionError(f"the operation makes more than {FOREVER} changes")


def _forked(mode: Mode, n: int, folder: Path, act: Callable[[Path], None]) -> tuple[Ended, bool]:
    faults = ctypes.CDLL(None)
    pid = os.fork()
    if pid == 0:
        code = 12
        try:
            faults.ih_fault_arm(n, mode.value)
            act(folder)
            code = 0 if faults.ih_fault_count() < n else 10
        except IdlehandsError:
            code = 11
        except BaseException:  # noqa: BLE001 - a fork must never return into its parent's code
            faults.ih_fault_arm(0, 0)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code != 12, f"mode {mode.name}, change {n}: not a clear error"
    return Ended(0 if code == 10 else code), code != 0
