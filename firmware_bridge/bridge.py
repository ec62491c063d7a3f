"""The bridge's process: a small asyncio shell around the engine. It alone writes the gate word.

    sources ──► Engine ──► gate word      at every change of a signal and at least every evaluate_every_ms
                   ├─────► bridge.json    every status_every_ms and at every change of state
                   └─────► journal        at every change of state or reasons, and once a minute

It fails closed: an error ends the process, and the gate word says *closed* or its lease runs out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from firmware_bridge import energy, files, parkings, report
from firmware_bridge.bridge_settings import BridgeSettings
from firmware_bridge.clock import BootClock, Clock
from firmware_bridge.engine import Decision, Engine
from firmware_bridge.epochs import Epochs
from firmware_bridge.errors import BridgeError, SourceError, StateError
from firmware_bridge.journal import SNAPSHOT_NS, Journal
from firmware_bridge.notify import Notifier
from firmware_bridge.parkings import Parkings
from firmware_bridge.policy_settings import Policy
from firmware_bridge.settings import load
from firmware_bridge.sources.protocol import Source
from firmware_bridge.sources.table import open_source
from kernels.gate.word import GateReading, State
from kernels.gate.writer import GateWriter

STATUS_VERSION = 1
# A change of reasons alone (a flapping sensor) is noted at most so often; a change of state always.
JOURNAL_SPACING_NS = 100_000_000
_RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass
class _SourceStatus:
    url: str
    state: str = "starting"  # starting, running, ended, broken
    error: str = ""
    readings: int = 0
    source: Source | None = field(default=None, repr=False)


class Bridge:
    """One run of the bridge; `sources` are opened already, so that a wrong URL is an error before anything starts."""

    def __init__(
        self,
        settings: BridgeSettings,
        policy: Policy,
        sources: list[Source],
        *,
        clock: Clock | None = None,
        wall_s: Callable[[], float] = time.time,
        notifier: Notifier | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or BootClock()
        self._wall_s = wall_s
        self._notifier = notifier or Notifier()
        self._sources = [_SourceStatus(source.url, source=source) for source in sources]
        _make_folders(settings)
        self._epochs = Epochs(settings.epoch_path)
        self._writer = GateWriter(settings.gate_path, minimum_epoch=self._epochs.first, clock=self._clock.now_ns)
        self._status_error = ""
        account = self._load_account(policy)
        self._engine = Engine(
            policy,
            self._clock.now_ns(),
            cpu_count=os.cpu_count() or 1,
            account=account,
            before=self._load_parkings(),
        )
        self._journal = Journal(settings.journal_path, int(settings.journal_MiB * 2**20))
        self._raising: asyncio.Task[None] | None = None
        self._journaled: tuple[State, frozenset[tuple[str, str]]] | None = None
        self._journaled_ns = self._status_ns = self._watchdog_ns = 0
        self._evaluations = self._changes = 0
        self._stored_ns = self._clock.now_ns()
        self._storing: asyncio.Task[None] | None = None
        self._decision: Decision | None = None
        self._reading: GateReading | None = None

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Runs until `stop` is set. Raises what a part of it raises, after closing the gate."""
        stop = stop or asyncio.Event()
        try:
            tasks = [asyncio.create_task(self._pump(status)) for status in self._sources]
            tasks.append(asyncio.create_task(self._tick()))
            waiting = asyncio.create_task(stop.wait())
            self._evaluate()
            self._notifier.send("READY=1")
            try:
                done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
                while not any(task is waiting or task.exception() for task in done):
                    tasks = [task for task in tasks if task not in done]  # a source that ended is no end of the bridge
                    done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in [waiting, *tasks]:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result
            for task in done:
                task.result()
        finally:
            self._close()

    def _evaluate(self) -> None:
        """Decides and publishes, now; then tells of it what is due."""
        now_ns = self._clock.now_ns()
        epoch = self._writer.gate_epoch
        fault = "" if self._epochs.allows(epoch) else "gate_epoch cannot be stored: is the state folder's disk full?"
        decision = self._engine.evaluate(now_ns, fault=fault)
        reading = self._publish(decision)
        if reading.state is State.WARMING and decision.state is State.OPEN:
            decision = self._engine.was_stopped(now_ns)
            reading = self._publish(decision)
        before, self._decision, self._reading = self._decision, decision, reading
        self._evaluations += 1
        is_new_state = before is None or before.state is not decision.state
        self._note(decision, reading, now_ns)
        if is_new_state or now_ns - self._status_ns >= self._settings.status_every_ms * 1e6:
            self._status_ns = now_ns
            self._write_status(decision, reading, now_ns)
        if self._epochs.is_near(epoch) and (self._raising is None or self._raising.done()):
            self._raising = asyncio.create_task(self._raise_ceiling(epoch))
        if is_new_state and decision.state is State.OPEN:
            self._stored_ns = 0  # from here on a crash is an unclean end: the file must say so
        if now_ns - self._stored_ns >= self._engine.settings.energy.store_every_s * 1e9:
            self._stored_ns = now_ns
            if self._storing is None or self._storing.done():
                self._storing = asyncio.create_task(
                    asyncio.to_thread(self._store, self._engine.account, self._engine.parkings)
                )
        if self._notifier.watchdog_ns and now_ns - self._watchdog_ns >= self._notifier.watchdog_ns:
            self._watchdog_ns = now_ns
            self._notifier.send("WATCHDOG=1", f"STATUS=gate {decision.state.name.lower()}")

    def _load_account(self, policy: Policy) -> energy.Account:
        try:
            return energy.load(self._settings.energy_path.read_bytes(), policy.energy)
        except FileNotFoundError:
            return energy.Account()
        except (OSError, ValueError) as error:
            self._status_error = f"{self._settings.energy_path} is damaged, the budgets count as spent: {error}"
            return energy.spent(policy.energy)

    def _load_parkings(self) -> Parkings:
        try:
            self._stored_parkings = parkings.load(self._settings.parkings_path.read_bytes())
        except FileNotFoundError:
            self._stored_parkings = parkings.NONE
        except (OSError, ValueError) as error:
            self._status_error = f"{self._settings.parkings_path} is damaged, earlier parkings are forgotten: {error}"
            self._stored_parkings = parkings.NONE
        return self._stored_parkings

    def _store(self, account: energy.Account, before: Parkings) -> None:
        try:
            files.replace(self._settings.energy_path, energy.store(account), is_durable=True)
            if before != self._stored_parkings:
                files.replace(self._settings.parkings_path, parkings.store(before), is_durable=True)
                self._stored_parkings = before
        except OSError as error:
            self._status_error = f"the energy account cannot be stored: {error.strerror}"

    def _publish(self, decision: Decision) -> GateReading:
        return self._writer.publish(
            decision.state,
            decision.reason_names,
            decision.lease_until_ns if decision.state is State.OPEN else 0,
            duty_permille=decision.duty_permille,
            max_threads=decision.max_threads,
            power_budget_mW=decision.power_budget_mW,
        )

    async def _tick(self) -> None:
        period_ns = int(self._settings.evaluate_every_ms * 1e6)
        next_ns = self._clock.now_ns()
        while True:
            now_ns = self._clock.now_ns()
            next_ns = max(next_ns + period_ns, now_ns)
            await self._clock.sleep_until(next_ns)
            self._evaluate()

    async def _pump(self, status: _SourceStatus) -> None:
        """Feeds one source into the engine; a broken one is opened again, ever more slowly."""
        failures = 0
        while True:
            try:
                source = status.source or open_source(status.url)
                status.source = None
                status.state, status.error = "running", ""
                async for reading in source.readings(self._clock):
                    status.readings += 1
                    failures = 0
                    if self._engine.accept(status.url, reading, self._clock.now_ns()):
                        self._changes += 1
                        self._evaluate()
                status.state = "ended"
            except SourceError as error:
                status.state, status.error = "broken", str(error)
            self._engine.forget(status.url)
            self._evaluate()
            if status.state == "ended":
                return
            delay_s = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
            failures += 1
            await self._clock.sleep_until(self._clock.now_ns() + int(delay_s * 1e9))

    async def _raise_ceiling(self, epoch: int) -> None:
        try:
            await asyncio.to_thread(self._epochs.raise_ceiling, epoch)
        except OSError as error:
            self._status_error = f"gate_epoch cannot be stored: {error.strerror}"
            await asyncio.sleep(1.0)

    def _note(self, decision: Decision, reading: GateReading, now_ns: int) -> None:
        key = decision.state, frozenset(because.key for because in decision.reasons)
        elapsed_ns = now_ns - self._journaled_ns
        is_new_state = self._journaled is None or self._journaled[0] is not decision.state
        is_due = key != self._journaled and elapsed_ns >= JOURNAL_SPACING_NS
        if is_new_state or is_due or elapsed_ns >= SNAPSHOT_NS:
            self._journaled, self._journaled_ns = key, now_ns
            self._journal.put(self._record(decision, reading))

    def _record(self, decision: Decision, reading: GateReading) -> dict[str, Any]:
        return {
            "wall_s": round(self._wall_s(), 3),
            "boot_ns": decision.time_ns,
            "pid": os.getpid(),
            "state": decision.state.name.lower(),
            "gate_epoch": reading.gate_epoch,
            "reasons": report.reasons(decision),
            "signals": report.short_facts(self._engine.facts),
        }

    def _write_status(self, decision: Decision, reading: GateReading, now_ns: int) -> None:
        account, ahead = self._engine.account, self._engine.forecast()
        status = {
            "version": STATUS_VERSION,
            "pid": os.getpid(),
            "written_ns": now_ns,
            "every_ms": self._settings.status_every_ms,
            "wall_s": round(self._wall_s(), 3),
            "state": decision.state.name.lower(),
            "since_s": round((now_ns - self._engine.gate.since_ns) / 1e9, 3),
            "gate_epoch": reading.gate_epoch,
            "lease_until_ns": reading.lease_until_ns,
            "duty_permille": decision.duty_permille,
            "max_threads": decision.max_threads,
            "power_budget_mW": decision.power_budget_mW,
            "reasons": report.reasons(decision),
            "signals": report.facts(self._engine.facts, now_ns),
            "energy": {"debt_Wh": round(account.debt_Wh, 3), "today_Wh": round(account.today_Wh, 3)},
            "forecast": {"length_s": ahead.length_s, "limited_by": ahead.limited_by},
            "sources": [
                {"url": each.url, "state": each.state, "error": each.error, "readings": each.readings}
                for each in self._sources
            ],
            "evaluations": self._evaluations,
            "changes": self._changes,
            "cpu_s": round(time.process_time(), 3),
            "journal": str(self._settings.journal_path),
            "journal_lost": self._journal.lost,
            "errors": [error for error in (self._journal.last_error, self._status_error) if error],
        }
        try:
            data = json.dumps(status, ensure_ascii=False).encode()
            files.replace(self._settings.status_path, data, is_durable=False)
        except OSError as error:  # a full /run: the gate word itself has its place already
            self._status_error = f"the status file cannot be written: {error.strerror}"

    def _close(self) -> None:
        self._notifier.send("STOPPING=1")
        self._writer.close()
        self._store(replace(self._engine.account, is_clean=True), self._engine.parkings)
        if self._reading is not None and self._decision is not None:
            record = self._record(self._decision, self._reading)
            self._journal.put({**record, "state": "stopped", "reasons": []})
        self._journal.close()
        self._settings.status_path.unlink(missing_ok=True)


def _make_folders(settings: BridgeSettings) -> None:
    for folder in (settings.runtime_dir, settings.state_dir):
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"the folder {folder} cannot be made: {error.strerror}",
                next_step="make it for the bridge's user, or set runtime_dir and state_dir",
            ) from error


async def run_bridge(
    settings: BridgeSettings,
    *,
    stop: asyncio.Event | None = None,
    record: str | None = None,
    clock: Clock | None = None,
) -> None:
    """Runs the bridge until SIGTERM, SIGINT or `stop`. `record` writes what the first source says as a trace.

    Raises SettingsError, SourceError, StateError or GateWordError (a second bridge) before anything is published.
    """
    if not settings.sources:
        raise BridgeError("the bridge has no signal source", next_step="set `sources`, or give --source URL")
    policy = load(settings.policy_file, Policy)
    sources = [open_source(url) for url in settings.sources]
    if record is not None:
        from firmware_bridge.sources.trace import Recorder

        sources[0] = Recorder(sources[0], record)
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            loop.add_signal_handler(number, stop.set)
    await Bridge(settings, policy, sources, clock=clock).run(stop)
