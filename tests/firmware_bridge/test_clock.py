"""The virtual clock wakes sleepers in order, each at its own time."""

from __future__ import annotations

import asyncio

from firmware_bridge.clock import BootClock, VirtualClock


def test_sleepers_wake_in_order_at_their_times() -> None:
    async def scene() -> list[tuple[str, int]]:
        clock = VirtualClock(100)
        woken: list[tuple[str, int]] = []

        async def sleeper(name: str, *times: int) -> None:
            for time_ns in times:
                await clock.sleep_until(time_ns)
                woken.append((name, clock.now_ns()))

        tasks = [asyncio.create_task(sleeper("a", 120, 150)), asyncio.create_task(sleeper("b", 130, 90, 200))]
        await clock.advance_to(160)
        assert clock.now_ns() == 160
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await clock.advance_to(300)  # a cancelled sleeper is no one's trouble
        return woken

    assert asyncio.run(scene()) == [("a", 120), ("b", 130), ("b", 130), ("a", 150)]


def test_boot_clock_does_not_sleep_for_the_past() -> None:
    clock = BootClock()
    before_ns = clock.now_ns()
    asyncio.run(clock.sleep_until(before_ns - 10**12))
    assert clock.now_ns() >= before_ns
