"""The bridge's shell: on a virtual clock what is published, and as a process what a kill and a stop leave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge import bridge, epochs, files, why
from firmware_bridge import signals as s
from firmware_bridge.bridge import Bridge, run_bridge
from firmware_bridge.bridge_settings import BridgeSettings
from firmware_bridge.clock import Clock, VirtualClock
from firmware_bridge.errors import BridgeError, SettingsError, SourceError, StateError
from firmware_bridge.journal import read_journal
from firmware_bridge.policy_settings import Policy
from firmware_bridge.readings import Reading, Value
from firmware_bridge.signals import SIGNALS
from firmware_bridge.sources.cues import give_cue
from kernels.gate.word import GateReader, GateReading, GateWordError, State, boottime_ns
from tests.firmware_bridge.parked import MS, PARKED, QUICK, START

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "runtime/demo/drive.jsonl"
DEMO_POLICY = ROOT / "runtime/demo/policy.toml"


class Car:
    """A source in memory: repeats `values` every 50 ms; `say` is heard at once."""

    url = "car:"

    def __init__(self) -> None:
        self.values: dict[str, Value] = dict(PARKED)
        self.error: Exception | None = None
        self.is_over = False

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        while not self.is_over:
            if self.error is not None:
                raise self.error
            for name, value in self.values.items():
                yield Reading(name, value, SIGNALS[name].unit, clock.now_ns())
            await clock.sleep_until(clock.now_ns() + 50 * MS)


class Scene:
    """A bridge on a virtual clock with a car in memory."""

    def __init__(self, folder: Path, policy: Policy = QUICK) -> None:
        self.clock = VirtualClock(START)
        self.car = Car()
        self.settings = BridgeSettings(runtime_dir=str(folder / "run"), state_dir=str(folder / "state"))
        self.bridge = Bridge(
            self.settings, policy, [self.car], clock=self.clock, wall_s=lambda: self.clock.now_ns() / 1e9
        )
        self.reader = GateReader(self.settings.gate_path)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.bridge.run(self.stop))

    async def after(self, elapsed_ms: int) -> GateReading:
        await self.clock.advance_to(self.clock.now_ns() + elapsed_ms * MS)
        return self.reader.read()

    def is_open(self) -> bool:
        return self.reader.read().is_open(self.clock.now_ns())

    async def end(self) -> None:
        self.stop.set()
        await self.task

    def status(self) -> dict[str, object]:
        return json.loads(self.settings.status_path.read_bytes())


def play(folder: Path, scene: Callable[[Scene], object]) -> None:
    async def run() -> None:
        it = Scene(folder)
        try:
            await scene(it)  # type: ignore[misc]
        finally:
            if not it.task.done():
                await it.end()

    asyncio.run(run())


def test_opens_keeps_the_lease_and_closes_at_the_change(tmp_path: Path) -> None:
    async def scene(it: Scene) -> None:
        assert (await it.after(480)).state is State.WARMING
        opened = await it.after(60)
        assert it.is_open()
        for _ in range(20):
            await it.after(37)
            assert it.is_open()
        it.car.values[s.DRIVER_DOOR] = True
        closed = await it.after(51)
        assert closed.state is State.DRAINING
        assert closed.reasons == ("door_open",)
        assert closed.gate_epoch == opened.gate_epoch + 1
        assert closed.lease_until_ns == 0

    play(tmp_path, scene)


def test_a_change_is_published_without_waiting_for_the_tick(tmp_path: Path) -> None:
    async def scene(it: Scene) -> None:
        await it.after(540)
        assert it.is_open()
        now_ns = it.clock.now_ns()
        before = it.bridge._evaluations
        it.car.values[s.GEAR] = 127.0
        while it.reader.read().state is State.OPEN:
            await it.after(1)
        # The car speaks every 50 ms; the word changed in the very moment of its reading.
        spoken_ns = max(fact.time_ns for fact in it.bridge._engine.facts.values())
        assert it.clock.now_ns() == spoken_ns > now_ns
        assert it.bridge._evaluations > before

    play(tmp_path, scene)


def test_a_source_that_breaks_closes_and_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(it: Scene) -> None:
        await it.after(540)
        assert it.is_open()
        again = Car()
        monkeypatch.setattr(bridge, "open_source", lambda url: again)
        it.car.error = SourceError("the bus is gone")
        word = await it.after(60)
        assert word.state is State.DRAINING
        assert "signal_absent" in word.reasons
        await it.after(300)
        assert "bus is gone" in str(it.status()["sources"])
        await it.after(1500)
        assert it.is_open()

    play(tmp_path, scene)


def test_a_source_that_ends_closes_but_does_not_end_the_bridge(tmp_path: Path) -> None:
    async def scene(it: Scene) -> None:
        await it.after(540)
        it.car.is_over = True
        word = await it.after(60)
        assert word.reasons == ("signal_absent",)
        await it.after(1000)
        assert not it.task.done()
        assert "ended" in str(it.status()["sources"])

    play(tmp_path, scene)


def test_an_error_inside_ends_the_bridge_with_a_closed_gate(tmp_path: Path) -> None:
    async def scene(it: Scene) -> None:
        await it.after(540)
        it.car.error = RuntimeError("a bug")
        await it.after(60)
        with pytest.raises(RuntimeError, match="a bug"):
            await it.task
        assert it.reader.read().state is State.CLOSED

    play(tmp_path, scene)


def test_a_stopped_bridge_starts_at_warming_with_another_epoch(tmp_path: Path) -> None:
    async def scene(it: Scene) -> None:
        opened = await it.after(540)
        it.clock._now_ns += 3_000 * MS  # the process stood still, the machine slept
        assert not it.is_open()
        word = await it.after(20)
        assert word.gate_epoch == opened.gate_epoch + 1
        assert word.state in (State.DRAINING, State.WARMING)
        await it.after(100)
        for _ in range(18):
            await it.after(20)
            assert not it.is_open()

    play(tmp_path, scene)


def test_while_no_epoch_can_be_stored_nothing_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "BLOCK", 2)

    async def scene(it: Scene) -> None:
        real = files.replace

        def full(path: Path, data: bytes, **options: bool) -> None:
            if path.name == "epoch.json":
                raise OSError(28, "No space left on device")
            real(path, data, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(files, "replace", full)
        word = await it.after(3000)
        assert word.state is State.FAULTED
        assert word.reasons == ("fault",)

    play(tmp_path, scene)


def test_status_and_journal_tell_the_same(tmp_path: Path) -> None:
    async def scene(it: Scene) -> None:
        await it.after(540)
        it.car.values[s.CHARGE] = 45.0
        await it.after(1000)
        # 80 % to 45 % in a moment is no physics
        assert [each["reason"] for each in it.status()["reasons"]] == ["signal_invalid"]  # type: ignore[attr-defined]
        await it.end()
        assert not it.settings.status_path.exists()
        records = list(read_journal(it.settings.journal_path))
        states = [record["state"] for record in records]
        assert states[-1] == "stopped"
        assert [state for state in states if state in ("open", "draining")] == ["open", "draining"]
        opened = next(record for record in records if record["state"] == "open")
        assert opened["signals"][s.GEAR] == 126.0
        at = why.as_of(it.settings.journal_path, opened["wall_s"] + 0.01)
        assert at["is_open"]
        assert why.as_of(it.settings.journal_path, records[-1]["wall_s"] + 1)["bridge"].startswith("no bridge ran")

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sources": ()}, BridgeError, "no signal source"),
        ({"sources": ("bus:x",)}, SourceError, "no scheme"),
        ({"policy_file": "/none.toml"}, SettingsError, "no settings file"),
        ({"state_dir": "/proc/none"}, StateError, "cannot be made"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    tmp_path: Path, change: dict[str, object], error: type[Exception], words: str
) -> None:
    base = {
        "sources": (f"trace:{DEMO}",),
        "policy_file": str(DEMO_POLICY),
        "runtime_dir": str(tmp_path / "run"),
        "state_dir": str(tmp_path / "state"),
    }
    with pytest.raises(error, match=words):
        asyncio.run(run_bridge(BridgeSettings(**{**base, **change})))  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "gate").exists()


# The process, for real.


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def go() -> subprocess.Popen[str]:
        command = [
            *(sys.executable, "-m", "firmware_bridge.main", "--source", f"trace:{DEMO}?cues={tmp_path}/cues&end=hold"),
            *(
                "--policy-file",
                str(DEMO_POLICY),
                "--runtime-dir",
                f"{tmp_path}/run",
                "--state-dir",
                f"{tmp_path}/state",
            ),
        ]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline_ns = boottime_ns() + 30_000 * MS
    while not condition():
        assert boottime_ns() < deadline_ns, f"not within 30 s: {what}"
        time.sleep(0.01)


def word_of(folder: Path) -> GateReading | None:
    try:
        return GateReader(folder / "run" / "gate").read()
    except GateWordError:
        return None


def is_open(folder: Path) -> bool:
    word = word_of(folder)
    return word is not None and word.is_open(boottime_ns())


def test_the_demonstration_kill_and_restart(tmp_path: Path, launch: Callable[[], subprocess.Popen[str]]) -> None:
    first = launch()
    settings = BridgeSettings(runtime_dir=f"{tmp_path}/run", state_dir=f"{tmp_path}/state")
    wait_for(lambda: is_open(tmp_path), "open")
    epoch = word_of(tmp_path).gate_epoch  # type: ignore[union-attr]
    give_cue(tmp_path / "cues", "driver_returns")
    wait_for(lambda: not is_open(tmp_path), "closed for the driver")
    wait_for(lambda: why.now(settings)["state"] == "closed", "drained")
    assert any(each["urgent"] for each in why.now(settings)["reasons"])
    wait_for(lambda: is_open(tmp_path), "open again")
    assert word_of(tmp_path).gate_epoch == epoch + 1  # type: ignore[union-attr]

    first.send_signal(signal.SIGSTOP)
    wait_for(lambda: not is_open(tmp_path), "the lease of a stopped bridge ran out")
    first.send_signal(signal.SIGCONT)
    wait_for(lambda: word_of(tmp_path).gate_epoch == epoch + 2, "another epoch")  # type: ignore[union-attr]
    wait_for(lambda: is_open(tmp_path), "open after the stop")

    first.kill()
    first.wait()
    wait_for(lambda: not is_open(tmp_path), "the lease of a killed bridge ran out")
    assert why.now(settings)["state"] == "closed"

    second = launch()
    wait_for(lambda: is_open(tmp_path), "open after the kill")
    assert word_of(tmp_path).gate_epoch > epoch + 2  # type: ignore[union-attr]
    third = launch()
    assert third.wait(30) == 2
    assert "another bridge writes" in third.communicate()[1]
    assert is_open(tmp_path)  # the second one goes on

    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0
    assert word_of(tmp_path).state is State.CLOSED  # type: ignore[union-attr]


def test_memory_of_the_process(tmp_path: Path, launch: Callable[[], subprocess.Popen[str]]) -> None:
    process = launch()
    wait_for(lambda: is_open(tmp_path), "open")
    status = Path(f"/proc/{process.pid}/status").read_text()
    rss_kB = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    assert rss_kB < 60_000
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    assert "numpy" not in maps
    assert os.path.exists(tmp_path / "run" / "bridge.json")


def test_the_energy_account_survives_a_restart_and_a_damaged_one_counts_as_spent(tmp_path: Path) -> None:
    settings = BridgeSettings(runtime_dir=f"{tmp_path}/run", state_dir=f"{tmp_path}/state")

    async def work(it: Scene) -> None:
        it.car.values |= {s.PACK_POWER: -300.0, s.COMPUTE_POWER: 100.0}
        await it.after(3000)
        assert it.is_open()

    play(tmp_path, work)
    stored = json.loads(settings.energy_path.read_text())
    assert stored["is_clean"]
    assert 0.05 < stored["debt_Wh"] < 0.09  # 100 W for 2.5 s

    async def look(it: Scene) -> None:
        await it.after(100)
        assert it.bridge._engine.account.today_Wh == stored["today_Wh"]

    play(tmp_path, look)
    settings.energy_path.write_text("{")

    async def spent(it: Scene) -> None:
        it.car.values |= {s.PACK_POWER: -300.0}
        word = await it.after(2000)
        assert word.reasons == ("energy_budget_spent",)
        assert "count as spent" in str(it.status()["errors"])

    play(tmp_path, spent)
