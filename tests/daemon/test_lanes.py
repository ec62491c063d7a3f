"""Models and deadlines in a real worker process: budget and evictions, promises, duty, threads, what is kept loaded."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from runtime.daemon.client import Client
from runtime.daemon.control import Status
from runtime.store.bundle import open_source, pack, sign
from runtime.store.keys import SigningKey
from runtime.store.manifest import decode_manifest
from runtime.store.models import ModelStore
from tests.daemon.car import Car, Desk, car, desk

BUNDLE = Path(__file__).parents[2] / "models" / "bundles" / "text_reader.ihb"
MEMORY = 60 << 20  # what each variant says that it needs: two fit into the smallest budget
READ = {"agent": "text_reader", "instruction": 'Click on the "Nowhere" button.'}


def install_variants(folder: Path, *names: str) -> None:
    """Installs the committed text reader under several names; each is another bundle, with its models on `native`."""
    store = ModelStore(folder / "state" / "models")
    key = SigningKey.create(folder / "variants.key")
    store.trust(key.public)
    source = folder / "source"
    source.mkdir()
    with open_source(BUNDLE) as opened:
        for entry, parts in opened.files(decode_manifest(opened.head()[0])):
            (source / entry.path).write_bytes(b"".join(parts))
    for name in names:
        models = {"recognise": {"file": "rec.onnx", "backends": ["native"], "memory_bytes": MEMORY}}
        description = {"name": name, "version": "1", "kind": "text_reader", "licence": "Apache-2.0", "models": models}
        pack(source, folder / f"{name}.ihb", description=description)
        sign(folder / f"{name}.ihb", key)
        store.install(folder / f"{name}.ihb")


def drive(
    folder: Path, story: Callable[[Car, list[Desk]], Awaitable[None]], *, desks: int = 1, **settings: Any
) -> None:
    """Runs `story` with a daemon and desktops below `folder`."""

    async def go() -> None:
        with car(folder, **settings) as made:
            async with contextlib.AsyncExitStack() as stack:
                found = []
                for number in range(desks):
                    place = folder / f"desk-{number}"
                    (place / "desk").mkdir(parents=True, mode=0o700)
                    found.append(await stack.enter_async_context(desk(place, 20)))
                await made.start()
                await asyncio.wait_for(story(made, found), 90)

    asyncio.run(go())


def at(folder: Path, number: int) -> str:
    return f"unix:{folder}/desk-{number}/desk.socket"


async def status(made: Car) -> Status:
    async with await Client.connect(made.control) as client:
        return await client.status()


async def until(made: Car, holds: Callable[[Status], bool]) -> Status:
    while not holds(found := await status(made)):
        await asyncio.sleep(0.05)
    return found


def test_one_worker_keeps_as_many_models_as_fit(tmp_path: Path) -> None:
    names = ("one", "two", "three")

    async def story(made: Car, desks: list[Desk]) -> None:
        install_variants(tmp_path, *names)
        made.gate.open()
        worker = set()
        for name in (*names, "one"):
            job = await made.submit(desktop=at(tmp_path, 0), model=name, **READ)
            await made.until(job, "done", "failed")
            worker.update(made.workers())
        found = await until(made, lambda found: found.computing is not None and found.computing.loads >= 4)
        assert len(worker) == 1, "all by one worker"
        assert [model.bundle for model in found.models] == ["three@1", "one@1"]
        assert {model.backend for model in found.models} == {"native"}
        assert found.computing is not None
        assert found.computing.evictions == 2
        assert found.computing.decisions > 0
        assert found.computing.rss_bytes > 0
        kept = json.loads((tmp_path / "state" / "cache" / "costs.json").read_bytes())
        assert len(kept) == 3, "what each variant's decisions cost is kept for the next worker"

    drive(tmp_path, story, **{"worker.memory_MiB": 128})


def test_what_shall_be_resident_is_loaded_and_stays(tmp_path: Path) -> None:
    async def story(made: Car, desks: list[Desk]) -> None:
        install_variants(tmp_path, "one", "two", "three")
        made.gate.open()
        for name in ("one", "two", "three"):
            job = await made.submit(desktop=at(tmp_path, 0), model=name, **READ)
            await made.until(job, "done", "failed")
        found = await until(made, lambda found: len(found.models) == 2 and found.models[1].bundle == "three@1")
        assert (found.models[0].bundle, found.models[0].is_pinned) == ("two@1", True)

    drive(tmp_path, story, **{"worker.memory_MiB": 128, "worker.resident": "two, absent"})


def test_a_job_that_would_break_a_promise_goes_back_with_the_reason_and_runs_later(tmp_path: Path) -> None:
    """What nobody has seen yet is taken to cost 320 of the 331 ms: alone it may, beside another it may not."""

    async def story(made: Car, desks: list[Desk]) -> None:
        install_variants(tmp_path, "one")
        made.gate.open()
        first = await made.submit(desktop=at(tmp_path, 0))
        await made.until(first, "action")
        second = await made.submit(desktop=at(tmp_path, 1), model="one", **READ)
        back = await made.until(second, "given_back")
        reason = json.loads(back.detail)["reason"]
        assert "1 sessions are promised: a lane would be busy for" in reason
        assert "90% may be used" in reason
        found = await made.job(second)
        assert (found.state, found.attempts) == ("queued", 0)
        assert found.reason.startswith("not promised: ")
        await made.until(first, "failed")
        await made.until(second, "action", "failed", "done")
        seen = await until(made, lambda found: found.computing is not None and found.computing.refused > 0)
        assert seen.computing is not None

    drive(tmp_path, story, desks=2, **{"worker.sessions": 4, "worker.decision_ms": 320})


def test_a_lower_duty_gives_back_what_it_breaks(tmp_path: Path) -> None:
    async def story(made: Car, desks: list[Desk]) -> None:
        made.gate.open()
        jobs = [await made.submit(desktop=at(tmp_path, n)) for n in range(2)]
        await made.until(jobs[1], "action")
        made.gate.allow(duty_permille=10)
        back = await made.until(jobs[1], "given_back")
        assert json.loads(back.detail)["reason"].startswith("the gate allows 1 % of 1 thread: ")
        made.gate.allow()
        for job in jobs:
            await made.until(job, "failed")
        assert [len(set(one.clicks())) for one in desks] == [20, 20], "every box once, on both"
        assert [len(one.clicks()) for one in desks] == [20, 20]

    drive(tmp_path, story, desks=2, **{"worker.sessions": 2, "worker.decision_ms": 5})


def test_the_gate_word_allows_fewer_threads(tmp_path: Path) -> None:
    async def story(made: Car, desks: list[Desk]) -> None:
        made.gate.allow(max_threads=1)
        made.gate.open()
        job = await made.submit(desktop=at(tmp_path, 0))
        await made.until(job, "action")
        found = await until(made, lambda found: found.computing is not None)
        assert found.computing is not None
        assert found.computing.lanes == 1
        made.gate.allow(max_threads=8)
        found = await until(made, lambda found: found.computing is not None and found.computing.lanes == 2)

    drive(tmp_path, story, **{"worker.sessions": 2, "worker.threads": 2})
