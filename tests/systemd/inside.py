"""What is tried inside the machine, as root under systemd. Each line on the console: `ok NAME` or `FAIL NAME: why`.

can0 (vcan: the vehicle) ──cangw, one way──► ih-can0 ═vxcan═ can0 in the namespace `idlehands` ──► bridge ──► gate word
                                                                                      desktop ◄── worker ◄── daemon
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.parked_car import OWN, Bus
from firmware_bridge.sources.can_map import load_map
from firmware_bridge.sources.trace_file import Moment, header_line, moment_line
from kernels.gate.word import GateReader, GateReading, GateWordError, boottime_ns
from runtime.daemon.client import Client, DaemonAbsent, DaemonRefused
from runtime.desktop.connector import serve_desktop
from runtime.desktop.memory import MemoryDesktop, MemoryScreen

GATE = Path("/run/idlehands-bridge/gate")
DESK = Path("/run/desk")
BOXES = 8
CONTROL = Path("/run/idlehands/control")
PATIENCE_S = 90.0
# On a busy host the one CPU of the guest cannot keep the lease all the time: a job then takes several workers.
JOB_S = 240.0
BRIDGE_TOML = """
sources = ["can:socketcan/can0?map=tesla_model3", "trace:/etc/idlehands/own.jsonl?end=hold"]
policy_file = "/etc/idlehands/policy.toml"
runtime_dir = "/run/idlehands-bridge"
state_dir = "/var/lib/idlehands-bridge"
"""
POLICY_TOML = "[timing]\ndwell_s = 0.2\ndrain_s = 0.1\n"


class Failed(Exception):
    """What was promised is not so."""


def check(is_so: object, says: str) -> None:
    """Raises Failed unless `is_so`."""
    if not is_so:
        raise Failed(says)


def run(*command: str, expect: int | None = 0) -> str:
    """Runs a command and returns what it said; another exit code than `expect` (None: any) is a failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if expect is not None and done.returncode != expect:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-600:]}")
    return done.stdout


def until(is_so: Callable[[], object], says: str, *, at_most_s: float = PATIENCE_S) -> Any:
    """Waits until `is_so` and returns what it gave."""
    give_up_s = time.monotonic() + at_most_s
    while True:
        found = is_so()
        if found:
            return found
        if time.monotonic() > give_up_s:
            raise Failed(f"not within {at_most_s:g} s: {says}")
        time.sleep(0.05)


def word() -> GateReading | None:
    """Returns the gate word if it is open now."""
    try:
        reading = GateReader(GATE).read()
    except GateWordError:
        return None
    return reading if reading.is_open(boottime_ns()) else None


def property_of(unit: str, name: str) -> str:
    """Returns one property of a unit as systemd knows it."""
    return run("systemctl", "show", unit, "-p", name, "--value").strip()


def pid_of(unit: str) -> int:
    return int(property_of(unit, "MainPID"))


def units_start() -> None:
    """Installed, enabled, started: READY was said, and systemd gave them their users and limits."""
    run("systemd-sysusers")
    run("systemd-tmpfiles", "--create")
    run("systemctl", "daemon-reload")
    Path("/etc/idlehands/bridge.toml").write_text(BRIDGE_TOML)
    Path("/etc/idlehands/policy.toml").write_text(POLICY_TOML)
    trace = [header_line("what the bus does not say", 100), moment_line(Moment(0, dict(OWN)))]
    Path("/etc/idlehands/own.jsonl").write_text("\n".join(trace))
    run("modprobe", "-a", "vcan", "can-raw")
    run("ip", "link", "add", "can0", "type", "vcan")
    run("ip", "link", "set", "can0", "up")
    subprocess.Popen([sys.executable, "-m", "tests.systemd.inside", "--vehicle"])
    run("systemctl", "start", "idlehands-can@can0", "idlehands-bridge", "idlehands.socket", "idlehands")
    for unit, user in (("idlehands-bridge", "idlehands-bridge"), ("idlehands", "idlehands")):
        check(property_of(unit, "ActiveState") == "active", f"{unit} is {property_of(unit, 'ActiveState')}")
        check(property_of(unit, "User") == user, f"{unit} has another user")
        check(property_of(unit, "Slice") == "idlehands.slice", f"{unit} is in another slice")
        check(int(property_of(unit, "TasksMax")) <= 128, f"{unit} has no limit of tasks")
        uid = Path(f"/proc/{pid_of(unit)}").stat().st_uid
        check(uid != 0, f"{unit} runs as root")


def gate_opens() -> None:
    """Frames of the vehicle's bus reach the bridge through the one-way rule."""
    until(word, "the gate is open")


def listens_only() -> None:
    """A frame sent as the bridge's user in its namespace never reaches the vehicle's interface."""
    names = {each["ifname"] for each in json.loads(run("ip", "-n", "idlehands", "-j", "link"))}
    check(names == {"lo", "can0"}, f"the bridge sees the interfaces {names}")
    bridge_ns, own_ns = (os.readlink(f"/proc/{pid}/ns/net") for pid in (pid_of("idlehands-bridge"), "self"))
    check(bridge_ns != own_ns, "the bridge is in the machine's network namespace")
    log = Path("/tmp/can0.log")
    with log.open("w") as file, subprocess.Popen(["candump", "-L", "can0"], stdout=file) as dump:
        until(lambda: log.stat().st_size, "candump hears the vehicle")
        sender = ["ip", "netns", "exec", "idlehands", "setpriv", "--reuid=idlehands-bridge", "--regid=idlehands-bridge"]
        for _ in range(20):
            run(*sender, "--clear-groups", "cansend", "can0", "7FF#DEADBEEF")
        run("cansend", "can0", "7FE#00")  # the vehicle's own, for comparison: this one must be heard
        until(lambda: " 7FE#" in log.read_text(), "a frame of the vehicle is heard")
        time.sleep(0.5)
        dump.terminate()
    check(" 7FF#" not in log.read_text(), "a frame sent as the bridge's user reached the vehicle's interface")


def filters_are_the_kernels() -> None:
    """Of a full bus only the needed ids wake the bridge: 4,000 other frames a second do not."""
    wanted = {frame_id for frame_id, _ in load_map("tesla_model3").messages}
    check(not _filters("rcvlist_all"), "the bridge takes every frame")
    filtered = _filters("rcvlist_fil") | _filters("rcvlist_sff")
    check(filtered == wanted, f"the kernel filters {sorted(filtered)}, the map has {sorted(wanted)}")
    quiet = _wakes(3.0)
    flood = subprocess.Popen([sys.executable, "-m", "tests.systemd.inside", "--flood", "4000"], stdout=subprocess.PIPE)
    try:
        full = _wakes(3.0)
        check(word() or until(word, "the gate is open under a full bus"), "")
    finally:
        flood.terminate()
        flood.wait()
    check(full < 2 * quiet + 50, f"{full:.0f} wakes a second on a full bus, {quiet:.0f} without the flood")


def _filters(kind: str) -> set[int]:
    """Returns the ids of one of the kernel's lists of receivers on the bridge's can0."""
    said = run("ip", "netns", "exec", "idlehands", "cat", f"/proc/net/can/{kind}")
    rows = [line.split() for line in said.splitlines()]
    return {int(row[1], 16) & 0x7FF for row in rows if row[:1] == ["can0"]}


def _wakes(seconds: float) -> float:
    """Returns how often a second a thread of the bridge was woken."""
    tasks = Path(f"/proc/{pid_of('idlehands-bridge')}/task")

    def count() -> int:
        lines = [line for task in tasks.iterdir() for line in (task / "status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    begun, before = time.monotonic(), count()
    time.sleep(seconds)
    return (count() - before) / (time.monotonic() - begun)


def killed_bridge_comes_back() -> None:
    """kill -9: the gate shuts by its lease, systemd brings the bridge back, gate_epoch has grown."""
    reader, before = GateReader(GATE), until(word, "the gate is open").gate_epoch
    os.kill(pid_of("idlehands-bridge"), signal.SIGKILL)
    until(lambda: not reader.is_open(before), "the gate shut", at_most_s=5)
    after = until(word, "the gate is open again")
    check(after.gate_epoch > before, f"gate_epoch fell from {before} to {after.gate_epoch}")
    check(int(property_of("idlehands-bridge", "NRestarts")) >= 1, "systemd did not restart it")


def stalled_bridge_is_watched() -> None:
    """SIGSTOP: the gate shuts by its lease; the watchdog ends the bridge and systemd brings it back."""
    reader, before = GateReader(GATE), until(word, "the gate is open").gate_epoch
    pid = pid_of("idlehands-bridge")
    os.kill(pid, signal.SIGSTOP)
    until(lambda: not reader.is_open(before), "the gate shut", at_most_s=5)
    until(lambda: pid_of("idlehands-bridge") not in (0, pid), "the watchdog replaced it")
    check(until(word, "the gate is open again").gate_epoch > before, "gate_epoch fell")


def upgrade_loses_no_job() -> None:
    """A new version takes over in the middle of a job: who asks meanwhile waits, every box is clicked once."""
    DESK.mkdir(mode=0o755)
    run("chown", "idlehands:idlehands", str(DESK))
    as_daemon = ["setpriv", "--reuid=idlehands", "--regid=idlehands", "--clear-groups"]
    subprocess.Popen([*as_daemon, sys.executable, "-m", "tests.systemd.inside", "--desk"])
    until(lambda: (DESK / "desk.socket").exists(), "the desktop is there")
    _submit("click everything")
    until(lambda: 2 <= len(_clicks()) < BOXES, "the job is in its middle", at_most_s=JOB_S)
    check(_status()["version"] == "1.0.0", "the first version runs")
    current = Path("/opt/current")
    current.with_name("next").symlink_to("two")
    current.with_name("next").rename(current)
    restarting = subprocess.Popen(["systemctl", "restart", "idlehands"])
    answered = _status()  # asked in the middle of it
    restarting.wait()
    check(answered["version"] in ("1.0.0", "2.0.0"), "somebody else answered")
    check(_status()["version"] == "2.0.0", "the second version runs")
    _ends_with_every_box_once()


def killed_daemon_loses_no_job() -> None:
    """kill -9 of the daemon in the middle of a job: systemd brings it back and the job goes on."""
    (DESK / "clicks").write_text("")
    _submit("again")
    until(lambda: 2 <= len(_clicks()) < BOXES, "the job is in its middle", at_most_s=JOB_S)
    os.kill(pid_of("idlehands"), signal.SIGKILL)
    _ends_with_every_box_once()


def suspend_is_no_open_gate() -> None:
    """All of the product stands still for longer than a lease, as over a suspend: nothing counts until it is judged."""
    (DESK / "clicks").write_text("")
    _submit("once more")
    until(lambda: 2 <= len(_clicks()) < BOXES, "the job is in its middle", at_most_s=JOB_S)
    before = until(word, "the gate is open").gate_epoch
    run("systemctl", "freeze", "idlehands.slice")
    try:
        time.sleep(3.0)
        check(not GateReader(GATE).is_open(before), "the gate is open though its bridge stands still")
    finally:
        run("systemctl", "thaw", "idlehands.slice")
    check(until(word, "the gate is open again").gate_epoch > before, "the stop has not advanced gate_epoch")
    _ends_with_every_box_once()


def full_disk_loses_nothing() -> None:
    """No byte left for the bridge's and the daemon's state in the middle of a job: it waits, and goes on with room."""
    (DESK / "clicks").write_text("")
    _submit("with a full disk")
    until(lambda: 2 <= len(_clicks()) < BOXES, "the job is in its middle", at_most_s=JOB_S)
    ballast = Path("/var/lib/ballast")
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(1 << 16))
            except OSError:
                break
    time.sleep(5.0)
    for unit in ("idlehands-bridge", "idlehands"):
        check(property_of(unit, "ActiveState") == "active", f"{unit} did not live through a full disk")
    ballast.unlink()
    _ends_with_every_box_once()


def flapping_is_given_up() -> None:
    """A bridge that dies at every start is left alone after its limit: the unit has failed and the gate stays shut."""
    limit = Path("/run/systemd/system/idlehands-bridge.service.d/limit.conf")  # the shipped 20 would take minutes
    limit.parent.mkdir(parents=True)
    limit.write_text("[Unit]\nStartLimitBurst=3\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", "idlehands-bridge")
    killed = set[int]()

    def has_failed() -> bool:
        pid = pid_of("idlehands-bridge")
        if pid and pid not in killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return property_of("idlehands-bridge", "ActiveState") == "failed"

    until(has_failed, "systemd gave it up")
    check(len(killed) in (3, 4), f"it was started {len(killed)} times")
    check(word() is None, "the gate is open without a bridge")
    check(property_of("idlehands", "ActiveState") == "active", "the daemon went with it")
    limit.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", "idlehands-bridge")
    run("systemctl", "start", "idlehands-bridge")
    until(word, "the gate is open again")


def stop_closes() -> None:
    """Stopped units leave a closed gate, no worker, and no way in."""
    run("systemctl", "stop", "idlehands", "idlehands.socket", "idlehands-bridge", "idlehands-can@can0")
    check(word() is None, "the gate is open without a bridge")
    check(run("pgrep", "-c", "-f", "runtime.daemon.worker", expect=None).strip() == "0", "a worker is left")
    check("can0" not in run("cangw", "-L", expect=None), "the rule of the bus is left")


def _status() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("/opt/bin/idlehands", "status", "--json"))
    return found


def _submit(instruction: str) -> None:
    at = ["--desktop", f"unix:{DESK}/desk.socket"]
    run("/opt/bin/idlehands", "submit", *at, "--instruction", instruction, "--agent", "block_clicker")


def _ends_with_every_box_once() -> None:
    until(_is_over, "the job is over", at_most_s=JOB_S)
    clicks = _clicks()
    check(len(clicks) == BOXES, f"{len(clicks)} clicks on {BOXES} boxes")
    check(len(set(clicks)) == BOXES, f"a box was clicked twice: {clicks}")


def _is_over() -> bool:
    """Returns whether the newest job is over. Asked from here: a command's start costs seconds of this one CPU."""

    async def ask() -> str:
        async with await Client.connect(CONTROL) as client:
            return (await client.list_jobs((), 1))[0].state

    time.sleep(0.5)
    try:
        return asyncio.run(ask()) in ("done", "failed")
    except (DaemonAbsent, DaemonRefused):
        return False


def _clicks() -> list[str]:
    return (DESK / "clicks").read_text().split()


SHORT = (
    units_start,
    gate_opens,
    listens_only,
    filters_are_the_kernels,
    killed_bridge_comes_back,
    upgrade_loses_no_job,
    stop_closes,
)
LONG = (
    *SHORT[:-1],
    stalled_bridge_is_watched,
    killed_daemon_loses_no_job,
    suspend_is_no_open_gate,
    full_disk_loses_nothing,
    flapping_is_given_up,
    stop_closes,
)


def vehicle() -> None:
    """The car: says everything 40 times a second, before what else wants this machine's CPU."""
    os.nice(-20)
    bus = Bus("socketcan", "can0")
    while True:
        bus.say()
        time.sleep(0.025)


def flood(frames_per_s: int) -> None:
    """Other messages of a full bus, in bursts of a hundredth of a second."""
    import can

    bus = can.Bus(interface="socketcan", channel="can0")
    message = can.Message(arbitration_id=0x7AA, data=bytes(8), is_extended_id=False)
    while True:
        begun = time.monotonic()
        for _ in range(frames_per_s // 100):
            bus.send(message)
        time.sleep(max(0.0, begun + 0.01 - time.monotonic()))


def desk() -> None:
    """A desktop in memory with boxes that answer nothing; writes down every click."""
    import numpy as np

    image = np.full((240, 320, 4), 230, np.uint8)
    for number in range(BOXES):
        x, y = 20 + number % 5 * 60, 20 + number // 5 * 40
        image[y : y + 20, x : x + 40, :3] = 40
        image[y + 2 : y + 18, x + 2 : x + 38, :3] = 250
    screen = MemoryScreen(320, 240, image=image)
    (DESK / "clicks").write_text("")
    told = 0

    def tell(event: dict[str, Any]) -> None:
        nonlocal told
        presses = [each for each in screen.events if each.kind == "press"]
        with (DESK / "clicks").open("a") as file:
            file.writelines(f"{each.x},{each.y}\n" for each in presses[told:])
        told = len(presses)

    asyncio.run(serve_desktop(MemoryDesktop(screen), f"unix:{DESK}/desk.socket", None, DESK / "state", tell))


def main(which: str) -> None:
    """Runs the tests in order; a later one stands on the earlier."""
    begun_s = time.monotonic()
    tests = LONG if which == "long" else SHORT
    with open("/dev/console", "w") as console:

        def say(line: str) -> None:
            print(line, file=console, flush=True)

        passed = 0
        for test in tests:
            try:
                test()
            except Exception as error:  # noqa: BLE001 - whatever it is, the console must tell
                where = "" if isinstance(error, Failed) else traceback.format_exc(limit=-3)
                say(f"FAIL {test.__name__}: {error} {where}")
                for unit in ("idlehands-bridge", "idlehands", "idlehands-can@can0", "idlehands-netns"):
                    said = run("journalctl", "-u", unit, "-n", "12", "--no-pager", "-o", "cat", expect=None)
                    say(f"  {unit}: {said}")
                break
            passed += 1
            say(f"ok {test.__name__}: {(test.__doc__ or '').splitlines()[0]} ({time.monotonic() - begun_s:.0f} s)")
        say(f"done {passed} of {len(tests)}")
    subprocess.run(["systemctl", "poweroff", "-f"], check=False)


if __name__ == "__main__":
    if sys.argv[1] == "--vehicle":
        vehicle()
    elif sys.argv[1] == "--flood":
        flood(int(sys.argv[2]))
    elif sys.argv[1] == "--desk":
        desk()
    else:
        main(sys.argv[1])
