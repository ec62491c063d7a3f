"""UI strings rendered with Pillow: what calibrates the reader and what measures it.

    sample(seed) = words × font × size 9-32 px × light or dark ─► picture (h, w, 4) BGRX and the text on it

Calibration and measurement take different seeds and different random strings. Fonts are the free ones of a Debian
desktop; those that a machine lacks are left out, and `fonts_here()` says which were used.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CALIBRATION_SEED = 1_000_000
MEASURE_SEED = 2_000_000
SMALLEST_PX, LARGEST_PX = 9, 32

_FONTS = (
    "truetype/dejavu/DejaVuSans.ttf",
    "truetype/dejavu/DejaVuSans-Bold.ttf",
    "truetype/dejavu/DejaVuSansCondensed.ttf",
    "truetype/dejavu/DejaVuSansMono.ttf",
    "truetype/dejavu/DejaVuSerif.ttf",
    "truetype/liberation/LiberationSans-Regular.ttf",
    "truetype/liberation/LiberationSans-Bold.ttf",
    "truetype/liberation/LiberationSans-Italic.ttf",
    "truetype/liberation/LiberationSansNarrow-Regular.ttf",
    "truetype/liberation/LiberationMono-Regular.ttf",
    "truetype/liberation/LiberationSerif-Regular.ttf",
    "opentype/urw-base35/NimbusSans-Regular.otf",
    "opentype/urw-base35/URWGothic-Book.otf",
)
_WORDS = [
    "OK",
    "Cancel",
    "Apply",
    "Save",
    "Open",
    "Close",
    "Edit",
    "View",
    "Help",
    "File",
    "New",
    "Print",
    "Search",
    "Find",
    "Replace",
    "Settings",
    "Options",
    "Preferences",
    "Username",
    "Password",
    "Email",
    "Address",
    "Phone",
    "Name",
    "First",
    "Last",
    "Date",
    "Time",
    "Year",
    "Month",
    "Day",
    "Color",
    "Size",
    "Weight",
    "Price",
    "Total",
    "Quantity",
    "Order",
    "Checkout",
    "Cart",
    "Submit",
    "Send",
    "Reply",
    "Forward",
    "Delete",
    "Archive",
    "Inbox",
    "Drafts",
    "Spam",
    "Trash",
    "Starred",
    "Login",
    "Logout",
    "Register",
    "Account",
    "Profile",
    "Language",
    "Country",
    "City",
    "Street",
    "Zip",
    "Code",
    "Next",
    "Previous",
    "Back",
    "Finish",
    "Continue",
    "Skip",
    "Retry",
    "Abort",
    "Yes",
    "No",
    "Maybe",
    "All",
    "None",
    "Select",
    "Clear",
    "Reset",
    "Upload",
    "Download",
    "Import",
    "Export",
    "Share",
    "Copy",
    "Paste",
    "Cut",
    "Undo",
    "Redo",
    "Insert",
    "Format",
    "Tools",
    "Window",
    "Terminal",
    "Display",
    "Network",
    "Bluetooth",
    "Sound",
    "Battery",
    "Power",
    "Privacy",
    "Security",
    "About",
    "Version",
    "Update",
    "Install",
    "Remove",
    "Enable",
    "Disable",
    "Start",
    "Stop",
    "Pause",
    "Resume",
    "Connect",
    "Disconnect",
    "Refresh",
    "Reload",
    "Home",
    "End",
    "Page",
    "Section",
    "Tab",
    "Menu",
    "Item",
    "List",
    "Table",
    "Row",
    "Column",
    "Cell",
    "Chart",
    "Image",
    "Video",
    "Audio",
    "Document",
    "Folder",
    "Recent",
    "Favorites",
    "Documents",
    "Pictures",
    "Music",
    "Desktop",
    "Public",
    "Templates",
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "for",
    "on",
    "with",
    "this",
    "that",
    "from",
    "your",
    "have",
    "are",
    "was",
    "not",
    "you",
    "can",
    "required",
    "invalid",
    "available",
    "missing",
    "failed",
    "success",
    "warning",
    "error",
    "loading",
    "please",
    "wait",
    "enter",
    "choose",
    "agree",
    "terms",
]
_NAMES = [
    "Anna",
    "Bela",
    "Carlos",
    "Dmitri",
    "Elise",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jamal",
    "Keiko",
    "Lena",
    "Milo",
    "Nadia",
    "Omar",
    "Petra",
    "Quinn",
    "Rosa",
]
_PUNCTUATION = ["...", ":", "?", "!", "*", " >", ".", ","]


@dataclass(frozen=True)
class Sample:
    """`pixels` uint8 (h, w, 4) BGRX with `text` in it; `box` x, y, w, h is the text's ink."""

    text: str
    pixels: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    size_px: int
    dark: bool


def fonts_here() -> tuple[str, ...]:
    """Returns the fonts of the list that this machine has; RuntimeError if it has none."""
    found = tuple(name for name in _FONTS if (Path("/usr/share/fonts") / name).is_file())
    if not found:
        raise RuntimeError(
            "none of the reader's fonts is installed: apt-get install fonts-dejavu-core fonts-liberation"
        )
    return found


def samples(count: int, seed: int) -> Iterator[Sample]:
    """Yields `count` samples, the same for the same `seed` and the same fonts."""
    for index in range(count):
        yield render(random.Random(seed + index))


def render(dice: random.Random) -> Sample:
    """Renders one string in a random font, size and pair of colours."""
    text = _text(dice)
    size_px = dice.randint(SMALLEST_PX, LARGEST_PX)
    font = _font(dice.choice(fonts_here()), size_px)
    dark = dice.random() < 0.5
    paper, ink = _colours(dice, dark)
    left, top, right, bottom = (int(value) for value in font.getbbox(text))
    margin = 6
    image = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), paper)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, fill=ink, font=font)
    pixels = np.zeros((image.height, image.width, 4), dtype=np.uint8)
    pixels[..., :3] = np.asarray(image)[..., ::-1]
    return Sample(text, pixels, _ink_box(pixels, paper), size_px, dark)


@lru_cache(maxsize=512)
def _font(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path("/usr/share/fonts") / name), size_px)


def _text(dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.45:
        words = [dice.choice(_WORDS) for _ in range(dice.choice((1, 1, 2, 2, 3, 4)))]
        return " ".join(words) + (dice.choice(_PUNCTUATION) if dice.random() < 0.2 else "")
    if kind < 0.6:
        return "".join(dice.choice(string.ascii_letters + string.digits) for _ in range(dice.randint(3, 8)))
    if kind < 0.7:
        return dice.choice(_NAMES) + (f" {dice.choice(_NAMES)}" if dice.random() < 0.4 else "")
    return dice.choice(_FORMS)(dice)


def _date(dice: random.Random) -> str:
    return f"{dice.randint(1, 12):02}/{dice.randint(1, 28):02}/{dice.randint(1980, 2030)}"


def _clock(dice: random.Random) -> str:
    return f"{dice.randint(1, 12)}:{dice.randint(0, 59):02} {dice.choice(('AM', 'PM'))}"


def _price(dice: random.Random) -> str:
    return f"${dice.randint(0, 2999)}.{dice.randint(0, 99):02}"


def _mail(dice: random.Random) -> str:
    return f"{dice.choice(_NAMES).lower()}{dice.randint(1, 999)}@{dice.choice(_WORDS).lower()}.com"


def _number(dice: random.Random) -> str:
    return str(dice.randint(-999, 99999))


def _tagged(dice: random.Random) -> str:
    return f"{dice.choice(_WORDS)} #{dice.randint(1, 99)}"


def _path(dice: random.Random) -> str:
    return f"/home/{dice.choice(_NAMES).lower()}/{dice.choice(_WORDS)}.{dice.choice(('txt', 'pdf', 'png', 'py'))}"


_FORMS = (_date, _clock, _price, _mail, _number, _tagged, _path)


def _colours(dice: random.Random, dark: bool) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Returns (paper, ink): a plain ground and an ink that a person can read on it."""
    low = tuple(dice.randint(0, 70) for _ in range(3))
    high = tuple(dice.randint(200, 255) for _ in range(3))
    if dice.random() < 0.5:
        low, high = (0, 0, 0), (255, 255, 255)
    paper, ink = (low, high) if dark else (high, low)
    return (paper[0], paper[1], paper[2]), (ink[0], ink[1], ink[2])


def _ink_box(pixels: NDArray[np.uint8], paper: tuple[int, int, int]) -> tuple[int, int, int, int]:
    contrast = np.abs(pixels[..., :3].astype(np.int16) - np.array(paper[::-1], dtype=np.int16)).max(axis=2)
    rows = np.flatnonzero((contrast >= 40).any(axis=1))
    columns = np.flatnonzero((contrast >= 40).any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
