"""`python -m tests.systemd.run [--short]`: boots the machine of machine.py and runs inside.py in it; needs root.

What the short form leaves out: the watchdog, kill -9 of the daemon, a suspend, a full disk, a bridge that flaps.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.systemd.machine import build, install_host_packages, launch

UNIT = """[Service]
Type=oneshot
ExecStart=/opt/bin/python -m tests.systemd.inside {which}
Environment=PYTHONDONTWRITEBYTECODE=1
[Install]
WantedBy=multi-user.target
"""


def main() -> int:
    """Returns 0 when every test inside passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.systemd.run", description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the guest's root filesystem")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("this makes a root filesystem with users of its own: run it as root", file=sys.stderr)
        return 2
    begun_s = time.monotonic()
    install_host_packages()
    work = Path(tempfile.mkdtemp(prefix="idlehands-uml-"))
    try:
        root = build(work)
        units = root / "etc/systemd/system"
        (units / "idlehands-test.service").write_text(UNIT.format(which="short" if arguments.short else "long"))
        wants = units / "multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / "idlehands-test.service").symlink_to("../idlehands-test.service")
        print(f"booting after {time.monotonic() - begun_s:.0f} s", flush=True)
        lines = launch(root)
    finally:
        if not arguments.keep:
            shutil.rmtree(work)
    print(f"{time.monotonic() - begun_s:.0f} s")
    done = next((match for line in lines if (match := re.search(r"^done (\d+) of (\d+)", line))), None)
    if done is None:
        print("the machine ended before its tests did", file=sys.stderr)
        return 1
    return 0 if done[1] == done[2] else 1


if __name__ == "__main__":
    sys.exit(main())
