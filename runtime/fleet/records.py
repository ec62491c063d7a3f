"""What is stored on the fleet's servers, byte for byte: MessagePack arrays that begin with their version.

    Record  [1, born, job, events]                        ih.job.JOB: a job of life.py with its history
    Hold    [1, job, owner, epoch, until, boot, ack]      ih.hold.WHAT: the lease of a claim
    results [data, …]                                     ih.result.JOB.FIRST: of a batch, from number FIRST on
    lanes   [[region, device, agent, model, priority], …] ih.lanes: where offers are, all of them

`born` and `epoch` are 0 in the message that they are the sequence of: nobody knows it before it is written.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from runtime.jobs.life import Job, JobEvent
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import JobStoreError

RECORD_VERSION = 1
EVENTS_KEPT = 200
REVISION_BITS = 40
ANY = "any"


class Record(msgspec.Struct, array_like=True, frozen=True):
    """A job with its history. `born` is the revision of its submission: its age among all jobs."""

    version: int
    born: int
    job: Job
    events: tuple[JobEvent, ...]

    def followed_by(self, job: Job, event: JobEvent | None) -> Record:
        """Returns the record after a change; of a very long history the beginning and the end are kept."""
        events = self.events if event is None else (*self.events, event)
        if len(events) > EVENTS_KEPT:
            events = (events[0], *events[2 - EVENTS_KEPT :])
        return Record(self.version, self.born, job, events)


class Hold(msgspec.Struct, array_like=True, frozen=True):
    """Who has a desktop (or a job without one), for how long by the fleet's clock, and where to answer its offer."""

    version: int
    job: str
    owner: str
    epoch: int
    until_ns: int
    boot: str
    ack: str


class Lane(msgspec.Struct, array_like=True, frozen=True, order=True):
    """A queue of offers: one shared consumer. `model` is a bundle's name without its version, "-" for none."""

    region: str
    device: str
    agent: str
    model: str
    priority: int

    @property
    def subject(self) -> str:
        parts = (self.region, self.device, self.agent, self.model)
        return ".".join(token(part) for part in parts) + f".{self.priority + 100}"

    @property
    def consumer(self) -> str:
        return self.subject.replace(".", "=")


def lane_of(spec: JobSpec) -> Lane:
    """Returns where a job is offered."""
    needs = spec.needs
    return Lane(
        needs.region or ANY, needs.device or ANY, spec.agent, spec.model.partition("@")[0] or "-", spec.priority
    )


_record: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)
_hold: msgspec.msgpack.Decoder[Hold] = msgspec.msgpack.Decoder(Hold)
_lanes: msgspec.msgpack.Decoder[tuple[Lane, ...]] = msgspec.msgpack.Decoder(tuple[Lane, ...])
_results: msgspec.msgpack.Decoder[tuple[bytes, ...]] = msgspec.msgpack.Decoder(tuple[bytes, ...])
encode = msgspec.msgpack.Encoder().encode


def token(name: str) -> str:
    """Returns a name as one token of a subject: dots are the servers'."""
    return name.replace(".", "~")


def what_is_held(job: str, desktop: str) -> str:
    """Returns the key of the hold: a desktop has one owner at a time, whatever job it is; else the job."""
    return f"d{hashlib.sha256(desktop.encode()).hexdigest()[:32]}" if desktop else f"j{job}"


def read_record(data: bytes, revision: int) -> Record:
    """Returns the record of a message. Raises JobStoreError for what this build cannot read."""
    record: Record = _read(_record, data, "a job's record")
    return record if record.born else Record(record.version, revision, record.job, record.events)


def read_hold(data: bytes) -> Hold:
    hold: Hold = _read(_hold, data, "a hold")
    return hold


def read_results(data: bytes) -> tuple[bytes, ...]:
    results: tuple[bytes, ...] = _read(_results, data, "results of a batch")
    return results


def read_lanes(data: bytes) -> tuple[Lane, ...]:
    lanes: tuple[Lane, ...] = _read(_lanes, data, "the list of lanes")
    return lanes


def _read(decoder: Any, data: bytes, what: str) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JobStoreError(
            f"{what} on the fleet's servers is damaged or of a later version: {error}",
            next_step="bring this build up to the fleet's version",
        ) from error
