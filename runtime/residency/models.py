"""The models of one worker: loaded when they are wanted, kept while there is room, given up in the right order.

                 use ──► in use ──(the last lease ends)──► idle ──► given up when another needs the room:
    absent ──► loading ────┘  ▲                              │      never in use or pinned ones,
                 ▲            └────────────── use ───────────┘      lowest priority first, then longest unused
                 └── warm: the same in the background, on a thread that gives way

The budget counts what backends measured (`resident_bytes`), and before that what the manifest says. Giving a model up
is a real unload: its memory goes back to the system.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

from runtime.backends.memory import trim
from runtime.backends.protocol import BackendError, Limits, Model, load_model, model_entry
from runtime.store.bundle import Bundle

WARMING_NICE = 10  # the warming thread gives way to everything that somebody waits for


class NoRoom(BackendError):
    """A model does not fit beside those that are in use or pinned."""

    next_step: ClassVar[str] = "unpin a model, run fewer sessions at once, or give the worker more memory"


class ModelKey(NamedTuple):
    """Names a model of a bundle by content: two versions with the same manifest are one. Each lane has its own, since a
    model is for one thread; what it reads is shared where the backend maps its cache."""

    bundle_sha256: str
    role: str
    lane: int


@dataclass(frozen=True)
class Resident:
    """One line of `Residency.residents`."""

    reference: str
    role: str
    backend: str
    resident_bytes: int
    stop_bound_us: int
    load_ms: float
    uses: int
    is_pinned: bool
    is_in_use: bool
    priority: int
    lane: int
    threads: int
    bundle_sha256: str


@dataclass
class Counts:
    """What happened so far. `load_ms` has the last 1000 loads."""

    loads: int = 0
    hits: int = 0
    evictions: int = 0
    load_ms: list[float] = field(default_factory=list)


@dataclass(eq=False)
class _Held:
    """One model; guarded by the residency's lock. `loading` is done once `model` is there."""

    bundle: Bundle
    role: str
    bytes: int
    loading: Future[None]
    model: Model | None = None
    backend: str = ""
    load_ms: float = 0.0
    leases: int = 0
    uses: int = 0
    priority: int = 0
    last_used: float = 0.0
    threads: int = 0


class Residency:
    """Models within `budget_bytes` (0: without a limit). Safe to call from several threads; a Model itself is not:
    the one thread that computes starts and steps all runs.

    `load` and `clock` are for tests.
    """

    def __init__(
        self,
        limits: Limits,
        budget_bytes: int,
        *,
        load: Callable[[Bundle, Limits, str], tuple[str, Model]] = load_model,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._budget_bytes, self._load, self._clock = limits, budget_bytes, load, clock
        self._lock = threading.Lock()
        self._held: dict[ModelKey, _Held] = {}
        self._pinned: set[ModelKey] = set()
        self._warming = ThreadPoolExecutor(1, thread_name_prefix="warming", initializer=_give_way)
        self.counts = Counts()

    @contextmanager
    def use(self, bundle: Bundle, role: str = "model", *, priority: int = 0, lane: int = 0) -> Iterator[Model]:
        """Lends `lane`'s model, loaded if it is not; it stays while it is lent. A higher `priority` is given up later.

        Raises NoRoom, BackendError, BundleError.
        """
        held = self._take(bundle, role, priority, lane)
        try:
            held.loading.result()
            assert held.model is not None
            self._set_threads(held)
            yield held.model
        finally:
            with self._lock:
                held.leases -= 1
                held.last_used = self._clock()

    def warm(self, bundle: Bundle, role: str = "model", *, priority: int = 0, lane: int = 0) -> Future[None]:
        """Loads a model in the background; the future tells its end, and its errors."""
        return self._warming.submit(self._warm, bundle, role, priority, lane)

    def pin(self, bundle: Bundle, role: str = "model", *, lane: int = 0) -> None:
        """Keeps a model from being given up, from now or from its next load on."""
        with self._lock:
            self._pinned.add(_key(bundle, role, lane))

    def unpin(self, bundle: Bundle, role: str = "model", *, lane: int = 0) -> None:
        """Lets a pinned model be given up again."""
        with self._lock:
            self._pinned.discard(_key(bundle, role, lane))

    def lanes_of(self, bundle: Bundle) -> set[int]:
        """Returns the lanes that have a model of the bundle in memory."""
        with self._lock:
            return {key.lane for key in self._held if key.bundle_sha256 == bundle.sha256}

    def limit_threads(self, threads: int) -> None:
        """From its next use on, every model computes with at most `threads`."""
        with self._lock:
            self._limits = replace(self._limits, threads=threads)

    def evict(self, bundle: Bundle, role: str = "model", *, lane: int = 0) -> bool:
        """Gives a model up now; returns False if it is in use or not there."""
        with self._lock:
            key = _key(bundle, role, lane)
            held = self._held.get(key)
            if held is None or not _is_idle(held):
                return False
            del self._held[key]
        self._close([held])
        return True

    def clear(self) -> int:
        """Gives up everything that is not in use, pinned or not; returns how many. For a gate that closed for long."""
        with self._lock:
            idle = [key for key, held in self._held.items() if _is_idle(held)]
            gone = [self._held.pop(key) for key in idle]
        self._close(gone)
        gc.collect()  # a run that a caller dropped may hang in a cycle, and hold its model's memory
        trim()
        return len(gone)

    def close(self) -> None:
        """Ends the warming thread and gives up everything; nothing may be in use."""
        self._warming.shutdown(cancel_futures=True)
        self.clear()

    @property
    def resident_bytes(self) -> int:
        """What the models hold, those that are loading included."""
        with self._lock:
            return self._bytes()

    def resident(self, bundle: Bundle, role: str, lane: int) -> Resident | None:
        """Returns what is told of one model, None while it is not loaded."""
        key = _key(bundle, role, lane)
        with self._lock:
            held = self._held.get(key)
            return self._told(key, held) if held is not None and held.model is not None else None

    def residents(self) -> list[Resident]:
        """Returns the models that are loaded, the longest unused first."""
        with self._lock:
            loaded = [(key, held) for key, held in self._held.items() if held.model is not None]
            return [self._told(key, held) for key, held in sorted(loaded, key=lambda pair: pair[1].last_used)]

    def _set_threads(self, held: _Held) -> None:
        """Done as a model is lent: then the one thread that uses it is here."""
        assert held.model is not None
        if held.threads != self._limits.threads:
            held.model.set_threads(self._limits.threads)
            held.threads = self._limits.threads

    def _take(self, bundle: Bundle, role: str, priority: int, lane: int) -> _Held:
        """Returns the model with one more lease; whoever finds it absent makes room and loads it, the others wait."""
        key = _key(bundle, role, lane)
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self.counts.hits += 1
                gone = []
            else:
                needed = _expected_bytes(bundle, role)
                gone = self._make_room(needed, f"bundle '{bundle.reference}', model '{role}'")
                held = self._held[key] = _Held(bundle, role, needed, Future())
            is_mine = held.uses == 0 and held.leases == 0 and not held.loading.done()
            held.leases += 1
            held.uses += 1
            held.priority, held.last_used = priority, self._clock()
        self._close(gone)
        if is_mine:
            self._fill(key, held)
        return held

    def _fill(self, key: ModelKey, held: _Held) -> None:
        """Loads outside of the lock: other models stay usable meanwhile."""
        began_ns = time.perf_counter_ns()
        limits = self._limits
        try:
            backend, model = self._load(held.bundle, limits, held.role)
        except BaseException as error:
            self._drop(key, held, error)
            raise
        held.load_ms = (time.perf_counter_ns() - began_ns) / 1e6
        gone: list[_Held] = []
        with self._lock:
            held.backend, held.model, held.bytes = backend, model, model.resident_bytes
            held.threads = limits.threads
            self.counts.loads += 1
            self.counts.load_ms = [*self.counts.load_ms[-999:], held.load_ms]
            try:
                gone = self._make_room(0, f"bundle '{held.bundle.reference}', model '{held.role}'")
            except NoRoom as error:
                no_room: NoRoom | None = error
            else:
                no_room = None
        self._close(gone)
        if no_room is not None:  # it turned out larger than its manifest says
            self._drop(key, held, no_room)
            self._close([held])
            raise no_room
        held.loading.set_result(None)

    def _drop(self, key: ModelKey, held: _Held, error: BaseException) -> None:
        with self._lock:
            del self._held[key]
            held.leases -= 1
        held.loading.set_exception(error)

    def _make_room(self, needed_bytes: int, what: str) -> list[_Held]:
        """Takes models out of the table until `needed_bytes` fit; returns them to be closed without the lock.

        Raises NoRoom, and then takes none.
        """
        over = self._bytes() + needed_bytes - self._budget_bytes
        if not self._budget_bytes or over <= 0:
            return []
        candidates = [
            (held.priority, held.last_used, key)
            for key, held in self._held.items()
            if _is_idle(held) and key not in self._pinned
        ]
        gone = []
        for _, _, key in sorted(candidates):
            gone.append(key)
            over -= self._held[key].bytes
            if over <= 0:
                return [self._held.pop(key) for key in gone]
        raise NoRoom(
            f"{what} needs {needed_bytes or 'more'} bytes; of the budget of {self._budget_bytes}, "
            f"{self._bytes()} are held and {sum(self._held[key].bytes for key in gone)} can be given up"
        )

    def _close(self, gone: list[_Held]) -> None:
        for held in gone:
            if held.model is not None:
                held.model.close()
                self.counts.evictions += 1

    def _warm(self, bundle: Bundle, role: str, priority: int, lane: int) -> None:
        with self.use(bundle, role, priority=priority, lane=lane):
            pass

    def _bytes(self) -> int:
        return sum(held.bytes for held in self._held.values())

    def _told(self, key: ModelKey, held: _Held) -> Resident:
        assert held.model is not None
        return Resident(
            reference=held.bundle.reference,
            role=held.role,
            backend=held.backend,
            resident_bytes=held.bytes,
            stop_bound_us=held.model.stop_bound_us,
            load_ms=held.load_ms,
            uses=held.uses,
            is_pinned=key in self._pinned,
            is_in_use=held.leases > 0,
            priority=held.priority,
            lane=key.lane,
            threads=held.threads,
            bundle_sha256=key.bundle_sha256,
        )


def _key(bundle: Bundle, role: str, lane: int) -> ModelKey:
    """A model named by its file is the same as by its role."""
    entry = model_entry(bundle, role)
    role = next(name for name, other in bundle.manifest.models.items() if other is entry)
    return ModelKey(bundle.sha256, role, lane)


def _expected_bytes(bundle: Bundle, role: str) -> int:
    entry = model_entry(bundle, role)
    return entry.memory_bytes or bundle.path(entry.file).stat().st_size


def _is_idle(held: _Held) -> bool:
    return held.leases == 0 and held.model is not None


def _give_way() -> None:
    """Lowers this thread alone: on Linux, priorities are a thread's (setpriority(2))."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WARMING_NICE)
