"""The daemon as a process, with a worker, a gate and a desktop: nothing is lost, whoever is killed when."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from runtime.daemon.client import Client
from runtime.ledger.audit import read_entries, verify
from tests.daemon.car import ROOT, Car, Desk, car, desk

BOXES = 8


def drive(folder: Path, story: Callable[[Car, Desk], Awaitable[None]], **settings: Any) -> None:
    """Runs `story` with a daemon and a desktop in `folder`."""

    async def go() -> None:
        with car(folder, **settings) as made:
            async with desk(folder, BOXES) as desktop:
                await made.start()
                await asyncio.wait_for(story(made, desktop), 60)

    asyncio.run(go())


def test_a_job_waits_for_the_gate_and_is_worked(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        job = await made.submit()
        assert (await made.job(job)).state == "queued"
        assert made.workers() == [], "nothing runs while the gate is closed"
        made.gate.open()
        ended = await made.until(job, "done", "failed")
        assert ended.kind == "failed", "nothing on this desktop answers"
        assert len(desktop.clicks()) == BOXES
        assert (await made.job(job)).actions == BOXES

    drive(tmp_path, story)


def test_the_driver_returns_and_the_job_goes_on_where_it_was(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        made.gate.open()
        job = await made.submit()
        await made.until(job, "action")
        made.gate.close("moving")
        await made.until(job, "yielded")
        so_far = len(desktop.clicks())
        assert 0 < so_far < BOXES
        while made.workers():
            await asyncio.sleep(0.01)
        assert (await made.job(job)).state == "queued"
        made.gate.open()
        await made.until(job, "failed")
        assert len(desktop.clicks()) == len(set(desktop.clicks())) == BOXES, "every box once"

    drive(tmp_path, story)


def test_a_job_that_may_outlast_the_forecast_waits(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        made.forecast(30.0, "parked")
        made.gate.open()
        job = await made.submit()  # it may take 60 s
        async with await Client.connect(made.control) as client:
            while (told := await client.status()).held_back == 0:
                await asyncio.sleep(0.05)
        assert (told.forecast_s, told.forecast_by, told.held_back, told.queued) == (30.0, "parked", 1, 1)
        assert made.workers() == [], "no worker is started for a job that has to wait"
        made.forecast(60.0, "parked")
        await made.until(job, "failed")
        assert len(desktop.clicks()) == BOXES

    drive(tmp_path, story)


def test_a_closing_that_is_not_urgent_keeps_the_worker(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        made.gate.open()
        job = await made.submit()
        await made.until(job, "action")
        before = made.workers()
        made.gate.close("compute_too_hot")
        await made.until(job, "yielded")
        await asyncio.sleep(0.3)
        assert made.workers() == before
        made.gate.open()
        await made.until(job, "failed")
        assert made.workers() == before
        assert len(set(desktop.clicks())) == BOXES

    drive(tmp_path, story, **{"worker.hold_s": 20})


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        made.gate.open()
        job = await made.submit()
        await made.until(job, "action")
        made.kill_worker()
        await made.until(job, "worker_died")
        await made.until(job, "failed")
        assert len(desktop.clicks()) == len(set(desktop.clicks())) == BOXES
        seen = await made.job(job)
        assert (seen.attempts, seen.actions) == (1, BOXES)

    drive(tmp_path, story)


def test_a_killed_daemon_loses_nothing_and_books_what_ran(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        made.gate.open()
        job = await made.submit()
        await made.until(job, "action")
        (worker,) = made.workers()
        made.kill()
        while Path(f"/proc/{worker}/exe").exists():
            await asyncio.sleep(0.01)
        await made.start()
        await made.until(job, "failed")
        assert len(desktop.clicks()) == len(set(desktop.clicks())) == BOXES
        assert (await made.job(job)).actions == BOXES
        assert made.stop() == 0
        booked = [entry for entry in read_entries(tmp_path / "state" / "ledger") if entry.job == job]  # type: ignore[union-attr]
        assert len(booked) == 2, "the run that died with the daemon, and the one that ended"
        assert sum(entry.actions for entry in booked) == BOXES  # type: ignore[union-attr]
        assert all(entry.awake_joules > 0 and entry.is_signed() for entry in booked)  # type: ignore[union-attr]
        assert booked[1].gate_epochs[0] == booked[1].gate_epochs[1] > 0  # type: ignore[union-attr]
        assert verify(tmp_path / "state" / "ledger").is_whole

    drive(tmp_path, story)


def test_a_stopped_daemon_hands_its_job_back(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        made.gate.open()
        job = await made.submit()
        await made.until(job, "action")
        assert made.stop() == 0
        await made.start()
        await made.until(job, "failed")
        assert len(set(desktop.clicks())) == BOXES

    drive(tmp_path, story)


def test_a_running_job_can_be_cancelled(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        made.gate.open()
        job = await made.submit()
        await made.until(job, "action")
        async with await Client.connect(made.control) as client:
            assert (await client.cancel(job, "not needed")).state == "cancelled"
        while any(event["event"] == "session_closed" for event in desktop.events) is False:
            await asyncio.sleep(0.01)
        assert len(desktop.clicks()) < BOXES

    drive(tmp_path, story)


def test_an_unreachable_desktop_is_poison_in_the_end(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        made.gate.open()
        (tmp_path / "desk.socket").unlink()
        job = await made.submit()
        ended = await made.until(job, "broken")
        assert b"desk.socket" in ended.detail
        while (await made.job(job)).state != "failed":
            await asyncio.sleep(0.05)
        assert "2 times" in (await made.job(job)).reason

    drive(tmp_path, story, **{"daemon.max_attempts": 2})


def test_garbage_does_not_end_the_daemon(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        for payload in (b"\xff" * 64, b"\x05\0\0\0hello", b"GET / HTTP/1.0\r\n\r\n", os.urandom(4096), b"\0\0\0\0" * 9):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(str(made.control))
                client.sendall(payload)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
        async with await Client.connect(made.control) as client:
            assert (await client.status()).queued == 0

    drive(tmp_path, story)


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        command = [sys.executable, "-m", "runtime.cli.main", "serve", *made.flags]
        second = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False
        )
        assert second.returncode == 2
        assert f"process {made.pid} is a daemon on" in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1

    drive(tmp_path, story)


def test_a_daemon_with_no_job_is_small(tmp_path: Path) -> None:
    async def story(made: Car, desktop: Desk) -> None:
        rss_MiB = int(Path(f"/proc/{made.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
        assert rss_MiB < 60

    drive(tmp_path, story)


def test_a_daemon_brings_no_numpy() -> None:
    """Arrays are the worker's; they would be a quarter of the daemon's memory."""
    check = "import runtime.daemon.serve, sys; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
