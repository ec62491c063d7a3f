"""The contract of runtime/jobs/store.py, over every implementation in stores.py."""

from __future__ import annotations

import msgspec
import pytest

from runtime.jobs.checkpoint import CHECKPOINT_CAP_BYTES, Checkpoint, CheckpointError, Memory
from runtime.jobs.clock import ManualClock
from runtime.jobs.life import ClaimLost, IdempotencyConflict, JobOver, JobState, Result, Spent, UnknownJob
from runtime.jobs.spec import Batch, Budget, JobSpec, Limits, Needs, Variant
from runtime.jobs.store import Capabilities, Claim, JobStore
from tests.jobs.stores import MAX_ATTEMPTS

ANY = Capabilities()
CHECKPOINT = Checkpoint(
    agent_kind="clicker", bundle_sha256=b"s" * 32, state=b"\x00state", rng=b"r", tokens=(1, 2**32 - 1)
)


def a_spec(instruction: str = "press OK", **fields: object) -> JobSpec:
    return JobSpec(**{"desktop": f"unix:/run/{instruction}", "instruction": instruction, **fields})  # type: ignore[arg-type]


async def claim(store: JobStore, owner: str = "car-1", lease_s: float = 10) -> Claim:
    claimed = await store.claim(ANY, owner, lease_s)
    assert claimed is not None
    return claimed


async def test_a_job_goes_from_submission_to_its_result(store: JobStore, clock: ManualClock) -> None:
    spec = a_spec(labels={"customer": "acme"})
    job, is_new = await store.submit(spec)
    assert is_new
    claimed = await claim(store)
    assert (claimed.job, claimed.checkpoint) == (job, None)
    clock.advance(3)
    await store.finish(claimed, Result(JobState.done, answer="42", actions=7))
    kept = await store.get(job)
    assert (kept.spec, kept.state, kept.answer, kept.actions, kept.claims) == (spec, JobState.done, "42", 7, 1)
    assert kept.updated_ns - kept.submitted_ns == 3_000_000_000
    assert [event.kind for event in await store.history(job)] == ["submitted", "claimed", "done"]
    assert await store.claim(ANY, "car-2", 10) is None


async def test_the_same_key_is_the_same_job(store: JobStore) -> None:
    job, _ = await store.submit(a_spec(idempotency_key="k"))
    assert await store.submit(a_spec(idempotency_key="k")) == (job, False)
    await store.finish(await claim(store), Result(JobState.done))
    assert await store.submit(a_spec(idempotency_key="k")) == (job, False)
    with pytest.raises(IdempotencyConflict, match=job):
        await store.submit(a_spec("something else", idempotency_key="k"))
    assert len(await store.list_jobs()) == 1
    without = {(await store.submit(a_spec()))[0] for _ in range(3)}
    assert len(without) == 3


async def test_priority_goes_before_age(store: JobStore) -> None:
    jobs = {}
    for name, priority in [("old", 0), ("low", -5), ("urgent", 9), ("young", 0)]:
        jobs[name], _ = await store.submit(a_spec(name, priority=priority))
    order = [(await claim(store)).job for _ in jobs]
    assert order == [jobs[name] for name in ("urgent", "old", "young", "low")]


async def test_only_jobs_that_the_claimer_can_do_are_given(store: JobStore) -> None:
    await store.submit(a_spec("a", agent="reader"))
    job, _ = await store.submit(a_spec("b", agent="clicker"))
    assert await store.claim(Capabilities(agents=frozenset()), "car", 10) is None
    able = Capabilities(agents=frozenset({"clicker", "other"}))
    claimed = await store.claim(able, "car", 10)
    assert claimed is not None
    assert claimed.job == job
    assert await store.claim(able, "car", 10) is None


async def test_a_job_that_may_take_longer_than_there_is_time_waits(store: JobStore) -> None:
    long, _ = await store.submit(a_spec("long", limits=Limits(max_s=600), priority=9))
    short, _ = await store.submit(a_spec("short", limits=Limits(max_s=60)))
    assert not await store.can_claim(Capabilities(longest_s=59.9))
    assert await store.claim(Capabilities(longest_s=59.9), "car", 10) is None
    assert await store.can_claim(Capabilities(longest_s=60.0))
    claimed = await store.claim(Capabilities(longest_s=599.0), "car", 10)
    assert claimed is not None
    assert claimed.job == short, "the long one goes first, and waits"
    assert not await store.can_claim(Capabilities(longest_s=599.0))
    assert await store.can_claim(ANY)
    assert (await claim(store)).job == long
    assert not await store.can_claim(ANY)


async def test_a_job_goes_only_where_its_needs_are_met(store: JobStore) -> None:
    await store.submit(a_spec("far", needs=Needs(region="us"), priority=3))
    await store.submit(a_spec("large", needs=Needs(memory_MiB=4096), priority=2))
    await store.submit(a_spec("hungry", needs=Needs(plugged_in=True), priority=1))
    job, _ = await store.submit(a_spec("near", needs=Needs(region="eu", device="orin", memory_MiB=100)))
    car = Capabilities(region="eu", device="orin", memory_MiB=2048, is_plugged_in=False)
    claimed = await store.claim(car, "car", 10)
    assert claimed is not None
    assert claimed.job == job
    assert await store.claim(car, "car", 10) is None
    other = await store.claim(Capabilities(region="us"), "other", 10)
    assert other is not None
    assert (await store.get(other.job)).spec.instruction == "far"


async def test_a_variant_is_chosen_by_the_jobs_name(store: JobStore) -> None:
    split = (Variant(model="a@1", share=3), Variant(model="b@1", share=1))
    job, _ = await store.submit(a_spec(variants=split, idempotency_key="k"))
    kept = (await store.get(job)).spec
    assert kept == a_spec(variants=split, idempotency_key="k").assigned(job)
    assert kept.model in {"a@1", "b@1"}
    assert await store.submit(a_spec(variants=split, idempotency_key="k")) == (job, False)


async def test_a_job_may_say_how_often_it_is_tried(store: JobStore) -> None:
    job, _ = await store.submit(a_spec(retries=0))
    assert await store.release(await claim(store), "broken", is_fault=True) is JobState.failed
    assert (await store.get(job)).attempts == 1


async def test_a_desktop_has_one_owner_at_a_time(store: JobStore, clock: ManualClock) -> None:
    await store.submit(a_spec("first", desktop="unix:/one"))
    await store.submit(a_spec("second", desktop="unix:/one", priority=-1))
    first = await claim(store)
    assert await store.claim(ANY, "car-2", 10) is None
    await store.finish(first, Result(JobState.done))
    assert (await claim(store)).job != first.job


async def test_a_yield_keeps_the_checkpoint_and_costs_no_attempt(store: JobStore) -> None:
    await store.submit(a_spec())
    epochs = []
    for _ in range(MAX_ATTEMPTS + 2):
        claimed = await claim(store)
        epochs.append(claimed.owner_epoch)
        assert await store.release(claimed, "speed", CHECKPOINT, actions=2) is JobState.queued
    claimed = await claim(store)
    assert claimed.checkpoint == CHECKPOINT
    job = await store.get(claimed.job)
    assert (job.attempts, job.actions, job.reason) == (0, 2 * len(epochs), "speed")
    assert epochs == sorted(set(epochs))
    assert claimed.owner_epoch > epochs[-1]
    await store.release(claimed, "speed")
    assert (await claim(store)).checkpoint == CHECKPOINT  # none was given: the last one stays


async def test_saved_checkpoints_are_what_the_next_owner_gets(store: JobStore, clock: ManualClock) -> None:
    await store.submit(a_spec())
    first = await claim(store, lease_s=10)
    await store.save(first, Checkpoint(agent_kind="a", state=b"old"))
    await store.save(first, CHECKPOINT)
    clock.advance(10)
    assert await store.claim(ANY, "car-2", 10) is None  # a fault is waited for a moment
    clock.advance(60)
    second = await claim(store, "car-2")
    assert second.checkpoint == CHECKPOINT
    assert second.owner_epoch > first.owner_epoch


async def test_an_owner_that_lost_its_job_changes_nothing(store: JobStore, clock: ManualClock) -> None:
    await store.submit(a_spec())
    first = await claim(store, lease_s=1)
    clock.advance(1)
    await store.sweep()
    clock.advance(60)
    second = await claim(store, "car-2", lease_s=100)
    before = await store.get(first.job)
    for attempt in (
        store.renew(first, 10),
        store.save(first, CHECKPOINT),
        store.finish(first, Result(JobState.done, "stale")),
        store.release(first, "stale"),
        store.release(first, "stale", is_fault=True),
    ):
        with pytest.raises(ClaimLost):
            await attempt
    assert await store.get(first.job) == before
    await store.finish(second, Result(JobState.done, "fresh"))
    for attempt in (store.renew(second, 10), store.save(second, CHECKPOINT), store.release(second, "late")):
        with pytest.raises(ClaimLost, match="done"):
            await attempt
    assert (await store.get(first.job)).answer == "fresh"


async def test_renewal_holds_a_lease_and_wall_time_does_not_end_it(store: JobStore, clock: ManualClock) -> None:
    await store.submit(a_spec())
    mine = await claim(store, lease_s=10)
    for _ in range(5):
        clock.advance(9)
        await store.renew(mine, 10)
    clock.jump_wall(+100_000)
    assert await store.sweep() == []
    clock.jump_wall(-200_000)
    clock.advance(10)
    (lost,) = await store.sweep()
    assert (lost.job, lost.state) == (mine.job, JobState.queued)


async def test_a_lease_does_not_outlive_the_machine(store: JobStore, clock: ManualClock) -> None:
    await store.submit(a_spec())
    mine = await claim(store, lease_s=1e6)
    clock.reboot()
    (lost,) = await store.sweep()
    assert (lost.state, lost.attempts) == (JobState.queued, 1)
    with pytest.raises(ClaimLost):
        await store.renew(mine, 10)


async def test_an_owner_may_come_back_to_an_expired_lease_that_nobody_took(store: JobStore, clock: ManualClock) -> None:
    await store.submit(a_spec())
    mine = await claim(store, lease_s=1)
    clock.advance(5)
    await store.renew(mine, 10)
    assert await store.sweep() == []


async def test_faults_wait_longer_and_longer_and_then_poison(store: JobStore, clock: ManualClock) -> None:
    job, _ = await store.submit(a_spec())
    waits = []
    for _ in range(MAX_ATTEMPTS - 1):
        assert await store.release(await claim(store), "unreachable", CHECKPOINT, is_fault=True) is JobState.queued
        waits.append(0)
        while await store.claim(Capabilities(agents=frozenset({"none"})), "x", 1) is None and waits[-1] < 100:
            claimed = await store.claim(ANY, "car", 10)
            if claimed is not None:
                break
            clock.advance(1)
            waits[-1] += 1
        assert claimed is not None
        await store.release(claimed, "gate closed")
    assert waits == [1, 2]
    assert await store.release(await claim(store), "unreachable", is_fault=True) is JobState.failed
    kept = await store.get(job)
    assert kept.attempts == MAX_ATTEMPTS
    assert kept.reason == "it failed 3 times, the last time: unreachable"
    assert await store.claim(ANY, "car", 10) is None


async def test_a_dying_worker_is_a_fault(store: JobStore, clock: ManualClock) -> None:
    job, _ = await store.submit(a_spec())
    for _ in range(MAX_ATTEMPTS):
        clock.advance(100)
        await claim(store, lease_s=1)
        clock.advance(1)
        await store.sweep()
    kept = await store.get(job)
    assert (kept.state, kept.attempts) == (JobState.failed, MAX_ATTEMPTS)
    assert "its lease ran out (owner car-1)" in kept.reason


@pytest.mark.parametrize("end", ["lease", "cancelled", "deadline"])
async def test_a_run_that_never_reported_is_counted_by_its_checkpoint(
    store: JobStore, clock: ManualClock, end: str
) -> None:
    job, _ = await store.submit(a_spec(deadline_s=100.0 if end == "deadline" else None))
    first = await claim(store)
    await store.release(first, "gate closed", known(3), actions=3)
    second = await claim(store, "car-2", lease_s=1)
    await store.save(second, known(5))
    if end == "cancelled":
        await store.cancel(job, "no longer wanted")
    else:
        clock.advance(1000 if end == "deadline" else 2)
        await store.sweep()
    assert (await store.get(job)).actions == 5


async def test_what_was_counted_is_not_counted_again(store: JobStore) -> None:
    job, _ = await store.submit(a_spec())
    await store.release(await claim(store), "its worker died", known(5), actions=5, is_fault=False)
    await store.finish(await claim(store), Result(JobState.done, actions=2))
    assert (await store.get(job)).actions == 7


def known(actions: int) -> Checkpoint:
    """Returns a checkpoint that knows of so many actions."""
    return Checkpoint(agent_kind="clicker", state=msgspec.msgpack.encode(Memory(actions=actions)))


async def test_a_wall_clock_set_back_does_not_freeze_a_waiting_job(store: JobStore, clock: ManualClock) -> None:
    await store.submit(a_spec())
    await store.release(await claim(store), "unreachable", is_fault=True)
    clock.jump_wall(-1e6)
    await claim(store)


async def test_deadlines_end_jobs_that_wait_and_jobs_that_run(store: JobStore, clock: ManualClock) -> None:
    waiting, _ = await store.submit(a_spec("waiting", deadline_s=50))
    running, _ = await store.submit(a_spec("running", deadline_s=100, priority=1))
    mine = await claim(store, lease_s=1000)
    clock.advance(49)
    assert await store.sweep() == []
    clock.advance(1)
    assert [job.job for job in await store.sweep()] == [waiting]
    clock.advance(50)
    assert [job.job for job in await store.sweep()] == [running]
    with pytest.raises(ClaimLost, match="deadline"):
        await store.finish(mine, Result(JobState.done))
    for job in (waiting, running):
        kept = await store.get(job)
        assert kept.state is JobState.failed
        assert "deadline" in kept.reason


async def test_a_deadline_goes_on_while_the_machine_is_off(store: JobStore, clock: ManualClock) -> None:
    job, _ = await store.submit(a_spec(deadline_s=50))
    clock.jump_wall(60)
    clock.reboot()
    assert await store.claim(ANY, "car", 10) is None
    assert (await store.get(job)).state is JobState.failed


async def test_cancelling(store: JobStore) -> None:
    waiting, _ = await store.submit(a_spec("waiting"))
    assert (await store.cancel(waiting, "not needed")).state is JobState.cancelled
    assert (await store.cancel(waiting, "again")).reason == "not needed"
    await store.submit(a_spec("running"))
    mine = await claim(store)
    await store.save(mine, CHECKPOINT)
    assert (await store.cancel(mine.job, "")).checkpoint == b""
    with pytest.raises(ClaimLost, match="cancelled"):
        await store.save(mine, CHECKPOINT)
    done, _ = await store.submit(a_spec("done"))
    await store.finish(await claim(store), Result(JobState.done))
    with pytest.raises(JobOver):
        await store.cancel(done, "too late")


@pytest.mark.parametrize("state", [state for state in JobState if state.is_over])
async def test_every_end_is_told_once_even_when_said_twice(store: JobStore, state: JobState) -> None:
    await store.submit(a_spec())
    mine = await claim(store)
    result = Result(state, answer="a", reason="r", actions=3)
    await store.finish(mine, result)
    await store.finish(mine, result)
    kept = await store.get(mine.job)
    assert (kept.state, kept.answer, kept.reason, kept.actions, kept.checkpoint) == (state, "a", "r", 3, b"")
    assert [event.kind for event in await store.history(mine.job)] == ["submitted", "claimed", state.value]
    with pytest.raises(ClaimLost):
        await store.finish(mine, Result(state, answer="another"))


@pytest.mark.parametrize("state", [JobState.queued, JobState.claimed])
async def test_a_result_that_is_no_end_is_a_programming_error(store: JobStore, state: JobState) -> None:
    await store.submit(a_spec())
    with pytest.raises(ValueError, match="cannot end"):
        await store.finish(await claim(store), Result(state))


async def test_a_checkpoint_too_large_changes_nothing(store: JobStore) -> None:
    await store.submit(a_spec())
    mine = await claim(store)
    await store.save(mine, CHECKPOINT)
    large = Checkpoint(agent_kind="a", state=b"x" * CHECKPOINT_CAP_BYTES)
    with pytest.raises(CheckpointError):
        await store.save(mine, large)
    with pytest.raises(CheckpointError):
        await store.release(mine, "speed", large)
    job = await store.get(mine.job)
    assert (job.state, job.checkpoint) == (JobState.claimed, CHECKPOINT.encode())


async def test_unknown_jobs(store: JobStore) -> None:
    nobody = Claim("nobody", 1)
    for attempt in (store.get("nobody"), store.history("nobody"), store.cancel("nobody", ""), store.renew(nobody, 1)):
        with pytest.raises(UnknownJob, match="nobody"):
            await attempt


async def test_listing_counting_and_forgetting(store: JobStore, clock: ManualClock) -> None:
    jobs = []
    for number in range(4):
        clock.advance(1)
        jobs.append((await store.submit(a_spec(f"{number}", idempotency_key=f"k{number}")))[0])
    clock.advance(1)
    await store.finish(await claim(store), Result(JobState.failed, reason="no"))
    assert [job.job for job in await store.list_jobs()] == jobs[::-1]
    assert [job.job for job in await store.list_jobs(limit=2)] == [jobs[3], jobs[2]]
    assert [job.job for job in await store.list_jobs([JobState.failed, JobState.done])] == [jobs[0]]
    counts = await store.counts()
    assert counts[JobState.queued] == 3
    assert counts[JobState.failed] == 1
    assert sum(counts.values()) == 4
    assert set(counts) == set(JobState)
    assert await store.forget(clock.now().utc_ns) == 0
    assert await store.forget(clock.now().utc_ns + 1) == 1
    assert jobs[0] not in [job.job for job in await store.list_jobs()]
    with pytest.raises(UnknownJob):
        await store.history(jobs[0])
    assert (await store.submit(a_spec("0", idempotency_key="k0")))[1]  # its key is free again


async def test_closing_twice(store: JobStore) -> None:
    await store.close()
    await store.close()


async def test_what_all_runs_cost_is_summed_also_of_one_that_died(store: JobStore, clock: ManualClock) -> None:
    job, _ = await store.submit(a_spec())
    await store.release(await claim(store), "yielded", spent=Spent(10.0, 1.0))
    silent = await claim(store)
    await store.save(silent, CHECKPOINT, Spent(3.0, 0.25))
    await store.save(silent, CHECKPOINT, Spent(5.0, 0.5))
    clock.advance(11)
    await store.sweep()
    kept = await store.get(job)
    assert (kept.joules, kept.price, kept.running) == (15.0, 1.5, Spent())
    clock.advance(2)
    last = await claim(store)
    await store.save(last, CHECKPOINT, Spent(1.0, 0.125))
    await store.finish(last, Result(JobState.done, spent=Spent(4.0, 0.25)))
    kept = await store.get(job)
    assert (kept.joules, kept.price) == (19.0, 1.75)


@pytest.mark.parametrize(("budget", "said"), [(Budget(energy_kJ=0.02), "0.02 kJ"), (Budget(price=2.0), "2 EUR")])
async def test_a_job_whose_budget_is_spent_is_given_to_nobody(store: JobStore, budget: Budget, said: str) -> None:
    job, _ = await store.submit(a_spec(budget=budget))
    assert await store.release(await claim(store), "yielded", spent=Spent(12.0, 1.5)) is JobState.queued
    assert await store.release(await claim(store), "yielded", spent=Spent(8.0, 0.5)) is JobState.failed
    assert (await store.get(job)).reason.startswith(f"its budget of {said} is spent")
    assert await store.claim(ANY, "car-2", 10) is None


async def test_a_price_in_another_currency_is_left_to_others(store: JobStore) -> None:
    await store.submit(a_spec(budget=Budget(price=1.0, currency="CHF")))
    assert await store.claim(Capabilities(currency="EUR"), "car-1", 10) is None
    assert await store.claim(Capabilities(currency="CHF"), "car-1", 10) is not None


async def test_a_batch_has_one_result_an_input(store: JobStore, clock: ManualClock) -> None:
    spec = JobSpec(agent="batch", model="net", batch=Batch(tuple({"x": [number]} for number in range(4))))
    job, _ = await store.submit(spec)
    other, _ = await store.submit(spec)
    first = await claim(store)
    second = await claim(store, "car-2")
    assert {first.job, second.job} == {job, other}, "two without a desktop do not wait for each other"
    assert await store.results(first.job) == []
    await store.put_results(first, 0, [b"a", b"b"])
    await store.put_results(first, 1, [b"B", b"c"])
    assert await store.results(first.job) == [(0, b"a"), (1, b"B"), (2, b"c")]
    assert await store.results(first.job, 2) == [(2, b"c")]
    assert await store.results(second.job) == []
    await store.release(first, "yielded")
    with pytest.raises(ClaimLost):
        await store.put_results(first, 3, [b"d"])
    with pytest.raises(UnknownJob):
        await store.results("nobody")
    await store.put_results(await claim(store, "car-3"), 3, [b"d"])
    assert [number for number, _ in await store.results(first.job)] == [0, 1, 2, 3]
    await store.cancel(first.job, "enough")
    clock.advance(10)
    assert await store.forget(clock.now().utc_ns) == 1
    with pytest.raises(UnknownJob):
        await store.results(first.job)
