"""What a worker sees does not leave it: no core, no tracer, no swap. In a process of its own: it cannot be undone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

CHILD = """
import ctypes, json, os, resource, sys
from runtime.daemon.worker import protect_process
libc = ctypes.CDLL(None)
before = libc.prctl(3, 0, 0, 0, 0)
protect_process()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "dumpable": [before, libc.prctl(3, 0, 0, 0, 0)],
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "locked_kB": int(status["VmLck"].split()[0]),
}), flush=True)
if sys.argv[1:] == ["die"]:
    os.abort()
"""


def protected(*arguments: str) -> tuple[dict[str, list[int]], int]:
    child = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True)
    return json.loads(child.stdout), child.returncode


def test_a_worker_dumps_no_core_is_not_traced_and_is_not_swapped() -> None:
    found, _ = protected()
    assert found["dumpable"] == [1, 0]
    assert found["core"] == [0, 0]
    if os.geteuid() == 0:  # others may lock only as much as their limit says; the daemon warns of that
        assert int(str(found["locked_kB"])) > 0


def test_one_that_crashes_leaves_no_core() -> None:
    _, code = protected("die")
    assert code == -signal.SIGABRT
