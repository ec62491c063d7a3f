"""How fast the car gets its computer back: kernels stopped, keys released, job back, memory back.

    .venv/bin/python -m bench yield [--closings N] [--kills N] [--agent native|onnxruntime] [--json]

    edge on the bus ─► gate word ─► the kernels return ─► bye, all keys are up ─► job in the store ─► worker gone
    SIGKILL of the bridge ─► its lease runs out ─►  ″

The whole product in a network namespace of its own: a car on multicast CAN, the bridge, the daemon, its worker, a
desktop in memory behind TLS on loopback with a screen full of text. Every closing falls at a random moment of a run of
the text reader, whose networks run on our engine or on onnxruntime. `from_word` counts from the moment at which readers
see the gate shut (for a killed bridge: its lease's end), `from_edge` from just before the frame is sent, or the kill.
Kernels: when the thinking thread had its last kernel back; 0 if none ran. The bare engine is the kernel alone. Keys:
the desktop's own word. A worker that did not leave by itself within its grace is killed: all its stages end then.
Where it is allowed, all of it runs before other programs (`is_uncontended`), as on a car whose computer is idle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench.measure import Samples, machine
from bench.parked_car import ROOT, Bus, bridge_process, favour, in_namespace, until_open
from kernels.gate.word import GateReader, State, boottime_ns
from kernels.gate.writer import GateWriter
from runtime.backends.feeds import Feeds
from runtime.backends.protocol import Limits, Model, StepResult, load_model
from runtime.daemon.client import Client, DaemonAbsent
from runtime.desktop.connector import serve_desktop
from runtime.desktop.memory import MemoryDesktop, MemoryScreen
from runtime.jobs.spec import JobSpec
from runtime.jobs.spec import Limits as JobLimits
from runtime.store.bundle import pack, sign
from runtime.store.keys import development_key
from runtime.store.models import ModelStore
from runtime.transport.identity import Identity

AGENTS = ("native", "onnxruntime")
STAGES = ("word", "kernels", "keys", "job", "memory")
WIDTH, HEIGHT = 1280, 720
BUNDLE = ROOT / "models/bundles/text_reader.ihb"
# Between the session's beginning and the closing: mostly within the first look, which reads the whole screen.
EARLIEST_S, LATEST_S = 0.1, 1.0
WAIT_S = 30.0


@dataclass
class Closing:
    """The moments of one closing, CLOCK_BOOTTIME ns."""

    edge_ns: int
    word_ns: int = 0
    stopped_ns: int = 0
    released_ns: int = 0
    handed_back_ns: int = 0
    gone_ns: int = 0
    was_killed: bool = False

    def stages(self, since_ns: int) -> dict[str, int]:
        """Returns the stages in ns since `since_ns`; what was so before it is 0."""
        ends = (self.word_ns, self.stopped_ns, self.released_ns, self.handed_back_ns, self.gone_ns)
        return {name: max(0, end - since_ns) for name, end in zip(STAGES, ends, strict=True)}


def run(argv: list[str]) -> dict[str, Any]:
    """Returns rows (agent, origin, stage; p50, p99 and the worst in ms from the word and from the edge)."""
    parser = argparse.ArgumentParser(
        prog="python -m bench yield", description="How fast the car gets its computer back."
    )
    parser.add_argument("--closings", type=int, default=20, help="closings by the bus, for each agent")
    parser.add_argument("--kills", type=int, default=6, help="closings by SIGKILL of the bridge, for each agent")
    parser.add_argument("--agent", choices=AGENTS, action="append", help="measure this one only")
    arguments = parser.parse_args(argv)
    answer: dict[str, Any] = {"rows": [], "machine": machine()}
    for agent in arguments.agent or AGENTS:
        counts = str(arguments.closings), str(arguments.kills)
        found = in_namespace(
            "bench.yielding", agent, *counts, timeout_s=60 + 12 * (arguments.closings + arguments.kills)
        )
        answer["rows"] += found.pop("rows", [])
        answer[agent] = found
    return answer


def rows_of(agent: str, origin: str, closings: list[Closing]) -> list[dict[str, Any]]:
    """Returns one row a stage."""
    rows = []
    for stage in STAGES:
        row: dict[str, Any] = {"agent": agent, "origin": origin, "stage": stage, "closings": len(closings)}
        row["killed"] = sum(each.was_killed for each in closings)
        for since in ("word", "edge"):
            times = [each.stages(each.word_ns if since == "word" else each.edge_ns)[stage] for each in closings]
            samples = Samples(tuple(times))
            row |= {f"from_{since}_p{p}_ms": round(samples.percentile_ms(p), 2) for p in (50, 99)}
            row[f"from_{since}_worst_ms"] = round(max(times) / 1e6, 2)
        rows.append(row)
    return rows


@dataclass
class Scene:
    """Everything that runs, and what was heard of it."""

    folder: Path
    agent: str
    bus: Bus = field(default_factory=Bus)
    gear: int = 1
    events: list[dict[str, Any]] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False

    def drive(self) -> None:
        """The car's thread: says everything 100 times a second."""
        while not self.is_over:
            self.bus.say(self.gear)
            time.sleep(0.01)

    def hear_desk(self, lines: IO[str]) -> None:
        """The desktop's thread: keeps what it tells."""
        for line in lines:
            event = json.loads(line)
            self.events.append({**event, "kind": "desk_" + event["event"], "job": event.get("job", "")})

    async def follow(self, client: Client) -> None:
        """Keeps the daemon's events."""
        async for event in client.follow():
            self.events.append({"kind": event.kind, "job": event.job, "at_ns": event.at_ns, **json.loads(event.detail)})
            self.heard.set()

    async def until(self, kinds: tuple[str, ...], job: str = "", since_ns: int = 0) -> dict[str, Any]:
        """Returns the first event of one of `kinds` after `since_ns`, waiting for it."""
        give_up_s = time.monotonic() + WAIT_S
        while True:
            for event in self.events:
                if event["kind"] in kinds and event["at_ns"] >= since_ns and job in ("", event["job"]):
                    return event
            self.heard.clear()
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self.heard.wait(), 0.05)
            if time.monotonic() > give_up_s:
                log = (self.folder / "serve.log").read_text().splitlines()[-5:]
                raise TimeoutError(
                    f"none of {kinds} came within {WAIT_S:g} s; last: {self.events[-3:]}; the daemon's log: {log}"
                )

    def has(self, kinds: tuple[str, ...], since_ns: int) -> bool:
        """Returns whether any of `kinds` was heard since `since_ns`."""
        return any(event["kind"] in kinds and event["at_ns"] >= since_ns for event in self.events)

    def close_by_edge(self, reader: GateReader) -> Closing:
        """Selects Drive; returns when the word was seen shut."""
        epoch = reader.read().gate_epoch
        closing = Closing(boottime_ns())
        self.gear = 4
        self.bus.say(4)
        while reader.is_open(epoch):
            time.sleep(0.00005)
        closing.word_ns = boottime_ns()
        return closing

    def close_by_kill(self, reader: GateReader, bridge: subprocess.Popen[str]) -> Closing:
        """Kills the bridge; every reader sees its lease's end."""
        closing = Closing(boottime_ns())
        bridge.kill()
        bridge.wait()
        word = reader.read()
        if word.state is not State.OPEN:
            raise RuntimeError(f"the gate was {word.state.name} when the bridge was killed")
        closing.word_ns = word.lease_until_ns
        return closing


async def measure_closings(agent: str, closings: int, kills: int) -> dict[str, Any]:
    """Runs in the namespace."""
    dice = random.Random(7)
    is_uncontended = favour()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "state").mkdir(mode=0o700)
        install(folder, agent)
        scene = Scene(folder, agent)
        threading.Thread(target=scene.drive, daemon=True).start()
        with desk(folder, scene) as address, daemon(folder) as serving:
            by_edge, by_kill = [], []
            with bridge_process(folder):
                reader = await asyncio.to_thread(until_open, scene.bus, folder / "run" / "gate")
                client = await connected(folder)
                following = asyncio.create_task(scene.follow(await connected(folder)))
                for _ in range(closings):
                    by_edge.append(await one(scene, client, address, reader, dice, None))
            for _ in range(kills):
                with bridge_process(folder) as bridge:
                    reader = await asyncio.to_thread(until_open, scene.bus, folder / "run" / "gate")
                    by_kill.append(await one(scene, client, address, reader, dice, bridge))
            following.cancel()
            scene.is_over = True
            serving.terminate()
    rows = rows_of(agent, "edge", by_edge) + (rows_of(agent, "kill", by_kill) if by_kill else [])
    return {"rows": rows, "is_uncontended": is_uncontended, "bare_engine": bare(agent)}


async def one(
    scene: Scene,
    client: Client,
    address: str,
    reader: GateReader,
    dice: random.Random,
    bridge: subprocess.Popen[str] | None,
) -> Closing:
    """One job and one closing under it; one more where the machine itself let the lease run out before."""
    scene.gear = 1
    begun_ns = boottime_ns()
    while not reader.read().is_open(boottime_ns()):
        await asyncio.sleep(0.01)
    spec = JobSpec(
        desktop=address,
        instruction='Click on the "Zanzibar" button.',
        agent="text_reader",
        limits=JobLimits(max_s=600),
    )
    job = (await client.submit(spec)).job
    await scene.until(("desk_session_opened",), job)
    await asyncio.sleep(dice.uniform(EARLIEST_S, LATEST_S))
    if scene.has(("yielded", "worker_ended", "worker_died", "broken"), begun_ns):
        await client.cancel(job, "measured nothing")
        return await one(scene, client, address, reader, dice, bridge)
    if bridge is None:
        closing = await asyncio.to_thread(scene.close_by_edge, reader)
    else:
        closing = await asyncio.to_thread(scene.close_by_kill, reader, bridge)
    back = await scene.until(("yielded", "worker_died", "failed", "broken"), job)
    closing.gone_ns = (await scene.until(("worker_ended",), since_ns=closing.edge_ns))["at_ns"]
    closing.released_ns = (await scene.until(("desk_released",), since_ns=closing.edge_ns))["at_ns"]
    closing.was_killed = back["kind"] == "worker_died"
    if back["kind"] == "yielded":
        closing.handed_back_ns = back["handed_back_ns"]
        closing.stopped_ns = back["stopped_ns"] or closing.gone_ns
    elif closing.was_killed:
        closing.handed_back_ns, closing.stopped_ns = back["at_ns"], closing.gone_ns
    else:
        raise RuntimeError(f"the job did not yield: {back}")
    await client.cancel(job, "measured")
    return closing


def install(folder: Path, agent: str) -> None:
    """Installs the text reader, its networks bound to one backend, and makes both ends trust each other."""
    car = Identity.create(folder / "state" / "identity", "car")
    desktop = Identity.create(folder / "desk", "desktop")
    car.trust(desktop.certificate_pem)
    desktop.trust(car.certificate_pem)
    store = ModelStore(folder / "state" / "models")
    bundle = bound_bundle(folder, agent)
    sign(bundle, development_key(folder / "keys", store.trusted_folder))
    store.install(bundle)


def bound_bundle(folder: Path, agent: str) -> Path:
    """Returns a copy of the committed bundle whose models run on `agent`'s backend alone."""
    with tarfile.open(BUNDLE) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            (folder / "parts").mkdir(exist_ok=True)
            (folder / "parts" / Path(member.name).name).write_bytes(content.read())
    described = json.loads((folder / "parts" / "manifest.json").read_text())
    for model in described["models"].values():
        model["backends"] = [agent]
    described = {key: value for key, value in described.items() if key not in ("files", "format")}
    pack(folder / "parts", folder / "bound.ihb", description=described)
    return folder / "bound.ihb"


def page() -> np.ndarray[Any, Any]:
    """Returns a BGRX screen of text, all of which has to be read."""
    from PIL import Image, ImageDraw, ImageFont

    dice = random.Random(11)
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(16)
    for row in range(24):
        for column in range(3):
            words = " ".join("".join(dice.choices("abcdefghiklmnoprstuw", k=dice.randint(3, 8))) for _ in range(4))
            draw.text((20 + column * 420, 10 + row * 29), words, fill="black", font=font)
    pixels = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    pixels[:, :, :3] = np.asarray(image)[:, :, ::-1]
    return pixels


@contextlib.contextmanager
def desk(folder: Path, scene: Scene) -> Iterator[str]:
    """A desktop in a process of its own; yields its address, and tells the scene what it tells."""
    command = [sys.executable, "-m", "bench.yielding", "--desk", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["address"]
            threading.Thread(target=scene.hear_desk, args=(process.stdout,), daemon=True).start()
            yield address
        finally:
            process.terminate()


async def serve_desk(folder: Path) -> None:
    """The desktop's process."""
    desktop = MemoryDesktop(MemoryScreen(WIDTH, HEIGHT, image=page()))
    await serve_desktop(
        desktop,
        "tls://127.0.0.1:0",
        Identity.load(folder / "desk"),
        folder / "desk-state",
        lambda event: print(json.dumps(event), flush=True),
    )


@contextlib.contextmanager
def daemon(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon over the bridge's gate word."""
    settings = {"state_folder": folder / "state", "runtime_folder": folder / "run"}
    flags = [part for key, value in settings.items() for part in ("--set", f"daemon.{key}={value}")]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime.cli.main", "serve", *flags], cwd=ROOT, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=20)


async def connected(folder: Path) -> Client:
    """Returns a connection to the daemon once it answers."""
    give_up_s = time.monotonic() + WAIT_S
    while True:
        try:
            return await Client.connect(folder / "run" / "control")
        except DaemonAbsent:
            if time.monotonic() > give_up_s:
                raise
            await asyncio.sleep(0.05)


def bare(agent: str, rounds: int = 200) -> dict[str, float]:
    """Returns the time from the closing to the return of the engine's call alone, ms, by a writer in another thread."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle_path = bound_bundle(folder, agent)
        store = ModelStore(folder / "models")
        sign(bundle_path, development_key(folder / "keys", store.trusted_folder))
        _, model = load_model(
            store.get(store.install(bundle_path).reference), Limits(1, 0, folder / "cache"), "recognise"
        )
        times = _stops(model, folder / "gate", rounds)
        row = Samples(tuple(times)).row() | {"worst_ms": round(max(times) / 1e6, 3), "bound_us": model.stop_bound_us}
        model.close()
    return row


def _stops(model: Model, gate: Path, rounds: int) -> list[int]:
    dice = random.Random(3)
    feeds: Feeds = {model.inputs[0].name: np.zeros((1, 3, 48, 1600), np.float32)}
    times: list[int] = []
    model.start(feeds).step(None)  # the plan of this shape is made
    with GateWriter(gate) as writer:
        reader = GateReader(gate)
        for _ in range(rounds):
            writer.publish(State.OPEN, (), boottime_ns() + 190_000_000)
            token = reader.token(writer.gate_epoch)
            closed_ns = [0]

            def close(after_s: float, at: list[int] = closed_ns) -> None:
                time.sleep(after_s)
                writer.publish(State.CLOSED, ["moving"], 0)
                at[0] = boottime_ns()

            thread = threading.Thread(target=close, args=(dice.uniform(0.001, 0.02),))
            run = model.start(feeds)
            thread.start()
            result = run.step(token)
            returned_ns = boottime_ns()
            thread.join()
            if result is StepResult.PREEMPTED:  # else the call was over before the closing
                times.append(returned_ns - closed_ns[0])
    return times


if __name__ == "__main__":
    if sys.argv[1] == "--desk":
        asyncio.run(serve_desk(Path(sys.argv[2])))
    else:
        print(json.dumps(asyncio.run(measure_closings(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
