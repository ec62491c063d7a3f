"""Coroutine tests run in a loop of their own; `store` is every implementation in turn."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.jobs.clock import ManualClock
from runtime.jobs.store import JobStore
from tests.jobs.stores import STORES


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def go() -> None:
        try:
            await pyfuncitem.obj(**wanted)
        finally:
            if "store" in wanted:  # in its own loop: a connection belongs to one
                await wanted["store"].close()

    asyncio.run(go())
    return True


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[JobStore]:
    made = STORES[request.param](tmp_path, clock)
    yield made
    asyncio.run(made.close())
