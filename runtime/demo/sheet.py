"""The contact sheet: one picture an episode, the actions drawn on the screen that they ended on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLUMNS = 8
MARGIN, CAPTION = 6, 26
GOOD, BAD, MARK = (24, 140, 60), (190, 40, 40), (220, 30, 120)


@dataclass
class Shot:
    """`pixels` is BGRX uint8 (h, w, 4); `marks` are the actions' (x, y, text) in its pixels."""

    title: str
    caption: str
    success: bool
    pixels: NDArray[np.uint8]
    marks: Sequence[tuple[int, int, str]]


def draw_sheet(shots: Sequence[Shot], path: Path) -> None:
    """Writes the sheet as PNG; nothing when there are no shots."""
    from PIL import Image, ImageDraw, ImageFont

    if not shots:
        return
    width = max(shot.pixels.shape[1] for shot in shots) + MARGIN
    height = max(shot.pixels.shape[0] for shot in shots) + CAPTION + MARGIN
    columns = min(COLUMNS, len(shots))
    rows = -(-len(shots) // columns)
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + MARGIN), (236, 236, 236))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=10)
    for index, shot in enumerate(shots):
        left, top = MARGIN + index % columns * width, MARGIN + index // columns * height
        draw.text((left, top), shot.title[:30], fill=GOOD if shot.success else BAD, font=font)
        draw.text((left, top + 12), shot.caption[:32], fill=(90, 90, 90), font=font)
        sheet.paste(Image.fromarray(shot.pixels[:, :, 2::-1]), (left, top + CAPTION))
        for number, (x, y, _) in enumerate(shot.marks, 1):
            _draw_mark(draw, left + x, top + CAPTION + y, number, font)
    sheet.save(path)


def _draw_mark(draw: object, x: int, y: int, number: int, font: object) -> None:
    draw.ellipse((x - 4, y - 4, x + 4, y + 4), outline=MARK, width=2)  # type: ignore[attr-defined]
    draw.text((x + 5, y - 10), str(number), fill=MARK, font=font)  # type: ignore[attr-defined]
