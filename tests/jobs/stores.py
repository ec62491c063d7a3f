"""The implementations that the contract is run over: a new store is one more row here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runtime.jobs.clock import ManualClock
from runtime.jobs.memory import MemoryJobStore
from runtime.jobs.sqlite import SqliteJobStore
from runtime.jobs.store import JobStore
from tests.fleet.servers import nats_store

MAX_ATTEMPTS = 3
STORES: dict[str, Callable[[Path, ManualClock], JobStore]] = {
    "memory": lambda folder, clock: MemoryJobStore(clock=clock, max_attempts=MAX_ATTEMPTS),
    "sqlite": lambda folder, clock: SqliteJobStore(folder / "jobs.sqlite", clock=clock, max_attempts=MAX_ATTEMPTS),
    "nats": lambda folder, clock: nats_store(folder, clock, MAX_ATTEMPTS),
}
# Those that may give jobs of equal priority in another order than by age, as the contract allows.
ANY_ORDER_AMONG_EQUALS = {"nats"}
