"""What the daemon tells its followers, kept by job: actions, yields, the gate, and which jobs are over."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from runtime.config.config import Config
from runtime.daemon.client import Client
from runtime.daemon.control import Event
from runtime.wire.tables import Outcome


@dataclass
class Action:
    """One applied action, as the daemon's event told it; times in µs."""

    job: str
    seq: int
    text: str
    x: int
    y: int
    outcome: int
    presses: tuple[str, ...]
    times: dict[str, int]


@dataclass
class Watch:
    """What the daemon says, kept by job. `gate` is its state and reasons."""

    actions: dict[str, list[Action]] = field(default_factory=dict)
    in_order: list[Action] = field(default_factory=list)
    over: dict[str, asyncio.Event] = field(default_factory=dict)
    yields: dict[str, dict[str, Any]] = field(default_factory=dict)
    worker_ended_ns: list[int] = field(default_factory=list)
    gate: tuple[str, tuple[str, ...]] = ("absent", ())
    closings: int = 0
    jobs_over: int = 0
    acted: asyncio.Event = field(default_factory=asyncio.Event)
    _unheard: list[str] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        """The presses of every applied action, in order."""
        return [press for action in self.in_order if action.outcome == Outcome.applied for press in action.presses]

    @property
    def unheard(self) -> list[str]:
        """The presses of actions of which nobody heard whether they happened."""
        unknown = [press for action in self.in_order if action.outcome == Outcome.unknown for press in action.presses]
        return unknown + self._unheard

    def hear(self, event: Event) -> None:
        detail = json.loads(event.detail)
        if event.kind == "gate":
            self.closings += self.gate[0] == "open" != detail["state"]
            self.gate = (detail["state"], tuple(detail["reasons"]))
        elif event.kind == "action":
            times = {key: detail[key] for key in detail if key.endswith("_us")}
            action = Action(
                event.job,
                detail["seq"],
                detail["action"],
                detail["x"],
                detail["y"],
                detail["outcome"],
                tuple(detail["presses"]),
                times,
            )
            self.in_order.append(action)
            self.actions.setdefault(event.job, []).append(action)
            if detail["outcome"] == Outcome.applied:
                self.acted.set()
        elif event.kind == "run_ended":
            self._unheard += detail["unheard"]
        elif event.kind == "yielded":
            self.yields[event.job] = {**detail, "at_ns": event.at_ns}
        elif event.kind == "worker_ended":
            self.worker_ended_ns.append(event.at_ns)
        if event.over:
            self.jobs_over += 1
            self.over.setdefault(event.job, asyncio.Event()).set()

    async def until_over(self, job: str) -> None:
        await self.over.setdefault(job, asyncio.Event()).wait()


@contextlib.asynccontextmanager
async def following(config: Config, watch: Watch) -> AsyncIterator[None]:
    """Keeps `watch` fed with everything that the daemon tells its followers."""
    async with await Client.connect(config.daemon.control_path) as client:

        async def feed() -> None:
            with (Path(config.daemon.state_folder).parent / "events.jsonl").open("w") as log:
                async for event in client.follow():
                    watch.hear(event)
                    log.write(json.dumps({**msgspec.structs.asdict(event), "detail": json.loads(event.detail)}) + "\n")

        task = asyncio.create_task(feed())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
