"""Blocks from pixels: text and shapes are found in both contrasts, and the incremental path equals the whole one."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kernels.frames.runs import bounds, find_runs, label, paint
from kernels.gate.word import GateClosed, GateReader, State, boottime_ns
from kernels.gate.writer import GateWriter
from models.text_reader.screens import screen
from runtime.agent.blocks import BlockFinder
from runtime.agent.geometry import Box, reading_order
from runtime.desktop.frame import Frame
from tests.agent.screens import Canvas, frame_of

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@pytest.mark.parametrize(("ink", "paper"), [(BLACK, WHITE), (WHITE, (20, 20, 30)), (WHITE, (0, 122, 255))])
@pytest.mark.parametrize("size_px", [9, 11, 13, 16, 24, 32])
def test_a_line_of_text_is_one_block_whatever_its_size_and_contrast(
    ink: tuple[int, int, int], paper: tuple[int, int, int], size_px: int
) -> None:
    canvas = Canvas(480, 120, paper)
    x, y, w, h = canvas.text(30, 40, "Enter the password", size_px, ink)
    texts = BlockFinder().find(canvas.frame()).texts
    assert len(texts) == 1
    found = texts[0].box
    assert abs(found.x - x) <= max(2, size_px // 8)  # Pillow counts the first letter's bearing
    assert abs(found.right - (x + w)) <= max(2, size_px // 8)
    assert abs(found.y - y) <= 3
    assert abs(found.bottom - (y + h)) <= 3


def test_lines_of_a_tight_paragraph_stay_apart() -> None:
    canvas = Canvas()
    for row, line in enumerate(["ipsum gypsy query", "lofty bulky light", "jumpy paper glyph"]):
        canvas.text(20, 20 + 12 * row, line, 10)
    boxes = [text.box for text in BlockFinder().find(canvas.frame()).texts]
    assert len(boxes) == 3
    assert [round((box.y - boxes[0].y) / 12) for box in boxes] == [0, 1, 2]


def recorded(name: str) -> Frame:
    rgb = np.array(Image.open(Path(__file__).with_name(name)).convert("RGB"))
    return frame_of(np.ascontiguousarray(np.dstack((rgb[..., ::-1], np.zeros_like(rgb[..., :1])))))


def test_a_line_has_no_ends_of_letters_of_the_line_above() -> None:
    """A recorded paragraph: the last row of "adipiscing" and "Egestas" is in the box of what is below, and so on."""
    texts = sorted(BlockFinder().find(recorded("tight_lines.png")).texts, key=lambda text: text.box.y)
    boxes = [text.box for text in texts if text.box.w > 60]
    assert len(boxes) == 3
    assert all(above.bottom <= below.y for above, below in itertools.pairwise(boxes))
    assert [box.h for box in boxes] == [10, 11, 11]


def test_the_ring_of_a_focused_field_is_no_letter() -> None:
    """A recorded spinner: "-3" touches the ring, which touches the field's border, and is as high as its digit."""
    texts = BlockFinder().find(recorded("focused_number.png")).texts
    assert Box(11, 14, 7, 8) in [text.box for text in texts]


def test_a_number_that_touches_the_border_of_a_small_cell_is_found() -> None:
    canvas = Canvas()
    canvas.box(20, 20, 20, 15, fill=(246, 246, 246))
    x, y, w, h = canvas.text(27, 22, "28", 9)
    canvas.box(x + w, y, 1, h, line=(90, 90, 90))  # joins it to the border
    canvas.box(x + w, y + 4, 40 - x - w, 1, line=(90, 90, 90))
    assert any(abs(text.box.x - x) <= 2 and text.box.y >= y - 2 for text in BlockFinder().find(canvas.frame()).texts)


def test_a_border_parts_what_stands_on_both_sides_of_it() -> None:
    canvas = Canvas()
    for left in (20, 65):
        canvas.box(left, 20, 42, 60)
        canvas.text(left + 4, 30, "WM", 22)
    assert len(BlockFinder().find(canvas.frame()).texts) == 2


def test_outlines_are_told_apart_and_their_labels_are_found() -> None:
    canvas = Canvas()
    canvas.box(20, 20, 120, 22)
    canvas.box(20, 60, 13, 13)
    canvas.ring(20, 90, 13)
    canvas.box(20, 120, 80, 28, fill=(220, 220, 220))
    canvas.text(38, 126, "Submit")
    layout = BlockFinder().find(canvas.frame())
    kinds = [(shape.kind, shape.box.w > 15) for shape in layout.shapes]
    assert kinds == [("box", True), ("box", False), ("ring", False), ("box", True)]
    assert layout.shapes[3].fill == (220, 220, 220)
    assert len(layout.texts) == 1


def test_a_toolkits_soft_rim_is_a_border() -> None:
    """Tk's sunken field: dark above and left; below and right from white to the window's grey in two small steps."""
    canvas = Canvas(paper=(217, 217, 217))
    canvas.box(20, 20, 196, 24, line=(230, 230, 230), fill=WHITE)
    canvas.box(20, 20, 196, 1, line=(153, 153, 153))
    canvas.box(20, 20, 1, 24, line=(153, 153, 153))
    boxes = [shape.box for shape in BlockFinder().find(canvas.frame()).shapes if shape.kind == "box"]
    assert len(boxes) == 1
    assert abs(boxes[0].right - 216) <= 1
    assert abs(boxes[0].bottom - 44) <= 1


def test_a_number_at_the_thick_round_rim_of_a_focused_field_stands_alone() -> None:
    canvas = Canvas()
    canvas.box(20, 20, 150, 24, line=(150, 150, 150))
    canvas.rounded(22, 22, 146, 20, 4, (16, 16, 16), (16, 16, 16))
    canvas.rounded(24, 24, 142, 16, 3, WHITE, WHITE)
    x, y, w, h = canvas.text(26, 26, "14", 11, (80, 80, 80))
    (found,) = (text.box for text in BlockFinder().find(canvas.frame()).texts)
    assert found.x >= 24
    assert found.right <= x + w + 1
    assert y - 1 <= found.y
    assert found.bottom <= y + h + 1


def test_fields_that_share_a_border_are_separate_boxes() -> None:
    canvas = Canvas()
    canvas.box(20, 20, 121, 22)
    canvas.box(20, 41, 80, 22)
    canvas.box(20, 62, 121, 22)
    boxes = [shape.box for shape in BlockFinder().find(canvas.frame()).shapes if shape.kind == "box"]
    assert len(boxes) == 3
    assert [box.w > 100 for box in boxes] == [True, False, True]


def test_a_low_button_with_round_corners_is_a_box_also_where_it_touches_the_card_around_it() -> None:
    canvas = Canvas()
    for top in (20, 60):
        canvas.rounded(20, top, 143, 31, 3, (187, 187, 187), WHITE)
        canvas.rounded(42, top + 15 + (top == 20), 101, 14, 3, (164, 164, 164), (217, 217, 217))
        canvas.text(58, top + 17, "Book for $452,", 8)
    shapes = BlockFinder().find(canvas.frame()).shapes
    assert sum(shape.kind == "box" and 96 <= shape.box.w <= 104 and shape.box.h >= 12 for shape in shapes) == 2


@pytest.mark.parametrize("y", [36, 37, 38])
def test_the_border_of_a_cell_is_no_letter_of_the_word_in_it(y: int) -> None:
    canvas, grey = Canvas(), (221, 221, 221)
    for row, fill in enumerate((grey, WHITE, grey)):
        canvas.box(20, 20 + 14 * row, 71, 15, line=(187, 187, 187), fill=fill)
    box = canvas.text(22, y, "Color", 9)
    assert [tuple(text.box) for text in BlockFinder().find(canvas.frame()).texts] == [box]


def test_round_letters_are_text() -> None:
    canvas = Canvas()
    canvas.text(20, 20, "OO0QDO", 24)
    layout = BlockFinder().find(canvas.frame())
    assert layout.shapes == ()
    assert len(layout.texts) == 1


def test_the_padding_byte_means_nothing() -> None:
    canvas = Canvas()
    canvas.text(20, 20, "padding")
    frame = canvas.frame()
    noisy = frame.pixels.copy()
    noisy[..., 3] = np.random.default_rng(1).integers(0, 256, noisy.shape[:2])
    assert BlockFinder().find(frame_of(noisy)) == BlockFinder().find(frame)


@settings(max_examples=30, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 280), st.integers(0, 220), st.integers(5, 90), st.integers(5, 60), st.booleans()),
        min_size=1,
        max_size=5,
    )
)
def test_a_finder_that_saw_other_screens_finds_the_same(edits: list[tuple[int, int, int, int, bool]]) -> None:
    canvas = Canvas()
    canvas.text(30, 30, "some text that stays")
    canvas.box(25, 60, 200, 80)
    warm = BlockFinder()
    warm.find(canvas.frame())
    for x, y, w, h, is_text in edits:
        if is_text:
            canvas.text(x, y, "edit", 9 + w % 20)
        else:
            canvas.box(x, y, w, h, fill=(w, h, 200))
        frame = canvas.frame()
        assert warm.find(frame) == BlockFinder().find(frame)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), x=st.integers(0, 800), y=st.integers(0, 480), w=st.integers(4, 150))
def test_a_change_on_a_large_screen_finds_what_a_fresh_look_finds(seed: int, x: int, y: int, w: int) -> None:
    pixels = screen(960, 540, seed, most_texts=60).pixels
    warm = BlockFinder()
    warm.find(frame_of(pixels))
    changed = pixels.copy()
    patch = screen(w, 40, seed + 1).pixels
    changed[y : y + 40, x : x + w] = patch
    assert warm.find(frame_of(changed)) == BlockFinder().find(frame_of(changed))
    assert warm.find(frame_of(pixels)) == BlockFinder().find(frame_of(pixels))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), density=st.floats(0.05, 0.9), diagonal=st.booleans())
def test_components_equal_a_flood_fill(seed: int, density: float, diagonal: bool) -> None:
    mask = np.random.default_rng(seed).random((13, 17)) < density
    runs = find_runs(mask)
    labels = label(runs, diagonal)
    got = {}
    for number in range(int(labels.max()) + 1 if len(labels) else 0):
        pixels = np.argwhere(paint(runs, labels == number, mask.shape))
        got[tuple(map(int, pixels[0]))] = len(pixels)
        x, y, w, h, count = bounds(runs, labels)[number].tolist()
        assert (x, y) == (pixels[:, 1].min(), pixels[:, 0].min())
        assert (x + w, y + h) == (pixels[:, 1].max() + 1, pixels[:, 0].max() + 1)
        assert count == len(pixels)
    assert got == _flood(mask, diagonal)


def _flood(mask: np.ndarray, diagonal: bool) -> dict[tuple[int, int], int]:
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)] + ([(-1, -1), (-1, 1), (1, -1), (1, 1)] if diagonal else [])
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    sizes = {}
    while left:
        first = min(left)
        left.discard(first)
        queue, count = [first], 0
        while queue:
            y, x = queue.pop()
            count += 1
            for dy, dx in steps:
                if (y + dy, x + dx) in left:
                    left.discard((y + dy, x + dx))
                    queue.append((y + dy, x + dx))
        sizes[first] = count
    return sizes


def test_reading_order_goes_line_by_line() -> None:
    boxes = [Box(100, 12, 30, 10), Box(10, 50, 30, 10), Box(10, 10, 30, 12), Box(60, 48, 20, 14)]
    assert reading_order(boxes) == [2, 0, 1, 3]


def test_what_frames_a_page_is_no_line_of_it() -> None:
    frame, first, second, last = Box(0, 0, 160, 210), Box(40, 60, 30, 9), Box(80, 60, 30, 9), Box(5, 76, 30, 9)
    assert reading_order([last, second, frame, first]) == [2, 3, 1, 0]


def test_a_search_that_the_gate_stopped_leaves_nothing_wrong_behind(tmp_path: Path) -> None:
    """The gate closes before it begins and somewhere within: by the clock, so at another place each time."""
    before, after = Canvas(), Canvas()
    for canvas in (before, after):
        canvas.text(20, 20, "a line that stays")
    after.text(20, 70, "and one that came")
    expected = BlockFinder().find(before.frame()), BlockFinder().find(after.frame())
    finder, stopped = BlockFinder(), 0
    with GateWriter(tmp_path / "gate") as writer:
        for microseconds in range(0, 400, 10):
            assert finder.find(before.frame()) == expected[0]
            writer.publish(State.OPEN, [], boottime_ns() + 180_000_000)
            token = GateReader(tmp_path / "gate").token(writer.gate_epoch)
            try:
                found = finder.find(after.frame(2), token.until(boottime_ns() + 1000 * microseconds))
                assert found == expected[1]
            except GateClosed:
                stopped += 1
    assert stopped
