"""Whose turn it is: earliest deadline first on each lane, and sessions of one model together when nobody pays for it.

    submit ──► queue of a lane ──take──► [request, others of its model …] ──compute──► futures
                 by deadline                └─ joins only if no other request misses its deadline by it

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
from runtime.residency.pace import Pacer

T = TypeVar("T")


@dataclass(frozen=True)
class Request(Generic[T]):
    """One decision that is wanted. Requests of the same `model` can be computed together."""

    session: str
    model: Hashable
    payload: T
    deadline_ns: int
    future: Future[Any] = field(default_factory=Future, compare=False)


class EdfQueue(Generic[T]):
    """The requests of one lane. `cost_ns(model, count)` is the time of a batch."""

    def __init__(self, cost_ns: Callable[[Hashable, int], int], max_batch: int = 1) -> None:
        self._cost_ns, self._max_batch = cost_ns, max_batch
        self._heap: list[tuple[int, int, Request[T]]] = []
        self._count = 0

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
        if self._max_batch > 1:
            for entry in sorted(entry for entry in self._heap if entry[2].model == first.model):
                if len(batch) == self._max_batch or not self._fits(batch, entry, now_ns):
                    break
                self._heap.remove(entry)
                batch.append(entry[2])
            heapq.heapify(self._heap)
        return batch

    def _fits(self, batch: list[Request[T]], joining: tuple[int, int, Request[T]], now_ns: int) -> bool:
        """Returns whether the batch with one more meets its first deadline, and leaves the others their time."""
        done_ns = now_ns + self._cost_ns(batch[0].model, len(batch) + 1)
        if done_ns > batch[0].deadline_ns:
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
    misses: int = 0
    late_ns: list[int] = field(default_factory=list)


class Scheduler(Generic[T]):
    """`lanes` threads. `compute(model, payloads, pacer)` returns a result each; it runs on the session's lane, whose
    pace the pacer tells. A result that is no decision (`counts` says so) is neither kept nor missed.

    `allowance()` returns the duty in permille that is allowed now, 0 while the gate is closed.
    """

    def __init__(
        self,
        lanes: int,
        compute: Callable[[Hashable, list[T], Pacer], list[Any]],
        cost_ns: Callable[[Hashable, int], int],
        *,
        max_batch: int = 1,
        allowance: Callable[[], int] = lambda: 1000,
        counts: Callable[[Any], bool] = lambda result: True,
        clock: Callable[[], int] = boottime_ns,
    ) -> None:
        self._compute, self._allowance, self._counts, self._clock = compute, allowance, counts, clock
        self._change = threading.Condition()
        self._queues = [EdfQueue[T](cost_ns, max_batch) for _ in range(lanes)]
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
            self._note([request for request, result in zip(batch, results, strict=True) if self._counts(result)])
            for request, result in zip(batch, results, strict=True):
                request.future.set_result(result)

    def _next(self, queue: EdfQueue[T], pacer: Pacer) -> list[Request[T]] | None:
        """Waits for a request and the right to compute it; None at the end."""
        with self._change:
            while not self._is_closed:
                wait_s = None
                if len(queue):
                    wait_s = pacer.wait_ns() / 1e9
                    if not wait_s:
                        return queue.take(self._clock())
                self._change.wait(wait_s)
        return None

    def _note(self, batch: list[Request[T]]) -> None:
        now_ns = self._clock()
        if not batch:
            return
        with self._change:
            self.punctuality.batches += 1
            self.punctuality.decisions += len(batch)
            late = [now_ns - request.deadline_ns for request in batch if now_ns > request.deadline_ns]
            self.punctuality.misses += len(late)
            self.punctuality.late_ns = [*self.punctuality.late_ns, *late][-1000:]
