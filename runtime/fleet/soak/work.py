"""What a car of a soak does with a job: a few actions, each decided by a null model, stored before it is sent.

It is the runner's protocol (runtime/jobs/runner.py) without frames: the state before and after the action under way is
in the checkpoint, and the desktop's word decides which is true.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from runtime.backends.null import NullModel
from runtime.fleet.soak.desks import DeskLink
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.life import ClaimLost
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Claim, JobStore, JobStoreError
from runtime.store.manifest import ModelEntry, TensorSpec

ACTIONS = 2
AGENT = "null"
YIELDED = "yielded to the car"
MODEL = NullModel(
    ModelEntry(
        file="none", inputs=(TensorSpec("state", (16,), "uint8"),), outputs=(TensorSpec("action", (4,), "uint8"),)
    ),
    sleep=lambda seconds: None,
    latency_us=0,
    steps=1,
    is_noise=True,
)


class Progress(msgspec.Struct, array_like=True):
    """A checkpoint's state: actions done, and the seq of the one under way (0: none)."""

    done: int = 0
    pending_seq: int = 0


@dataclass
class Ended:
    """`kind` is done, yielded or lost."""

    kind: str
    progress: Progress
    actions: int
    seconds: float


def spec(number: int, run: str, priority: int = 0) -> JobSpec:
    return JobSpec(
        desktop=f"unix:/soak/{run}/{number}",
        instruction=f"soak {number}",
        agent=AGENT,
        idempotency_key=f"{run}/{number}",
        priority=priority,
    )


def checkpoint(progress: Progress) -> Checkpoint:
    return Checkpoint(agent_kind=AGENT, state=msgspec.msgpack.encode(progress))


def decide(job: str, done: int) -> bytes:
    """Returns the action that the null model decides on: the same everywhere for the same state."""
    state = np.frombuffer(f"{job[:14]}{done:02}".encode(), np.uint8)
    run = MODEL.start({"state": state})
    run.step(None)
    return bytes(run.outputs()["action"].tobytes())


async def work(
    store: JobStore, claim: Claim, desks: DeskLink, pause_s: float, wants_yield: Callable[[int], bool]
) -> Ended:
    """Works a claimed job to its end, or until `wants_yield` says so before an action; waits while no fleet answers."""
    began_s, actions = time.monotonic(), 0
    progress = Progress()
    if claim.checkpoint is not None:
        progress = msgspec.msgpack.decode(claim.checkpoint.state, type=Progress)
    hello = await desks.say(claim.job, claim.owner_epoch)
    if not hello.ok:
        return Ended("lost", progress, 0, 0.0)
    if progress.pending_seq and hello.last_seq == progress.pending_seq:
        progress.done += 1
    progress.pending_seq, seq = 0, hello.last_seq
    while progress.done < ACTIONS:
        if wants_yield(progress.done):
            return Ended("yielded", progress, actions, time.monotonic() - began_s)
        await asyncio.sleep(pause_s)
        decide(claim.job, progress.done)
        progress.pending_seq = seq + 1
        while True:
            try:
                await store.save(claim, checkpoint(progress))
                break
            except ClaimLost:
                return Ended("lost", progress, actions, time.monotonic() - began_s)
            except JobStoreError:
                await asyncio.sleep(0.2)
        seq += 1
        applied = await desks.say(claim.job, claim.owner_epoch, seq, progress.done)
        if not applied.ok:
            return Ended("lost", progress, actions, time.monotonic() - began_s)
        progress.done += 1
        progress.pending_seq = 0
        actions += 1
    return Ended("done", progress, actions, time.monotonic() - began_s)
