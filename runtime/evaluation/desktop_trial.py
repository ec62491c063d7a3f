"""Has an agent do the jobs of desktop_jobs.py, over X11 and over RFB, through the whole product.

    for every job, for every way: a fresh X server (Xvfb, or Xvnc behind RFB), a window manager, the application
    ─► a connector ─► the job ─► the agent says done ─► the effect is looked for ─► everything ends

The car, its daemon and the models stay up between jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xcffib.xproto import Atom

from runtime.daemon.client import Client
from runtime.desktop.x11.capture import Capture
from runtime.desktop.x11.connection import Connection
from runtime.errors import RuntimeFault
from runtime.evaluation.desktop_jobs import DesktopJob, Scene, has_effect
from runtime.evaluation.player import Episode
from runtime.evaluation.sheet import Shot
from runtime.evaluation.stage import Stage, fresh_config
from runtime.evaluation.watch import Watch, following
from runtime.evaluation.xserver import XServer
from runtime.jobs.job_file import parse_jobs
from runtime.wire.tables import Outcome as ActionOutcome

WAYS = ("x11", "rfb")
LIMIT_S = 60.0
START_S = 20.0
MOST_REPEATS = 5
WINDOW_MANAGER = ("openbox", "--sm-disable")


class DesktopMissing(RuntimeFault):
    """A program that a job on a desktop needs is not installed."""

    next_step = "run 'make eval-desktop', which installs them, or leave the job out with --jobs"


@dataclass(frozen=True)
class DesktopTrial:
    """What is evaluated; `source` and `policy` are the car, as in trial.py."""

    jobs: tuple[DesktopJob, ...]
    ways: tuple[str, ...]
    agent: str
    model: str
    bundles: Path
    source: str
    policy: Path
    folder: Path


@dataclass
class DesktopOutcome:
    """One episode a job and way, by "job over way", and pictures of failures."""

    episodes: dict[str, list[Episode]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    shots: list[Shot] = field(default_factory=list)
    seconds: float = 0.0


async def run_desktop_trial(trial: DesktopTrial, on_job: Callable[[str, Episode, str], None]) -> DesktopOutcome:
    """Does every job over every way. Raises DesktopMissing before anything is started."""
    lacking = sorted({name for job in trial.jobs for name in job.missing()})
    lacking += [name for name in (WINDOW_MANAGER[0],) if shutil.which(name) is None]
    if "rfb" in trial.ways and shutil.which("Xvnc") is None:
        lacking.append("Xvnc")
    if lacking:
        raise DesktopMissing(f"not installed: {', '.join(lacking)}")
    began_s, outcome = time.monotonic(), DesktopOutcome()
    config, watch = fresh_config(trial.folder / "car"), Watch()
    async with Stage(trial.folder / "car", config, 64, 64) as stage:
        stage.pair()
        stage.install_models(trial.bundles)
        await stage.start_daemon()
        await stage.start_bridge(
            trial.source.format(run=trial.folder / "car" / "run"), trial.policy, trial.folder / "car" / "bridge"
        )
        async with following(config, watch), await Client.connect(config.daemon.control_path) as client:
            for job in trial.jobs:
                for way in trial.ways:
                    name = f"{job.name} over {way}"
                    for attempt in range(MOST_REPEATS):
                        episode, said, shot = await _do(trial, stage, client, watch, job, way, attempt)
                        outcome.episodes.setdefault(name, []).append(episode)
                        if not episode.interrupted:
                            break
                    outcome.said[name] = said
                    if not episode.success:
                        outcome.shots.append(shot)
                    on_job(name, episode, said)
    outcome.seconds = time.monotonic() - began_s
    return outcome


async def _do(
    trial: DesktopTrial, stage: Stage, client: Client, watch: Watch, job: DesktopJob, way: str, attempt: int
) -> tuple[Episode, str, Shot]:
    """Does one job on a fresh desktop. Returns what came of it, how the agent ended it, and how it looked then."""
    folder = trial.folder / f"{job.name}-{way}-{attempt}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    with server(way, job.size, folder) as (display, rfb):
        scene = Scene(display, folder, job.size)
        job.before(scene)
        with job.serves(scene), program(WINDOW_MANAGER, scene), program(job.command(scene), scene):
            await shown(display)
            await stage.start_desktop(display, rfb)
            try:
                name, said, elapsed_s, was_cut = await _work(trial, stage, client, watch, job)
            finally:
                await stage.stop_desktop()
            success = await asyncio.to_thread(has_effect, job, scene)
            picture = await asyncio.to_thread(_picture, display)
    actions = watch.actions.get(name, [])
    episode = Episode(
        task=f"{job.name} over {way}",
        seed="",
        instruction=job.instruction,
        job=name,
        raw_reward=float(success),
        success=success,
        elapsed_s=elapsed_s,
        interrupted=was_cut,
        actions=actions,
    )
    marks = [(one.x, one.y, one.text) for one in actions if one.x >= 0 and one.outcome == ActionOutcome.applied]
    return episode, said, Shot(f"{episode.task}: {said}"[:60], job.instruction, success, picture, marks)


async def _work(
    trial: DesktopTrial, stage: Stage, client: Client, watch: Watch, job: DesktopJob
) -> tuple[str, str, float, bool]:
    """Submits the job and waits until it is over. Returns its name, its end, its seconds, whether the gate cut it."""
    while watch.gate[0] != "open":
        await asyncio.sleep(0.02)
    closings = watch.closings
    fields = {
        "desktop": stage.desktop_url,
        "instruction": job.instruction,
        "agent": trial.agent,
        "model": trial.model,
        "limits": {"max_s": LIMIT_S, "max_actions": 100},
        "labels": {"task": job.name},
    }
    (spec,) = parse_jobs(fields, where="evaluation")
    began_s = time.monotonic()
    submitted = await client.submit(spec)
    await asyncio.wait_for(watch.until_over(submitted.job), 3 * LIMIT_S)
    elapsed_s = time.monotonic() - began_s
    (view,) = [one for one in await client.list_jobs(limit=200) if one.job == submitted.job]
    said = f"{view.state} {view.answer or view.reason}".strip()
    return submitted.job, said, elapsed_s, watch.closings != closings


@contextlib.contextmanager
def server(way: str, size: tuple[int, int], folder: Path) -> Iterator[tuple[str, str]]:
    """Starts an X server; yields its display and, over RFB, the address of its VNC side."""
    width, height = size
    if way == "x11":
        with XServer(width, height) as server:
            yield server.display, ""
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    read_end, write_end = os.pipe()
    command = [
        "Xvnc",
        "-displayfd",
        str(write_end),
        "-geometry",
        f"{width}x{height}",
        "-depth",
        "24",
        "-localhost",
        "yes",
    ]
    command += ["-rfbport", str(port), "-SecurityTypes", "None", "-AlwaysShared"]
    with (folder / "xvnc.log").open("wb") as log:
        process = subprocess.Popen(command, pass_fds=(write_end,), stdout=log, stderr=log)
    os.close(write_end)
    try:
        with os.fdopen(read_end) as answer:
            number = answer.readline().strip()
        yield f":{number}", f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def program(command: Sequence[str], scene: Scene) -> Iterator[None]:
    """Runs a program on the scene's display, in a process group of its own that ends with it."""
    with (scene.folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=scene.env, cwd=scene.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def managed(display: str) -> None:
    """Waits until the window manager is there: a window that came before it would get no focus."""
    connection = Connection(display)
    try:
        check = connection.atom("_NET_SUPPORTING_WM_CHECK")
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            reply = connection.core.GetProperty(False, connection.root, check, Atom.WINDOW, 0, 1).reply()
            if reply.value_len:
                return
            await asyncio.sleep(0.05)
    finally:
        connection.close()


async def shown(display: str) -> None:
    """Waits until the application has drawn itself and the screen has been at rest for a second."""
    connection = Connection(display)
    capture = Capture(connection, bytes(16))
    try:
        first = bytes(capture.capture(0).hashes.tobytes())
        rest_s, began_s = time.monotonic(), time.monotonic()
        last = first
        while time.monotonic() - began_s < START_S:
            await asyncio.sleep(0.1)
            now = bytes(capture.capture(0).hashes.tobytes())
            if now != last:
                last, rest_s = now, time.monotonic()
            elif now != first and time.monotonic() - rest_s > 1.0:
                return
    finally:
        capture.close()
        connection.close()


def _picture(display: str) -> bytes:
    from PIL import Image

    connection = Connection(display)
    capture = Capture(connection, bytes(16))
    try:
        out = io.BytesIO()
        Image.fromarray(capture.capture(0).pixels[..., 2::-1].copy()).save(out, "PNG")
        return out.getvalue()
    finally:
        capture.close()
        connection.close()
