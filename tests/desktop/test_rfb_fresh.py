"""What was sent anew since we asked, and what was under way before: a VNC server's answers do not say."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kernels.frames.tiles import hash_region
from runtime.desktop.protocol import Step
from runtime.desktop.rfb.desktop import RfbDesktop
from runtime.desktop.rfb.fresh import Box, Fresh
from runtime.wire.actions import Click, Precondition
from runtime.wire.tables import Outcome, Refusal

SIZE, REGION = (640, 400), (10, 20, 30, 40)
SCREEN = (0, 0, *SIZE)


def asked() -> tuple[Fresh, Box]:
    fresh = Fresh(REGION, SIZE, random.Random(1))
    region, pixel = fresh.wanted()
    assert region == REGION
    assert pixel[2:] == (1, 1)
    return fresh, pixel


def test_the_region_alone_says_nothing() -> None:
    fresh, _ = asked()
    assert not fresh.take([REGION])
    assert not fresh.is_over


def test_the_region_in_pieces_and_the_pixel_are_the_answer() -> None:
    fresh, pixel = asked()
    assert not fresh.take([(10, 20, 30, 16), (10, 36, 16, 24)])
    assert not fresh.take([pixel])  # a piece is missing
    assert not fresh.is_over
    fresh.take([(26, 36, 14, 24), (pixel[0], pixel[1], 16, 16)])
    assert fresh.is_over


def test_a_whole_screen_may_have_been_under_way_and_is_asked_for_once_more() -> None:
    fresh, first = asked()
    assert fresh.take([SCREEN])
    assert not fresh.is_over
    _, second = fresh.wanted()
    fresh.take([REGION, first])
    assert fresh.is_over == (first == second)
    fresh.take([second])
    assert fresh.is_over


def test_the_whole_screen_as_region_leaves_no_other_pixel() -> None:
    fresh = Fresh(SCREEN, SIZE, random.Random(1))
    assert fresh.wanted() == [SCREEN, SCREEN]
    assert fresh.take([SCREEN])
    fresh.wanted()
    assert not fresh.take([SCREEN])
    assert fresh.is_over


W, H = 100, 80
TARGET = Precondition(8, 8, 4, 4, b"")
Say = Callable[[list[Box], int], None]


@contextmanager
def server(answer: Callable[[list[Box], Say], None]) -> Iterator[RfbDesktop]:
    """A white screen. `answer` is called with every pair of regions that is asked for anew, and what sends boxes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, answer))
        thread.start()
        desktop = RfbDesktop(f"127.0.0.1:{listening.getsockname()[1]}")
        try:
            yield desktop
        finally:
            desktop.close()
            thread.join()


def _serve(listening: socket.socket, answer: Callable[[list[Box], Say], None]) -> None:
    peer, _ = listening.accept()
    with peer, peer.makefile("rb") as said:

        def say(boxes: list[Box], grey: int) -> None:
            rects = b"".join(struct.pack(">4Hi", *box, 0) + bytes([grey]) * (box[2] * box[3] * 4) for box in boxes)
            peer.sendall(struct.pack(">BxH", 0, len(boxes)) + rects)

        peer.sendall(b"RFB 003.003\n" + struct.pack(">I", 1))
        said.read(13)
        peer.sendall(struct.pack(">HH16sI", W, H, b"", 0))
        waiting: list[Box] = []
        while kind := said.read(1):
            if kind == b"\2":
                (count,) = struct.unpack(">xH", said.read(3))
                said.read(4 * count)
            elif kind == b"\3":
                incremental, *box = struct.unpack(">B4H", said.read(9))
                if incremental:
                    continue
                waiting.append((box[0], box[1], box[2], box[3]))
                if waiting[0][2:] == (W, H):
                    say([waiting.pop()], 0xFF)
                elif len(waiting) == 2:
                    answer(waiting, say)
                    waiting = []
            else:
                said.read({b"\0": 19, b"\4": 7, b"\5": 5}[kind])


def condition(desktop: RfbDesktop) -> Precondition:
    region = (TARGET.x, TARGET.y, TARGET.w, TARGET.h)
    return Precondition(*region, hash_region(desktop.capture(0).pixels, *region, bytes(16)))


@pytest.mark.parametrize("under_way", [[(8, 8, 4, 4)], [(0, 0, W, H)]], ids=["the region", "the whole screen"])
def test_an_update_that_was_under_way_is_not_taken_for_the_answer(under_way: list[Box]) -> None:
    calls: list[list[Box]] = []

    def answer(boxes: list[Box], say: Say) -> None:
        calls.append(boxes)
        if len(calls) == 1:
            say(under_way, 0xFF)
        say(boxes, 0x10)

    with server(answer) as desktop:
        applied = desktop.apply(Click(9, 9), condition(desktop), Step(1, 1, 1))
    assert (applied.outcome, applied.reason) == (Outcome.refused, Refusal.changed_pixels)


def test_what_is_unchanged_is_clicked_and_the_window_begins_with_the_question() -> None:
    with server(lambda boxes, say: say(boxes, 0xFF)) as desktop:
        applied = desktop.apply(Click(9, 9), condition(desktop), Step(1, 1, 1))
        assert applied.outcome is Outcome.applied
        assert applied.window_us > 0


def test_waiting_for_the_servers_word_ends_when_everything_is_let_go_of() -> None:
    was_asked = threading.Event()
    with server(lambda boxes, say: was_asked.set()) as desktop:
        wanted = condition(desktop)
        found = []
        thread = threading.Thread(target=lambda: found.append(desktop.apply(Click(9, 9), wanted, Step(1, 1, 1))))
        thread.start()
        assert was_asked.wait(20)
        desktop.release_all()
        thread.join()
    assert found[0].outcome is Outcome.refused
