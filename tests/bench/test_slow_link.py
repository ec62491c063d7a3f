"""The slow link: its packets by hand, and a recorded session worked over it, on the right pixels, each action once."""

from __future__ import annotations

import random

import pytest

from bench.recording import load
from bench.shuttle import Shape, SlowLink, Way, can_link
from bench.slow_link import work

PACKET = bytes(1250)  # 10 ms at 1 Mbit/s


def test_a_packet_takes_its_time_on_the_line_and_then_the_delay() -> None:
    way = Way(Shape(rate_bit_s=1e6, delay_s=0.04, loss=0.0), random.Random(1))
    way.take(PACKET, 0.0)
    way.take(PACKET, 0.0)
    assert way.due(0.0499) == []
    assert way.due(0.0501) == [PACKET]
    assert way.next_s() == pytest.approx(0.06)
    assert way.due(0.0601) == [PACKET]
    assert way.next_s() is None


def test_a_full_queue_drops_and_the_air_loses_by_the_seed() -> None:
    way = Way(Shape(loss=0.0, queue_bytes=3 * len(PACKET)), random.Random(1))
    for _ in range(5):
        way.take(PACKET, 0.0)
    assert (way.dropped, way.lost, way.carried_bytes) == (2, 0, 3 * len(PACKET))
    lossy = Way(Shape(loss=0.5), random.Random(1))
    for number in range(100):
        lossy.take(b"x", float(number))
    assert 30 < lossy.lost < 70
    assert len(lossy.due(200.0)) == 100 - lossy.lost


def test_the_recordings_are_whole() -> None:
    recordings = list(load())
    assert {one.kind for one in recordings} == {"miniwob", "desktop"}
    assert all(one.screens.ndim == 4 and not one.screens[..., 3].any() for one in recordings)


needs_link = pytest.mark.skipif(not can_link(), reason="needs root and /dev/net/tun")


@needs_link
def test_namespaces_and_devices_are_gone_afterwards() -> None:
    with SlowLink(Shape()) as link:
        assert link.near[:3] == ["ip", "netns", "exec"]
    with SlowLink(Shape()):  # under the same names
        pass


@needs_link
@pytest.mark.parametrize("loss", [0.02, 0.2])
def test_a_session_over_a_slow_link_decides_on_exact_pixels_and_does_each_action_once(loss: float) -> None:
    """At a loss of a fifth sessions fall silent and come again: what was applied is still known, and not repeated."""
    row = work("social-media", Shape(loss=loss), seed=5)
    assert row["steps"] == 9
    assert (row["refused"], row["unknown"], row["doubled"], row["missing"]) == (0, 0, 0, 0)
    assert not row["out_of_order"]
    assert row["packets_lost"] > 0
