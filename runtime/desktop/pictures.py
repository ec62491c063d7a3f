"""Small pictures of the screen at every action, kept beside the log if the desktop's owner wants them; filmstrips.

    frame + action ─► a PNG at most 320 pixels wide, the action drawn on it ─► pictures/<SHA-256>.png
    log + pictures ─► filmstrip: one PNG, or one HTML page that holds everything

Needs Pillow (the extra `desktop`).
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from runtime.desktop.errors import LogError
from runtime.wire.actions import Action, Drag, position

FOLDER = "pictures"
_WIDTH = 320
_COLUMNS = 4
_CAPTION, _GAP = 14, 6
_RED = (220, 30, 30)


def keep_picture(folder: Path, pixels: NDArray[np.uint8], action: Action) -> str:
    """Writes the picture of `action` on `pixels` (uint8 (h, w, 4), B G R x) below `folder`; returns its SHA-256."""
    data = picture(pixels, action)
    name = hashlib.sha256(data).hexdigest()
    target = folder / FOLDER / f"{name}.png"
    if not target.exists():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        part = target.with_suffix(".part")
        part.write_bytes(data)
        part.replace(target)
    return name


def picture(pixels: NDArray[np.uint8], action: Action) -> bytes:
    """Returns a PNG of `pixels`, at most 320 wide, with a ring where `action` happens and a line for a drag."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 2::-1]))
    scale = min(1.0, _WIDTH / image.width)
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX
    )
    draw = ImageDraw.Draw(image)
    place = position(action)
    if isinstance(action, Drag) and len(action.path) > 1:
        draw.line([(x * scale, y * scale) for x, y in action.path], fill=_RED, width=2)
    if place is not None:
        x, y = place[0] * scale, place[1] * scale
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), outline=_RED, width=2)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def render(records: Iterable[dict[str, Any]], folder: Path, target: str | os.PathLike[str]) -> int:
    """Renders the actions among `records` as a filmstrip into `target` (.png or .html). Returns how many there are.

    Raises LogError if a picture that the log names is not there or is another one.
    """
    actions = [record for record in records if record.get("event") == "action"]
    shown = [(_caption(record), _stored(folder, record)) for record in actions]
    path = Path(target)
    if path.suffix == ".html":
        path.write_text(_page(shown), encoding="utf-8")
    else:
        _strip(shown).save(path, "PNG")
    return len(shown)


def _stored(folder: Path, record: dict[str, Any]) -> bytes | None:
    name = record.get("picture")
    if not name:
        return None
    try:
        data = (folder / FOLDER / f"{name}.png").read_bytes()
    except OSError as error:
        raise LogError(f"record {record['n']}: its picture {name[:16]}… is not in {folder / FOLDER}") from error
    if hashlib.sha256(data).hexdigest() != name:
        raise LogError(f"record {record['n']}: its picture {name[:16]}… was changed")
    return data


def _caption(record: dict[str, Any]) -> str:
    told = record["outcome"] if record["outcome"] != "refused" else f"refused: {record['reason']}"
    return f"{record['seq']} {record['kind']} {told}"


def _strip(shown: list[tuple[str, bytes | None]]) -> Image.Image:
    images = [Image.open(io.BytesIO(data)) if data else Image.new("RGB", (_WIDTH, 1)) for _, data in shown]
    height = max((image.height for image in images), default=1) + _CAPTION + _GAP
    rows = max(1, math.ceil(len(images) / _COLUMNS))
    sheet = Image.new("RGB", (_COLUMNS * (_WIDTH + _GAP), rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, (caption, _)) in enumerate(zip(images, shown, strict=True)):
        x, y = index % _COLUMNS * (_WIDTH + _GAP), index // _COLUMNS * height
        draw.text((x, y), caption, fill="black")
        sheet.paste(image, (x, y + _CAPTION))
    return sheet


def _page(shown: list[tuple[str, bytes | None]]) -> str:
    figures = []
    for caption, data in shown:
        image = f'<img alt="" src="data:image/png;base64,{base64.b64encode(data).decode()}">' if data else ""
        figures.append(f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>")
    style = "body{font:14px sans-serif;display:flex;flex-wrap:wrap;gap:8px}figure{margin:0}img{border:1px solid #ccc}"
    return f'<!doctype html><meta charset="utf-8"><title>Filmstrip</title><style>{style}</style>' + "".join(figures)
