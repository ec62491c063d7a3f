"""Lines of text as a real browser and Pillow draw them, with what they say: the reader's training data.

    page of 200 labels (font × 6-32 px × weight × colours) ─► Chromium ─► picture and boxes ─► crops of the ink
    the same strings in Pillow, hinted or at four times the size and averaged ─────────────────► crops of the ink

A crop is the line's contrast (runtime/agent/strips.py) with a border of 2 pixels, so that training can move its box.
"""

from __future__ import annotations

import asyncio
import base64
import html
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.screen_agent.reading_texts import text
from models.text_reader.strings import fonts_here
from runtime.agent.blocks import Colour
from runtime.agent.strips import contrast, ink_box
from runtime.evaluation.chromium import Chromium
from runtime.evaluation.xserver import XServer

BORDER = 2
WIDTH, HEIGHT = 1000, 760
TEST_FONTS = ("Liberation Sans Narrow", "truetype/liberation/LiberationSansNarrow-Regular.ttf")
_FAMILIES = (
    "sans-serif", "Arial", "Liberation Sans", "DejaVu Sans", "DejaVu Sans Mono", "DejaVu Serif", "Liberation Serif",
    "Liberation Mono", "Liberation Sans Narrow", "DejaVu Sans Condensed", "monospace", "serif",
)  # fmt: skip


@dataclass(frozen=True)
class Crop:
    """`ink` u8 (h, w) is the contrast with BORDER around the ink; `size_px` and `font` are what it was drawn with."""

    text: str
    ink: NDArray[np.uint8]
    size_px: int
    font: str


def cropped(pixels: NDArray[np.uint8], paper: Colour) -> NDArray[np.uint8] | None:
    """Returns the contrast around the ink of BGR `pixels` (h, w, ≥ 3) on the ground `paper`, with BORDER; None without
    ink."""
    ink = contrast(pixels, paper)
    box = ink_box(ink)
    if box is None:
        return None
    padded = np.pad(ink, BORDER)
    return padded[box.y : box.bottom + 2 * BORDER, box.x : box.right + 2 * BORDER]


def drawn_by_pillow(dice: random.Random) -> Crop | None:
    """Draws one string; half of them without hinting, at a fraction of a pixel."""
    said, font, size_px = text(dice), dice.choice(fonts_here()), _size_px(dice)
    factor = dice.choice((1, 4))
    shape = ImageFont.truetype(str(Path("/usr/share/fonts") / font), size_px * factor)
    left, top, right, bottom = (int(value) for value in shape.getbbox(said))
    width, height = (right - left) // factor + 8, (bottom - top) // factor + 8
    image = Image.new("L", (width * factor, height * factor), 0)
    shift = dice.randrange(factor), dice.randrange(factor)
    place = (4 * factor - left + shift[0], 4 * factor - top + shift[1])
    ImageDraw.Draw(image).text(place, said, fill=dice.randint(110, 255), font=shape)
    grey = np.asarray(image.resize((width, height), Image.Resampling.BOX) if factor > 1 else image)
    ink = cropped(np.repeat(grey[..., None], 3, axis=2), (0, 0, 0))
    return None if ink is None else Crop(said, ink, size_px, font)


class LabelPages:
    """Pages of labels in one Chromium: `async with LabelPages() as pages: crops = await pages.crops(dice)`."""

    async def __aenter__(self) -> LabelPages:
        self._screen = XServer(WIDTH, HEIGHT).__enter__()
        self._browser = await Chromium.start(self._screen.display, WIDTH, HEIGHT)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._browser.close()
        self._screen.__exit__(None, None, None)

    async def crops(self, dice: random.Random, count: int = 220) -> list[Crop]:
        """Returns the crops of one page of `count` labels; those that do not fit on it are left out."""
        labels = [_label(dice) for _ in range(count)]
        body = "".join(markup for markup, *_ in labels)
        script = f"""(async () => {{
            document.body.style.cssText = 'margin:0;background:#fff;overflow:hidden';
            document.body.innerHTML = {json.dumps(body)};
            await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
            return [...document.querySelectorAll('span')].map(e => {{
                const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height];
            }});
        }})()"""
        places = await self._browser.evaluate(script)
        shot = await self._browser.command("Page.captureScreenshot", format="png")
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB"))[..., ::-1]
        found = []
        for (_, said, size_px, font, paper), (x, y, w, h) in zip(labels, places, strict=True):
            left, top, right, bottom = int(x) + 1, int(y) + 1, int(x + w) - 1, int(y + h) - 1
            if right > pixels.shape[1] or bottom > pixels.shape[0] or w < 3 or h < 3:
                continue
            ink = cropped(pixels[top:bottom, left:right], paper)
            if ink is not None:
                found.append(Crop(said, ink, size_px, font))
        return found


def _label(dice: random.Random) -> tuple[str, str, int, str, Colour]:
    """Returns (markup, text, size, family, ground in blue, green, red) of one label."""
    family = dice.choice(_FAMILIES)
    said = text(dice, symbols=family in ("sans-serif", "DejaVu Sans") and dice.random() < 0.3)
    size_px = _size_px(dice)
    paper, ink = _colours(dice)
    weight = "bold" if dice.random() < 0.25 else "normal"
    style = "italic" if dice.random() < 0.07 else "normal"
    shift = dice.random()
    slanted = dice.random() < 0.05
    css = (
        f"display:inline-block;white-space:pre;margin:{shift:.2f}px 3px 2px {shift:.2f}px;"
        f"padding:{'12px' if slanted else '4px 6px'};"
        f"font:{style} {weight} {size_px}px {family};line-height:1.3;color:rgb{ink};background:rgb{paper};"
        + ("text-decoration:underline;" if dice.random() < 0.08 else "")
    )
    shown = _slanted(said, dice) if slanted else html.escape(said)
    red, green, blue = paper
    return f'<span style="{html.escape(css)}">{shown}</span>', said, size_px, family, (blue, green, red)


def _slanted(said: str, dice: random.Random) -> str:
    """Returns markup that turns and slants every letter by itself."""
    parts = []
    for letter in said:
        bent = f"skewX({dice.randint(-15, 15)}deg) skewY({dice.randint(-40, 40)}deg) rotate({dice.randint(-12, 12)}deg)"
        parts.append(f'<b style="display:inline-block;font-weight:inherit;transform:{bent}">{html.escape(letter)}</b>')
    return "".join(parts)


def _size_px(dice: random.Random) -> int:
    """Returns a height of letters: mostly what pages use, a fifth as small as calendars are set."""
    kind = dice.random()
    if kind < 0.2:
        return dice.randint(6, 9)
    return dice.randint(9, 32) if kind < 0.4 else dice.randint(10, 18)


def _colours(dice: random.Random) -> tuple[Colour, Colour]:
    """Returns a ground and an ink, each red, green, blue."""
    if dice.random() < 0.5:
        return ((255, 255, 255), (0, 0, 0)) if dice.random() < 0.7 else ((239, 239, 239), (0, 0, 0))
    while True:
        paper, ink = ((dice.randint(0, 255), dice.randint(0, 255), dice.randint(0, 255)) for _ in range(2))
        if max(abs(a - b) for a, b in zip(paper, ink, strict=True)) >= 90:
            return paper, ink


def save(path: Path, crops: list[Crop]) -> None:
    """Writes crops as one shard: flat pixels, shapes, and the rest as JSON."""
    shapes = np.array([crop.ink.shape for crop in crops], dtype=np.int32)
    flat = np.concatenate([crop.ink.ravel() for crop in crops])
    told = json.dumps([[crop.text, crop.size_px, crop.font] for crop in crops]).encode()
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, shapes=shapes, flat=flat, told=np.frombuffer(told, dtype=np.uint8))
    part.replace(path)


def load(path: Path) -> list[Crop]:
    """Returns the crops of one shard."""
    with np.load(path) as shard:
        shapes, flat, told = shard["shapes"], shard["flat"], json.loads(shard["told"].tobytes())
    ends = np.cumsum(shapes.prod(axis=1))
    return [
        Crop(said, flat[end - h * w : end].reshape(h, w), size_px, font)
        for (said, size_px, font), (h, w), end in zip(told, shapes.tolist(), ends.tolist(), strict=True)
    ]


async def draw_shards(folder: Path, pages: int, pillow: int, seed: int, per_shard: int = 40) -> None:
    """Draws `pages` pages by Chromium and `pillow` strings by Pillow into `folder`; shards that exist are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    async with LabelPages() as browser:
        for first in range(0, pages, per_shard):
            path = folder / f"chromium-{seed + first:08}.npz"
            if path.exists():
                continue
            crops = [crop for n in range(per_shard) for crop in await browser.crops(random.Random(seed + first + n))]
            save(path, crops)
            print(f"{path.name}: {len(crops)} lines", flush=True)
    for first in range(0, pillow, 8000):
        path = folder / f"pillow-{seed + first:08}.npz"
        if not path.exists():
            drawn = [drawn_by_pillow(random.Random(f"{seed}-{first + n}")) for n in range(min(8000, pillow - first))]
            save(path, [crop for crop in drawn if crop is not None])
            print(f"{path.name} written", flush=True)


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=800)
    parser.add_argument("--pillow", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=10_000)
    chosen = parser.parse_args()
    asyncio.run(draw_shards(chosen.folder, chosen.pages, chosen.pillow, chosen.seed))


if __name__ == "__main__":
    main()
