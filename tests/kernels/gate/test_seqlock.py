"""The seqlock across processes: a reading is never a mixture of two writings, while another writes at full speed."""

from __future__ import annotations

import mmap
import subprocess
from pathlib import Path

from kernels.gate import _gate
from tests.kernels.python_command import python_command

WRITINGS = 200_000
WRITER = """
import mmap, os, sys
from kernels.gate import _gate
word = _gate.Word(mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 64), writable=True)
for k in range(1, int(sys.argv[2]) + 1):
    word.write(max_threads=k & 0xFFFF, state=k % 5, duty_permille=k % 1001, reasons=k * 3, gate_epoch=k,
               lease_until_ns=-k, boot_id_hash=k << 32, power_budget_mW=k)
"""


def test_no_reading_mixes_two_writings(tmp_path: Path) -> None:
    path = tmp_path / "gate"
    path.write_bytes(bytes(64))
    with path.open("rb") as file:
        word = _gate.Word(mmap.mmap(file.fileno(), 64, access=mmap.ACCESS_READ))
    writer = subprocess.Popen([*python_command(), "-c", WRITER, str(path), str(WRITINGS)])
    seen = set()
    k = 0
    try:
        while k < WRITINGS:
            consistent, _, _, threads, state, duty, reasons, k_read, lease, boot, power = word.read()
            if not consistent:  # the writer was descheduled inside; that is what it must say
                assert writer.poll() in (None, 0)
                continue
            assert k_read >= k, "time went backwards"
            k = k_read
            assert (threads, state, duty) == (k & 0xFFFF, k % 5, k % 1001)
            assert (reasons, lease, boot, power) == (k * 3, -k, k << 32, k)
            seen.add(k)
    finally:
        if k < WRITINGS:  # an assertion failed
            writer.kill()
        returncode = writer.wait(timeout=60)
    assert returncode == 0
    assert len(seen) > 10, "the reader was never there while the writer wrote: the test tested nothing"
