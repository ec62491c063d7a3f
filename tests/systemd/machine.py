"""A Debian machine in user-mode Linux, with this tree installed in it: built once, copied for each boot.

    .cache/uml/rootfs   Debian with systemd, can-utils, the kernel's modules (mmdebstrap; made once)
    WORK/root           its copy: the guest writes straight into this folder (hostfs)
        /opt/python     the interpreter that runs this, mounted from the host, as are its packages in /opt/packages
        /opt/one /opt/two   this tree twice, as two versions; /opt/current is the one that the units run

A guest sees no AVX: where the host has AMX, user-mode Linux 6.1 cannot keep the larger registers (`launch`), and they
are lost at a page fault. So the guest's libraries are told not to use them, and its copy of the tree hashes with the
scalar reference.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

from numpy._core._multiarray_umath import __cpu_dispatch__

from runtime.cli.install import items

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/uml"
PACKAGES = "systemd,systemd-sysv,udev,dbus,python3-minimal,libpython3-stdlib,iproute2,can-utils,kmod,procps"
HOST_PACKAGES = ("mmdebstrap", "user-mode-linux")
TREES = ("kernels", "firmware_bridge", "runtime")
VERSIONS = {"one": "1.0.0", "two": "2.0.0"}
_NO_AVX = (
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load,-ERMS",
    "OPENSSL_ia32cap=~0x1000000000000000:0",
    "NPY_DISABLE_CPU_FEATURES=" + ",".join(__cpu_dispatch__),
    "OPENBLAS_CORETYPE=Prescott",
)


def install_host_packages() -> None:
    """Installs what makes and runs the machine, if it is missing."""
    missing = [name for name in HOST_PACKAGES if not _has_package(name)]
    if missing:
        print("installing", *missing, flush=True)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )


def _has_package(name: str) -> bool:
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", name], capture_output=True, text=True, check=False)
    return "ok installed" in said.stdout


def base() -> Path:
    """Returns the cached root filesystem, made if it is not there."""
    made = CACHE / "rootfs"
    if not (CACHE / "complete").exists():
        print("building the guest's Debian (once, half a minute to two)", flush=True)
        shutil.rmtree(made, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(made)]
        subprocess.run(command, check=True)
        modules = Path("/usr/lib/uml/modules")
        shutil.copytree(modules, made / "usr/lib/modules", dirs_exist_ok=True, symlinks=True)
        (CACHE / "complete").touch()
    return made


def build(work: Path) -> Path:
    """Returns a root filesystem in `work` with both versions of this tree installed."""
    root = work / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", str(base()), str(root)], check=True)
    (root / "etc/machine-id").write_text("")
    opt = root / "opt"
    for version, number in VERSIONS.items():
        _install_tree(opt / version, number)
    (opt / "current").symlink_to("one")
    for folder in ("python", "packages", "tests"):
        (opt / folder).mkdir()
    (opt / "bin").mkdir()
    python = "/opt/python/bin/python3" if sys.base_prefix != "/usr" else "/usr/bin/python3"
    command = f"#!/bin/sh\nLD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/current:/opt/packages exec {python}"
    for name, rest in (("idlehands", "-m runtime.cli.main"), ("python", "")):
        own = command if name == "idlehands" else command.replace("/opt/packages", "/opt/tests:/opt/packages")
        (opt / "bin" / name).write_text(f'{own} {rest} "$@"\n')
        (opt / "bin" / name).chmod(0o755)
    for item in items(Path("/opt/bin")):
        path = root / item.target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(item.text)
    mounts = [("none", "/opt/packages", "hostfs", f"ro,{sysconfig.get_path('purelib')}")]
    mounts += [("none", "/opt/tests", "hostfs", f"ro,{ROOT}")]
    if sys.base_prefix != "/usr":
        mounts += [("none", "/opt/python", "hostfs", f"ro,{sys.base_prefix}")]
    # What a guest's user creates on hostfs belongs to the host's: state needs a file system of the guest's own.
    mounts += [("tmpfs", "/var/lib", "tmpfs", "mode=0755,size=24m"), ("tmpfs", "/tmp", "tmpfs", "mode=1777")]
    (root / "etc/fstab").write_text("".join(f"{' '.join(mount)} 0 0\n" for mount in mounts))
    (root / "etc/systemd/system.conf").write_text(
        "[Manager]\nDefaultEnvironment=" + " ".join(f'"{word}"' for word in _NO_AVX) + "\n"
    )
    return root


def _install_tree(target: Path, number: str) -> None:
    for tree in TREES:
        shutil.copytree(ROOT / tree, target / tree, ignore=shutil.ignore_patterns("__pycache__", "*.c", "*.h", "*.pyx"))
        (target / tree / "_build_id.py").write_text(f'BUILD_ID = "build-of-{number}"\n')
    for face in (target / "kernels/frames").glob("*.py"):
        face.write_text(face.read_text().replace("variant: str | None = None", 'variant: str | None = "scalar"'))
    about = target / f"idlehands-{number}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: idlehands\nVersion: {number}\n")


def launch(root: Path, *, memory: str = "768M", timeout_s: float = 600) -> list[str]:
    """Boots the machine, gives its console to stdout and returns its lines once it is off."""
    kernel = [
        *("linux.uml", f"mem={memory}", "root=/dev/root", "rootfstype=hostfs", f"rootflags={root}", "rw"),
        *("con=null", "con0=fd:0,fd:1", "con1=null", "ssl=null", "quiet", "loglevel=3"),
        *(
            "systemd.unified_cgroup_hierarchy=1",
            "systemd.show_status=no",
            "console=tty0",
            *os.environ.get("UML_EXTRA", "").split(),
            *_NO_AVX,
        ),
    ]
    lines: list[str] = []
    with subprocess.Popen(
        kernel, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=_hide_large_registers, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        killer = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
        killer.start()
        try:
            for raw in process.stdout:
                line = raw.decode(errors="replace").rstrip()
                lines.append(line)
                print(line, flush=True)
        finally:
            killer.cancel()
    return lines


def _hide_large_registers() -> None:
    """Refuses PTRACE_GETREGSET to the guest's kernel, which then keeps what SSE has.

    User-mode Linux 6.1 has room for 2.5 KB of registers a thread; with AMX a thread has 11 KB, and writing back less
    than all is an error on which it panics.
    """
    ptrace, getregset, allow, refuse = 101, 0x4204, 0x7FFF0000, 0x00050000 | 5
    program = [
        (0x20, 0, 0, 0),  # the system call's number
        (0x15, 0, 3, ptrace),
        (0x20, 0, 0, 16),  # its first argument
        (0x15, 0, 1, getregset),
        (0x06, 0, 0, refuse),
        (0x06, 0, 0, allow),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter_):
        raise OSError(ctypes.get_errno(), "no seccomp filter")
