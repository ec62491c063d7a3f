"""The contact sheet: one picture an episode, the actions drawn on the screen that they ended on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

COLUMNS = 8
MARGIN, CAPTION = 6, 26
GOOD, BAD, MARK = (24, 140, 60), (190, 40, 40), (220, 30, 120)


@dataclass
class Shot:
    """`picture` is a PNG of the screen; `marks` are the actions' (x, y, text) in its pixels."""

    title: str
    caption: str
    success: bool
    picture: bytes
    marks: Sequence[tuple[int, int, str]]


def draw_sheet(shots: Sequence[Shot], path: Path) -> None:
    """Writes the sheet as PNG; nothing when there are no shots."""
    from PIL import Image, ImageDraw, ImageFont

    if not shots:
        return
    pictures = [_crop(Image.open(io.BytesIO(shot.picture)).convert("RGB")) for shot in shots]
    width = max(picture.width for picture in pictures) + MARGIN
    height = max(picture.height for picture in pictures) + CAPTION + MARGIN
    columns = min(COLUMNS, len(shots))
    rows = -(-len(shots) // columns)
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + MARGIN), (236, 236, 236))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=10)
    for index, shot in enumerate(shots):
        left, top = MARGIN + index % columns * width, MARGIN + index // columns * height
        draw.text((left, top), shot.title[:30], fill=GOOD if shot.success else BAD, font=font)
        draw.text((left, top + 12), shot.caption[:32], fill=(90, 90, 90), font=font)
        sheet.paste(pictures[index], (left, top + CAPTION))
        for number, (x, y, _) in enumerate(shot.marks, 1):
            _draw_mark(draw, left + x, top + CAPTION + y, number, font)
    sheet.save(path)


def annotated(shot: Shot) -> Image:
    """Returns the picture of `shot`, its empty part cut off, with the actions drawn on it."""
    from PIL import Image, ImageDraw, ImageFont

    picture = _crop(Image.open(io.BytesIO(shot.picture)).convert("RGB"))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=10)
    for number, (x, y, _) in enumerate(shot.marks, 1):
        _draw_mark(draw, x, y, number, font)
    return picture


def _crop(picture: Image) -> Image:
    """Cuts off the part of the window that the page leaves empty (one colour down to the right and bottom edge)."""
    from PIL import Image, ImageChops

    corner = picture.getpixel((picture.width - 1, picture.height - 1))
    drawn = ImageChops.difference(picture, Image.new("RGB", picture.size, corner)).getbbox()
    return picture if drawn is None else picture.crop((0, 0, drawn[2], drawn[3]))


def _draw_mark(draw: ImageDraw, x: int, y: int, number: int, font: ImageFont | FreeTypeFont) -> None:
    draw.ellipse((x - 4, y - 4, x + 4, y + 4), outline=MARK, width=2)
    draw.text((x + 5, y - 10), str(number), fill=MARK, font=font)
