"""Whose turn it is: earliest deadline first on each lane, and sessions of one model together when nobody pays for it.

    submit ──► queue of a lane ──take──► [request, others of its model …] ──compute──► futures
                 by deadline                └─ joins only if that is known to be faster (together.py),
                                               and no request misses its deadline by it

The queue is pure: requests and a time in, a batch out. `Scheduler` puts a thread on each lane, which begins a batch
only while the gate is open and its share of the window is not used up (pace.py).
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from kernels.gate.word import boottime_ns
from runtime.residency.meeting import Failed
from runtime.residency.pace import Pacer

T = TypeVar("T")
# The next batch waits for the sessions of the one before at most so long, and at most this share of what one costs.
LINGER_NS, LINGER_SHARE = 2_000_000, 10


@dataclass(frozen=True)
class Request(Generic[T]):
    """One decision that is wanted. Requests of the same `model` can be computed together."""

    session: str
    model: Hashable
    payload: T
    deadline_ns: int
    future: Future[Any] = field(default_factory=Future, compare=False)


class EdfQueue(Generic[T]):
    """The requests of one lane. `cost_ns(model, count)` is the time of a batch, `most(model)` how many it may have."""

    def __init__(
        self, cost_ns: Callable[[Hashable, int], int], most: Callable[[Hashable], int] = lambda model: 1
    ) -> None:
        self._cost_ns, self._most = cost_ns, most
        self._heap: list[tuple[int, int, Request[T]]] = []
        self._count = 0
        self._left: tuple[Hashable, frozenset[str], int] = (None, frozenset(), 0)  # the last batch, and until when

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, request: Request[T]) -> None:
        """Puts a request into the queue; equal deadlines go by age."""
        self._count += 1
        heapq.heappush(self._heap, (request.deadline_ns, self._count, request))

    def take(self, now_ns: int) -> list[Request[T]]:
        """Returns the request that is due first, and what may be computed with it; [] if there is none."""
        if not self._heap:
            return []
        first = heapq.heappop(self._heap)[2]
        batch = [first]
        most = self._most(first.model)
        if most > 1:
            for entry in sorted(entry for entry in self._heap if entry[2].model == first.model):
                if len(batch) == most or not self._fits(batch, entry, now_ns):
                    break
                self._heap.remove(entry)
                batch.append(entry[2])
            heapq.heapify(self._heap)
        return batch

    def ended(self, batch: list[Request[T]], now_ns: int) -> None:
        """A batch is over: its sessions may ask again at once, and the next batch may wait that long for them."""
        model = batch[0].model
        if self._most(model) > 1:
            linger_ns = min(LINGER_NS, self._cost_ns(model, 1) // LINGER_SHARE)
            self._left = model, frozenset(request.session for request in batch), now_ns + linger_ns

    def wait_ns(self, now_ns: int) -> int:
        """Returns how long to wait for the sessions of the last batch: not if another model is wanted, if nobody is
        missing, or if the first deadline would not hold."""
        model, sessions, until_ns = self._left
        if now_ns >= until_ns or not self._heap:
            return 0
        here = {entry[2].session for entry in self._heap if entry[2].model == model}
        most = self._most(model)
        if len(here) != len(self._heap) or len(here) >= most or sessions <= here:
            return 0
        done_ns = until_ns + self._cost_ns(model, min(most, len(here | sessions)))
        return until_ns - now_ns if done_ns <= self._heap[0][0] else 0

    def _fits(self, batch: list[Request[T]], joining: tuple[int, int, Request[T]], now_ns: int) -> bool:
        """Returns whether the batch with one more meets its first deadline, and leaves the others their time. What is
        late already loses nothing by company."""
        model, first_ns = batch[0].model, batch[0].deadline_ns
        done_ns = now_ns + self._cost_ns(model, len(batch) + 1)
        if done_ns > first_ns >= now_ns + self._cost_ns(model, 1):
            return False
        for deadline_ns, _, request in sorted(entry for entry in self._heap if entry is not joining):
            done_ns += self._cost_ns(request.model, 1)
            if deadline_ns < joining[0] and done_ns > deadline_ns:
                return False
        return True


@dataclass
class Punctuality:
    """What became of the deadlines so far. `late_ns` has the latest 1000 that were missed."""

    decisions: int = 0
    batches: int = 0
    together: int = 0  # decisions that were made with others
    misses: int = 0
    late_ns: list[int] = field(default_factory=list)


class Scheduler(Generic[T]):
    """`lanes` threads. `compute(model, payloads, pacer)` returns a result each; it runs on the session's lane, whose
    pace the pacer tells; what it returns as Failed is raised to that one. A result that is no decision (`counts` says
    so) is neither kept nor missed.

    `most(model)` is how many of its requests may be one batch. `allowance()` returns the duty in permille that is
    allowed now, 0 while the gate is closed.
    """

    def __init__(
        self,
        lanes: int,
        compute: Callable[[Hashable, list[T], Pacer], list[Any]],
        cost_ns: Callable[[Hashable, int], int],
        *,
        most: Callable[[Hashable], int] = lambda model: 1,
        allowance: Callable[[], int] = lambda: 1000,
        counts: Callable[[Any], bool] = lambda result: True,
        clock: Callable[[], int] = boottime_ns,
    ) -> None:
        self._compute, self._allowance, self._counts, self._clock = compute, allowance, counts, clock
        self._change = threading.Condition()
        self._queues = [EdfQueue[T](cost_ns, most) for _ in range(lanes)]
        self._is_closed = False
        self.punctuality = Punctuality()
        self._threads = [
            threading.Thread(target=self._work, args=(queue,), name=f"lane-{lane}", daemon=True)
            for lane, queue in enumerate(self._queues)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, lane: int, session: str, model: Hashable, payload: T, deadline_ns: int) -> Future[Any]:
        """Asks for a decision by `deadline_ns` (the clock's); the future has it, also when it is late."""
        request = Request(session, model, payload, deadline_ns)
        with self._change:
            if self._is_closed:
                raise ValueError("the scheduler is closed")
            self._queues[lane].add(request)
            self._change.notify_all()
        return request.future

    def close(self) -> None:
        """Ends the lanes; what was not begun is cancelled."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
        for queue in self._queues:
            while batch := queue.take(0):
                for request in batch:
                    request.future.cancel()

    def _work(self, queue: EdfQueue[T]) -> None:
        pacer = Pacer(self._allowance, clock=self._clock)
        while (taken := self._next(queue, pacer)) is not None:
            batch = [request for request in taken if request.future.set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                results = self._compute(batch[0].model, [request.payload for request in batch], pacer)
            except Exception as error:  # noqa: BLE001 - it is the caller's: the lane goes on
                for request in batch:
                    request.future.set_exception(error)
                continue
            self._note(queue, batch, results)
            for request, result in zip(batch, results, strict=True):
                if isinstance(result, Failed):
                    request.future.set_exception(result.error)
                else:
                    request.future.set_result(result)

    def _next(self, queue: EdfQueue[T], pacer: Pacer) -> list[Request[T]] | None:
        """Waits for a request and the right to compute it; None at the end."""
        with self._change:
            while not self._is_closed:
                wait_s = None
                if len(queue):
                    now_ns = self._clock()
                    wait_s = max(pacer.wait_ns(), queue.wait_ns(now_ns)) / 1e9
                    if not wait_s:
                        return queue.take(now_ns)
                self._change.wait(wait_s)
        return None

    def _note(self, queue: EdfQueue[T], batch: list[Request[T]], results: list[Any]) -> None:
        now_ns = self._clock()
        made = [
            request
            for request, result in zip(batch, results, strict=True)
            if not isinstance(result, Failed) and self._counts(result)
        ]
        with self._change:
            queue.ended(batch, now_ns)
            if not made:
                return
            self.punctuality.batches += 1
            self.punctuality.decisions += len(made)
            self.punctuality.together += len(made) if len(made) > 1 else 0
            late = [now_ns - request.deadline_ns for request in made if now_ns > request.deadline_ns]
            self.punctuality.misses += len(late)
            self.punctuality.late_ns = [*self.punctuality.late_ns, *late][-1000:]
