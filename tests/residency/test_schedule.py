"""The order of decisions, batches that cost nobody a deadline, and lanes under a gate."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from concurrent.futures import CancelledError

import hypothesis.strategies as st
import pytest
from hypothesis import given

from runtime.residency.meeting import Failed
from runtime.residency.pace import Pacer
from runtime.residency.schedule import LINGER_NS, EdfQueue, Request, Scheduler


def cost(model: Hashable, count: int) -> int:
    return 10 + 2 * count


def filled(max_batch: int, *requests: tuple[str, str, int]) -> EdfQueue[None]:
    queue: EdfQueue[None] = EdfQueue(cost, lambda model: max_batch)
    for session, model, deadline in requests:
        queue.add(Request(session, model, None, deadline))
    return queue


def drained(queue: EdfQueue[None], now: int = 0) -> list[list[str]]:
    batches = []
    while batch := queue.take(now):
        batches.append([request.session for request in batch])
    return batches


def test_the_earliest_deadline_goes_first_and_equals_by_age() -> None:
    queue = filled(1, ("a", "m", 300), ("b", "m", 100), ("c", "n", 200), ("d", "m", 100))
    assert drained(queue) == [["b"], ["d"], ["c"], ["a"]]


def test_sessions_of_one_model_are_computed_together() -> None:
    queue = filled(3, ("a", "m", 900), ("b", "n", 1000), ("c", "m", 950), ("d", "m", 990), ("e", "m", 999))
    assert drained(queue) == [["a", "c", "d"], ["e"], ["b"]]


def test_nobody_joins_at_the_cost_of_an_earlier_deadline() -> None:
    # Alone a and then n take 24; with c in the batch n would be done at 26.
    assert drained(filled(3, ("a", "m", 20), ("n", "n", 25), ("c", "m", 900))) == [["a"], ["n"], ["c"]]
    assert drained(filled(3, ("a", "m", 20), ("n", "n", 26), ("c", "m", 900))) == [["a", "c"], ["n"]]
    assert drained(filled(3, ("a", "m", 13), ("c", "m", 900))) == [["a"], ["c"]]  # nor of the batch's own


def test_what_is_late_already_goes_in_company() -> None:
    assert drained(filled(3, ("a", "m", 5), ("c", "m", 900)), now=10) == [["a", "c"]]
    # c's company would make n late, which is not yet.
    assert drained(filled(3, ("a", "m", 5), ("n", "n", 35), ("c", "m", 900)), now=10) == [["a"], ["n"], ["c"]]


def lingering(*requests: tuple[str, str, int], most: int = 8, alone_ns: int = 50_000_000) -> int:
    """How long the queue waits after a batch of a and b ended at 0."""
    queue: EdfQueue[None] = EdfQueue(lambda model, count: alone_ns * count, lambda model: most)
    queue.ended([Request("a", "m", None, 0), Request("b", "m", None, 0)], 0)
    for session, model, deadline in requests:
        queue.add(Request(session, model, None, deadline))
    return queue.wait_ns(0)


def test_a_batch_waits_shortly_for_the_sessions_of_the_one_before() -> None:
    far = 10**9
    assert lingering(("c", "m", far)) == LINGER_NS
    assert lingering(("c", "m", far), alone_ns=1_000_000) == 100_000, "never long against what it may save"
    assert lingering() == 0, "nobody waits"
    assert lingering(("a", "m", far), ("b", "m", far)) == 0, "nobody is missing"
    assert lingering(("a", "m", far), ("n", "n", far)) == 0, "another model is wanted"
    assert lingering(("c", "m", 100_000_000)) == 0, "its deadline would not hold"
    assert lingering(("a", "m", far), ("c", "m", far), most=2) == 0, "there are as many as go together"
    assert lingering(("c", "m", far), most=1) == 0


@given(
    st.lists(st.tuples(st.text("abc", min_size=1, max_size=1), st.integers(0, 500)), max_size=20),
    st.integers(1, 5),
)
def test_every_request_is_computed_once(wanted: list[tuple[str, int]], max_batch: int) -> None:
    queue = filled(max_batch, *((str(number), model, deadline) for number, (model, deadline) in enumerate(wanted)))
    batches = drained(queue)
    assert sorted(session for batch in batches for session in batch) == sorted(str(n) for n in range(len(wanted)))
    for batch in batches:
        assert len(batch) <= max_batch
        assert len({wanted[int(session)][0] for session in batch}) == 1
    firsts = [wanted[int(batch[0])][1] for batch in batches]
    assert firsts == sorted(firsts)


def test_lanes_compute_and_count_what_was_late() -> None:
    now = 1000
    scheduler = Scheduler[int](2, lambda model, xs, pacer: [x * 2 for x in xs], cost, clock=lambda: now)
    futures = [scheduler.submit(n % 2, f"s{n}", "m", n, 2000 if n else 500) for n in range(6)]
    assert [future.result(30) for future in futures] == [0, 2, 4, 6, 8, 10]
    scheduler.close()
    assert (scheduler.punctuality.decisions, scheduler.punctuality.misses) == (6, 1)
    assert scheduler.punctuality.late_ns == [500]
    with pytest.raises(ValueError, match="closed"):
        scheduler.submit(0, "s", "m", 1, 0)


def test_an_error_is_the_callers_and_the_lane_goes_on() -> None:
    def compute(model: Hashable, xs: list[int], pacer: Pacer) -> list[int]:
        if model == "bad":
            raise ArithmeticError("no")
        return xs

    scheduler = Scheduler[int](1, compute, cost, clock=lambda: 0)
    assert isinstance(scheduler.submit(0, "s", "bad", 1, 10).exception(30), ArithmeticError)
    assert scheduler.submit(0, "s", "good", 1, 10).result(30) == 1
    scheduler.close()


def test_nothing_is_computed_while_the_gate_is_closed() -> None:
    computed = threading.Event()
    looked = threading.Semaphore(0)

    def allowance() -> int:
        looked.release()
        return 0

    def compute(model: Hashable, xs: list[int], pacer: Pacer) -> list[int]:
        computed.set()
        return xs

    scheduler = Scheduler[int](1, compute, cost, allowance=allowance, clock=lambda: 0)
    future = scheduler.submit(0, "s", "m", 1, 10)
    for _ in range(3):
        assert looked.acquire(timeout=30)
    scheduler.close()
    assert not computed.is_set()
    with pytest.raises(CancelledError):
        future.result(0)


def test_what_nobody_waits_for_any_more_is_not_computed() -> None:
    holding, held = threading.Event(), threading.Event()
    computed: list[int] = []

    def compute(model: Hashable, xs: list[int], pacer: Pacer) -> list[int]:
        held.set()
        assert holding.wait(30)
        computed.extend(xs)
        return xs

    scheduler = Scheduler[int](1, compute, cost, clock=lambda: 0, counts=lambda result: result != 1)
    first = scheduler.submit(0, "s", "m", 1, 10)
    assert held.wait(30)
    assert scheduler.submit(0, "s", "m", 2, 20).cancel()
    last = scheduler.submit(0, "s", "m", 3, 30)
    holding.set()
    assert (first.result(30), last.result(30)) == (1, 3)
    scheduler.close()
    assert computed == [1, 3]
    assert scheduler.punctuality.decisions == 1, "the first was no decision"


def test_one_that_fails_does_not_hurt_those_that_it_was_computed_with() -> None:
    held, holding = threading.Event(), threading.Event()

    def compute(model: Hashable, xs: list[int], pacer: Pacer) -> list[object]:
        if model == "first":
            held.set()
            assert holding.wait(30)
        return [Failed(ArithmeticError(str(x))) if x == 2 else x * 10 for x in xs]

    scheduler = Scheduler[int](1, compute, cost, most=lambda model: 4, clock=lambda: 0)
    scheduler.submit(0, "s", "first", 0, 5)
    assert held.wait(30)
    futures = [scheduler.submit(0, f"s{x}", "m", x, 1000) for x in (1, 2, 3)]
    holding.set()
    assert (futures[0].result(30), futures[2].result(30)) == (10, 30)
    with pytest.raises(ArithmeticError, match="2"):
        futures[1].result(30)
    scheduler.close()
    assert (scheduler.punctuality.decisions, scheduler.punctuality.together, scheduler.punctuality.batches) == (3, 2, 2)
