"""What the books of a soak say: every job's record, every action at the desks, every receipt of every car."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.fleet.books import Books
from runtime.fleet.car import NOT_BEGUN
from runtime.fleet.soak.desks import Desks
from runtime.fleet.soak.work import ACTIONS, YIELDED
from runtime.fleet.store import NatsJobStore, job_named
from runtime.jobs.life import JobState
from runtime.ledger.audit import Damage, answers_of, read_entries, verify
from runtime.ledger.receipt import Receipt, ReceiptError, verify_receipt
from runtime.ledger.signing import public_hex

if TYPE_CHECKING:
    from runtime.fleet.soak.director import SoakPlan


async def audit(
    store: NatsJobStore,
    run: str,
    plan: SoakPlan,
    desks: Desks,
    books: Books,
    troubles_ns: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    """Returns lost, doubled, receipts_bad and what they were counted from; and how long jobs and runs took.

    lost      jobs that were accepted and did not end done, or whose desk did not see all their actions
    doubled   actions applied twice, and results reported twice
    receipts_bad   lines that do not verify, are not signed by their car, or have no counter-signature of the fleet;
              claims that ended by their car's own word without exactly one receipt; and receipts that the fleet's
              books do not have, or that nobody booked; receipts_bad_by says how many of each kind
    took_s    from submission to result; start_s to the first claim; run_s of one run from beginning to end: of those
              that no trouble fell upon (`troubles_ns`, in the fleet's time)
    """
    wanted = {job_named(f"{run}/{number}") for number in range(plan.jobs)}
    entries, receipts, bad = _receipts(plan, books.fleet)
    bad |= {"unbooked": abs(books.count() - receipts), "contested": books.contested(), "unpaid": 0}
    lost = doubled = handed_back = yields = faults = 0
    took_s: list[float] = []
    start_s: list[float] = []
    run_s: list[float] = []
    done: set[str] = set()
    async for record in store.records():
        job = record.job
        if job.job not in wanted:
            continue
        kinds = [event.kind for event in record.events]
        if job.state is JobState.done:
            done.add(job.job)
        doubled += max(0, sum(JobState.__members__.get(kind, JobState.queued).is_over for kind in kinds) - 1)
        handed_back += kinds.count("released")
        yields += sum(event.detail == YIELDED for event in record.events)
        if job.state is JobState.done and not _meets(troubles_ns, job.submitted_ns, job.updated_ns):
            claims = [event.at_ns for event in record.events if event.kind == "claimed"]
            took_s.append((job.updated_ns - job.submitted_ns) / 1e9)
            start_s.append((claims[0] - job.submitted_ns) / 1e9)
            run_s += [(job.updated_ns - claims[0]) / 1e9] if len(claims) == 1 else []
        faults += kinds.count("expired")
        for event in record.events:
            ran = event.kind == "done" or (event.kind == "released" and event.detail != NOT_BEGUN)
            bad["unpaid"] += ran and entries.get((job.job, event.owner_epoch)) != event.owner
    for job_name in wanted:
        actions = sum((job_name, number) in desks.applied for number in range(ACTIONS))
        lost += job_name not in done or actions != ACTIONS
    return {
        "lost": lost,
        "doubled": doubled + desks.doubled,
        "receipts_bad": sum(bad.values()),
        "receipts_bad_by": bad,
        "done": len(done),
        "receipts": receipts,
        "handed_back": handed_back,
        "yields": yields,
        "leases_lost": faults,
        "stale_refused": desks.refused,
        "took_s": percentiles(took_s),
        "start_s": percentiles(start_s),
        "run_s": percentiles(run_s),
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """Returns how many values there are, and their percentiles to four digits."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0, "p50": 0.0, "p99": 0.0}
    at = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in _SHARES.items()}
    return {"n": len(ordered), **{name: float(f"{value:.4g}") for name, value in at.items()}}


def _meets(spans: Sequence[tuple[int, int]], begin_ns: int, end_ns: int) -> bool:
    return any(begin < end_ns and begin_ns < end for begin, end in spans)


_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def _receipts(plan: SoakPlan, fleet: str) -> tuple[dict[tuple[str, int], str], int, dict[str, int]]:
    """Returns whose receipt each (job, owner_epoch) has, how many there are, and how many are wrong in which way."""
    owners: dict[tuple[str, int], str] = {}
    count, bad = 0, {"damaged": 0, "unverified": 0, "twice": 0}
    for number in range(plan.cars):
        folder = plan.folder / f"car-{number}"
        if not (folder / "ledger").exists():
            continue
        key = Ed25519PrivateKey.from_private_bytes((folder / "car.key").read_bytes())
        car = public_hex(key)
        bad["damaged"] += len(verify(folder / "ledger", car=car).damages)
        answers = answers_of(folder / "ledger")
        for entry in read_entries(folder / "ledger"):
            count += 1
            if isinstance(entry, Damage):
                continue  # counted by verify
            try:
                verify_receipt(Receipt(entry=entry, countersignature=answers.get(entry.hash)), car=car, fleet={fleet})
            except ReceiptError:
                bad["unverified"] += 1
            bad["twice"] += (entry.job, entry.owner_epoch) in owners
            owners[entry.job, entry.owner_epoch] = folder.name
    return owners, count, bad
