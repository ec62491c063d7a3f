"""What is kept from screen to screen never changes what is seen: every screen is as one that was looked at first."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from kernels.frames.boxes import crcs
from runtime.agent.blocks import BlockFinder
from runtime.agent.contents import ByTiles
from runtime.agent.deeds import keys_of
from runtime.agent.elements import ElementFinder, readable
from runtime.agent.geometry import Box, reading_order, same_line
from runtime.agent.recognition import Reading
from runtime.desktop.frame import Frame
from tests.agent.screens import Canvas, frame_of

TEXTS = ("Your name:", "Send it now", "3 + 4", "OK", "Total: 12", "a b c d e f g h i j k l")


def screens(rng: random.Random, count: int) -> list[Frame]:
    """Returns screens of which each changes a little of the one before."""
    canvas, made = Canvas(400, 300), []
    for number in range(count):
        for _ in range(rng.randrange(1, 5)):
            x, y = rng.randrange(0, 300), rng.randrange(0, 270)
            if rng.random() < 0.5:
                canvas.box(
                    x, y, rng.randrange(10, 200), rng.randrange(10, 60), fill=rng.choice([(255,) * 3, (220,) * 3])
                )
            canvas.text(x + 5, y + 4, rng.choice(TEXTS), rng.choice((11, 13, 16)), rng.choice([(0, 0, 0), (200, 0, 0)]))
        made.append(canvas.frame(number + 1))
    return made


class Contents:
    """Gives one content one reading, as a reader does, whatever is drawn there."""

    def __init__(self) -> None:
        self._known: dict[bytes, Reading] = {}

    def read(self, pixels: NDArray[np.uint8], box: Box) -> Reading:
        crop = pixels[box.y : box.bottom, box.x : box.right]
        text = TEXTS[int(crop[..., :3].sum()) % len(TEXTS)]
        places = tuple((n + 0.5) / len(text) for n in range(len(text)))
        return self._known.setdefault(repr(crop.shape).encode() + crop.tobytes(), Reading(text, places, 0.9))


def test_a_finder_that_saw_other_screens_finds_what_a_new_one_does() -> None:
    for seed in range(12):
        layouts, elements, contents, known = BlockFinder(), ElementFinder(), Contents(), ByTiles[int]()
        for frame in screens(random.Random(seed), 8):
            layout = layouts.find(frame)
            fresh = BlockFinder().find(frame)
            assert layout == fresh
            blocks = readable(layout)
            readings = [contents.read(frame.pixels, block.box) for block in blocks]
            found = elements.find(frame.pixels, layout, blocks, readings)
            assert found == ElementFinder().find(frame.pixels, fresh, readable(fresh), readings)
            assert keys_of(frame.pixels, found, None, frame.hashes, known) == keys_of(frame.pixels, found)


def test_one_object_of_a_layout_stands_for_what_is_as_it_was() -> None:
    finder = BlockFinder()
    canvas = Canvas()
    canvas.text(10, 10, "stays")
    before = finder.find(canvas.frame(1))
    canvas.text(10, 200, "comes")
    after = finder.find(canvas.frame(2))
    assert any(text is before.texts[0] for text in after.texts)
    assert len(after.texts) > len(before.texts)


def test_equal_boxes_are_each_found() -> None:
    pixels = np.full((130, 130, 4), 255, np.uint8)
    frame = frame_of(pixels)
    box = Box(10, 10, 90, 20)
    asked: list[list[Box]] = []

    def compute(boxes: list[Box]) -> list[int]:
        asked.append(boxes)
        return crcs(pixels, boxes)

    known = ByTiles[int]()
    first = known.of(frame.hashes, [box, box, Box(70, 70, 9, 9)], compute)
    assert first == crcs(pixels, [box, box, Box(70, 70, 9, 9)])
    pixels[100, 100] = 0
    assert known.of(frame_of(pixels).hashes, [box, Box(70, 70, 40, 40)], compute) == crcs(
        pixels, [box, Box(70, 70, 40, 40)]
    )
    assert asked[-1] == [Box(70, 70, 40, 40)], "only what meets a changed tile is computed anew"


def test_reading_order_is_that_of_same_line() -> None:
    rng = random.Random(5)
    for _ in range(300):
        boxes = [
            Box(rng.randrange(60), rng.randrange(60), rng.randrange(1, 30), rng.randrange(1, 20)) for _ in range(9)
        ]
        lines: list[list[int]] = []
        for index in sorted(range(9), key=lambda index: (boxes[index].y, boxes[index].x)):
            line = next((one for one in reversed(lines[-4:]) if _on_one_line(boxes[one[0]], boxes[index])), None)
            lines.append([index]) if line is None else line.append(index)
        wanted = [index for line in lines for index in sorted(line, key=lambda index: boxes[index].x)]
        assert reading_order(boxes) == wanted


def _on_one_line(first: Box, second: Box) -> bool:
    return same_line(first, second) and max(first.h, second.h) <= 4 * min(first.h, second.h)
