"""The streams of a fleet, as one table; made once by the operator, checked by everyone who connects.

| stream     | holds                                                | a message is                                     |
|------------|------------------------------------------------------|--------------------------------------------------|
| IH_JOBS    | KV: ih.job.JOB, ih.lanes, ih.car.CAR, …              | a record; its sequence is what a change compares |
| IH_HOLDS   | KV: ih.hold.WHAT, one a claim, with a TTL            | a lease; its sequence goes into an owner_epoch   |
| IH_OFFERS  | work queue: ih.offer.REGION.DEVICE.AGENT.MODEL.N | a job's name: it may be taken, no more           |
| IH_RESULTS | KV: ih.result.JOB.FIRST, a week                     | results of a batch from number FIRST on          |

A server that does not know a setting ignores it silently (2.9 does with TTLs), so what it echoes is compared.
"""

from __future__ import annotations

from typing import Any

from runtime.fleet.errors import ServerUnfit

JOBS, HOLDS, OFFERS, RESULTS = "IH_JOBS", "IH_HOLDS", "IH_OFFERS", "IH_RESULTS"
JOB, HOLD, OFFER, RESULT = "ih.job.", "ih.hold.", "ih.offer.", "ih.result."
LANES, CAR, SAMPLE = "ih.lanes", "ih.car.", "ih.sample."
RECEIPT = "ih.receipt."  # core NATS: a car's receipt, answered with the fleet's counter-signature
PROOF = "ih.proof."  # core NATS: ih.proof.CAR.JOB, what CAR tells of a decision; see runtime.fleet.checks
PROGRESS = "ih.progress."  # core NATS, kept nowhere: what happens in a run, for whoever watches
INCARNATION = "idlehands.incarnation"
NEEDED = (2, 11)

_KV = {"max_msgs_per_subject": 1, "discard": "new", "allow_direct": True, "retention": "limits", "storage": "file"}
STREAMS: dict[str, dict[str, Any]] = {
    JOBS: {**_KV, "subjects": [f"{JOB}*", LANES, f"{CAR}*", f"{SAMPLE}*"]},
    HOLDS: {**_KV, "subjects": [f"{HOLD}*"], "allow_msg_ttl": True},
    RESULTS: {**_KV, "subjects": [f"{RESULT}*.*"], "discard": "old", "max_age": 7 * 86_400 * 10**9},
    OFFERS: {
        "subjects": [f"{OFFER}>"],
        "retention": "workqueue",
        "storage": "file",
        "discard": "new",
        "duplicate_window": 120 * 10**9,
    },
}
# One for all cars of a lane. Pulls wait here while there is no job, so many may wait; one job a car is under way.
CONSUMER: dict[str, Any] = {
    "ack_policy": "explicit",
    "ack_wait": 12 * 10**9,
    "deliver_policy": "all",
    "max_ack_pending": 1_000_000,
    "max_deliver": -1,
    "max_waiting": 100_000,
    "replay_policy": "instant",
}


def inbox_of(name: str) -> str:
    """Returns the prefix of the subjects on which answers come to `name`, and to nobody else."""
    return f"_INBOX_{name}"


def check_version(version: str) -> None:
    """Raises ServerUnfit for a server below 2.11, or one that does not say."""
    parts = version.split("-")[0].split(".")
    if not all(part.isdecimal() for part in parts[:2]) or tuple(int(part) for part in parts[:2]) < NEEDED:
        raise ServerUnfit(f"the fleet's server is nats-server {version or 'unknown'}, expected 2.11 or later")


def check_echo(name: str, wanted: dict[str, Any], echoed: dict[str, Any]) -> None:
    """Raises ServerUnfit where the server's own word differs from what was asked of it."""
    for key, value in wanted.items():
        if echoed.get(key) != value:
            raise ServerUnfit(
                f"the fleet's server has {key} = {echoed.get(key)!r} on {name}, expected {value!r}: it ignored it",
                next_step="run nats-server 2.11 or later; a stream made by another program must be deleted first",
            )
