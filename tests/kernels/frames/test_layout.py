"""Layouts of the kernel equal the numpy model's: on drawn interfaces, noise and blots; and what wrong arguments get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.frames import layout as kernel
from kernels.frames.arguments import native
from kernels.gate.word import GateClosed, GateReader, State, boottime_ns
from kernels.gate.writer import GateWriter
from tests.kernels.frames import layout_model as model

Pixels = NDArray[np.uint8]
FINDER = kernel.LayoutFinder()


def drawn(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Boxes, rings, tables, rules and rows of letters' strokes, in colours that are near each other or far."""
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[...] = rng.integers(0, 256, 4)
    y, x = np.mgrid[:height, :width]
    for _ in range(int(rng.integers(1, 14))):
        left, top = int(rng.integers(-4, width)), int(rng.integers(-4, height))
        w, h = (int(side) for side in rng.integers(1, rng.choice([8, 30, 90, 300]), 2))
        colour = rng.integers(0, 256, 4) if rng.random() < 0.7 else pixels[0, 0] ^ 31
        inside = (x >= left) & (x < left + w) & (y >= top) & (y < top + h)
        rim = inside & ~((x > left) & (x < left + w - 1) & (y > top) & (y < top + h - 1))
        radius = np.hypot((x - left - w / 2 + 0.5) / (w / 2), (y - top - h / 2 + 0.5) / (h / 2))
        mask = {
            0: inside,
            1: rim,
            2: (radius <= 1) & (radius > 1 - 3 / max(w, h)),
            3: radius <= 1,
            4: rim | (inside & ((x - left) % 17 == 0)) | (inside & ((y - top) % 13 == 0)),
            5: inside & (rng.random((height, width)) < 0.4),
            6: inside & ((x - left) % 6 < 2) & (rng.random((height, width)) < 0.8),
            7: inside & ((y - top) % 11 == 10),
        }[int(rng.integers(0, 8))]
        pixels[mask] = colour
    return pixels


@st.composite
def pictures(draw: st.DrawFn) -> Pixels:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(1, 130)), draw(st.integers(1, 190))
    kind = draw(st.sampled_from(["drawn", "drawn", "noise", "blots"]))
    if kind == "drawn":
        return drawn(rng, height, width)
    blot = 1 if kind == "noise" else draw(st.integers(2, 12))
    levels = draw(st.sampled_from([2, 5, 256]))
    small = rng.integers(0, levels, (-(-height // blot), -(-width // blot), 4)) * (255 // (levels - 1))
    return np.ascontiguousarray(np.repeat(np.repeat(small, blot, 0), blot, 1)[:height, :width], dtype=np.uint8)


def rows(items: NDArray[np.int32]) -> list[tuple[object, ...]]:
    return [(x, y, w, h, kernel.KINDS[kind], colour, paper) for x, y, w, h, kind, colour, paper, _ in items.tolist()]


def check(pixels: Pixels, finder: kernel.LayoutFinder) -> None:
    edges = kernel.find_edges(pixels)
    np.testing.assert_array_equal(edges, model.find_edges(pixels))
    texts, shapes = finder.find(pixels, edges)
    wanted = model.find_layout(pixels, edges)
    assert rows(texts) == wanted[0]
    assert rows(shapes) == wanted[1]


@given(pictures())
@example(np.zeros((1, 1, 4), np.uint8))
@example(drawn(np.random.default_rng(801), 64, 16))  # the other side of a border is another component
def test_equal_to_the_model(pixels: Pixels) -> None:
    check(pixels, FINDER)


@pytest.mark.parametrize("size", [9, 10, 11, 12, 13, 16, 20, 21, 26, 41, 64])
def test_rings_of_all_sizes(size: int) -> None:
    """Where they are met is rounded, half to even: a ring a little to the left, or crossed, is told apart the same."""
    y, x = np.mgrid[: size + 30, : size + 30] - 15
    for height, stroke, is_crossed in [(size, 1, False), (size + 2, 1.6, False), (size, 2.5, True)]:
        far = np.hypot((x - size / 2 + 0.5) / (size / 2), (y - height / 2 + 0.5) / (height / 2))
        ring = (far <= 1) & (far > 1 - 2 * stroke / size)
        if is_crossed:
            ring |= (far <= 1) & (np.abs(x - size // 2) <= size // 6)
        pixels = np.full((*x.shape, 4), 255, np.uint8)
        pixels[ring] = 0
        check(pixels, FINDER)


@pytest.mark.parametrize(("wide", "lines"), [(2, [(20, 16)]), (5, [(20, 7), (29, 7)]), (6, [(20, 7), (29, 7)])])
def test_a_block_cursor_joins_no_lines(wide: int, lines: list[tuple[int, int]]) -> None:
    """Two lines of strokes, nine rows apart, and after the lower a solid block that reaches up into the other."""
    pixels = np.full((60, 120, 4), 255, dtype=np.uint8)
    for left in range(10, 70, 3):
        for top in (20, 29):
            pixels[top : top + 7 - left % 2, left] = 0
    pixels[25:36, 71 : 71 + wide] = 0
    check(pixels, FINDER)
    texts, _ = FINDER.find(pixels, kernel.find_edges(pixels))
    assert [(y, h) for _, y, _, h, *_ in rows(texts)] == lines


@pytest.mark.parametrize(
    ("top", "height", "is_cursor"), [(18, 12, True), (20, 9, False), (20, 12, False), (16, 13, False)]
)
def test_a_text_cursor_is_no_letter(top: int, height: int, is_cursor: bool) -> None:
    """Strokes of nine rows, and after them one that is a cursor if it begins above them and ends below."""
    pixels = np.full((60, 120, 4), 255, dtype=np.uint8)
    for left in range(10, 40, 3):
        pixels[20:29, left] = 0
        pixels[24, left : left + 2] = 0
    pixels[top : top + height, 40:42] = 0
    check(pixels, FINDER)
    texts, _ = FINDER.find(pixels, kernel.find_edges(pixels))
    ends = 39 if is_cursor else 42
    assert [x + w for x, _, w, *_ in rows(texts)] == [ends]


def test_a_rings_corner_is_no_letter() -> None:
    """A field with a ring in it that shows its focus, and a number that begins at the ring's round corner."""
    pixels = np.full((60, 180, 4), 255, dtype=np.uint8)
    pixels[15, 20:160] = pixels[36, 20:160] = pixels[15:37, 20] = pixels[15:37, 160] = 190
    for inset in (3, 4):
        pixels[[15 + inset, 36 - inset], 22 + inset : 159 - inset] = 16
        pixels[17 + inset : 35 - inset, [20 + inset, 160 - inset]] = 16
    pixels[[20, 20, 21], [25, 26, 25]] = 120
    pixels[22:30, 27:30] = 60
    pixels[26, 25:28] = 60
    check(pixels, FINDER)
    texts, _ = FINDER.find(pixels, kernel.find_edges(pixels))
    assert [box[1] for box in rows(texts) if box[0] < 40] == [22]


def test_a_part_of_a_screen_is_a_screen() -> None:
    """Rows of the part are as far apart as the screen's."""
    pixels = drawn(np.random.default_rng(3), 120, 180)
    edges = kernel.find_edges(pixels)
    part = np.s_[10:110, 21:160]
    mine = FINDER.find(pixels[part], edges[part])
    alone = FINDER.find(np.ascontiguousarray(pixels[part]), np.ascontiguousarray(edges[part]))
    for one, other in zip(mine, alone, strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_grows_where_there_are_many_things() -> None:
    """Colours that no small table holds, and a run for every other pixel."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 4), dtype=np.uint8)
    finder = kernel.LayoutFinder()
    finder._arena = native.Arena(64)
    check(noise, finder)
    assert finder._arena.bytes > 1 << 20
    check(noise[:50], finder)


@given(pictures(), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=4), st.integers(0, 99))
def test_edges_of_changed_tiles_are_brought_up_to_date(pixels: Pixels, tiles: list[tuple[int, int]], seed: int) -> None:
    pixels = np.ascontiguousarray(np.tile(pixels, (3, 2, 1)))
    edges = kernel.find_edges(pixels)
    changed = np.zeros((-(-pixels.shape[0] // 64), -(-pixels.shape[1] // 64)), np.bool_)
    rng = np.random.default_rng(seed)
    for row, column in tiles:
        if row < changed.shape[0] and column < changed.shape[1]:
            changed[row, column] = True
            tile = pixels[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
            tile[...] = rng.integers(0, 256, tile.shape)
    kernel.update_edges(pixels, edges, changed)
    np.testing.assert_array_equal(edges, kernel.find_edges(pixels))


def test_wrong_arguments_are_refused() -> None:
    pixels, edges = np.zeros((20, 30, 4), np.uint8), np.zeros((20, 30), np.uint8)
    with pytest.raises(ValueError, match=r"edges is \(h, w\) of the frame, 20 x 30"):
        FINDER.find(pixels, edges[:, :29])
    with pytest.raises(ValueError, match="lie together"):
        FINDER.find(pixels, np.zeros((20, 60), np.uint8)[:, ::2])
    with pytest.raises(TypeError, match="got int8 array"):
        FINDER.find(pixels.view(np.int8), edges)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"rows 0\.\.21 and columns 0\.\.30 leave the frame of 20 x 30"):
        native.find_edges(pixels, edges, 0, 0, 21, 30, 0)


def test_a_closed_gate_stops_it_wherever_it_is(tmp_path: Path) -> None:
    """By the clock, so at another place each time; what is found afterwards is right."""
    pixels = drawn(np.random.default_rng(5), 400, 600)
    edges = kernel.find_edges(pixels)
    wanted = FINDER.find(pixels, edges)
    stopped = 0
    with GateWriter(tmp_path / "gate") as writer:
        for microseconds in range(0, 2000, 100):
            writer.publish(State.OPEN, [], boottime_ns() + 180_000_000)
            token = GateReader(tmp_path / "gate").token(writer.gate_epoch)
            try:
                kernel.find_edges(pixels, token.until(boottime_ns() + 1000 * microseconds))
                found = FINDER.find(pixels, edges, token.until(boottime_ns() + 1000 * microseconds))
            except GateClosed:
                stopped += 1
            else:
                np.testing.assert_array_equal(found[0], wanted[0])
                np.testing.assert_array_equal(found[1], wanted[1])
    assert stopped
