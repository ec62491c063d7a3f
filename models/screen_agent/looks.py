"""How a page may look: fonts, colours, sizes, places. A model that saw one build of one theme knows only that.

Half of the episodes keep the page's own look. Pages that are about colours keep their colours; pages that reckon with
the place of their own origin stay where they are.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

FONTS = (
    "Arial",
    "DejaVu Sans",
    "DejaVu Serif",
    "Liberation Serif",
    "Liberation Sans Narrow",
    "Roboto",
    "Open Sans",
    "Lato",
    "Noto Sans",
    "FreeSans",
    "Cantarell",
    "DejaVu Sans Mono",
)
COLOUR_TASKS = frozenset(
    {
        "click-color",
        "click-shades",
        "click-shape",
        "count-shape",
        "simon-says",
        "use-colorwheel",
        "text-editor",
        "hover-shape",
        "hot-cold",
        "daily-calendar",
        "drag-shapes",
        "number-checkboxes",
        "order-food",
        "stock-market",
        "chase-circle",
        "moving-items",
    }
)
PINNED_TASKS = frozenset(
    {
        "circle-center",
        "find-midpoint",
        "right-angle",
        "bisect-angle",
        "hot-cold",
        "ascending-numbers",
    }
)
# Pages that lay out their parts by fixed sizes of text.
SIZED_TASKS = frozenset(
    {
        "daily-calendar",
        "number-checkboxes",
        "drag-items-grid",
        "book-flight",
        "text-editor",
        "buy-ticket",
    }
)
MADE = "made-"
SCALES = (1.0, 1.5, 1.0, 1.25, 2.0, 1.0, 1.75)


@dataclass(frozen=True)
class Look:
    """`css` for the page, and the size of the part of the window that is seen, in CSS pixels."""

    css: str
    width: int
    height: int


def look_of(task: str, rng: random.Random) -> Look:
    """Returns a random look for an episode of `task`."""
    if task.startswith(MADE):  # these pages draw a style of their own
        return Look("", rng.randrange(330, 480), rng.randrange(300, 420))
    rules: list[str] = []
    across = down = 0
    if task not in PINNED_TASKS and rng.random() < 0.5:
        across, down = rng.randrange(0, 60), rng.randrange(-40, 40)
        rules.append(f"html {{ margin: {down}px 0 0 {across}px; }}")
    if rng.random() < 0.5:
        rules += _theme(task, rng)
    return Look("\n".join(rules), 160 + across + rng.randrange(0, 60), max(210, 210 + down) + rng.randrange(0, 60))


def _theme(task: str, rng: random.Random) -> list[str]:
    rules = []
    if rng.random() < 0.7 and task not in SIZED_TASKS:
        rules.append(f"#area, #area *, .ui-widget, .ui-widget * {{ font-family: '{rng.choice(FONTS)}' !important; }}")
    if rng.random() < 0.3 and task not in SIZED_TASKS:
        rules.append(f"#area {{ font-size: {rng.choice((9, 11, 12))}px; }}")
    if rng.random() < 0.4:
        rules.append(f"body {{ background-color: {_hsl(rng, 20, (10, 97))}; }}")
    if task in COLOUR_TASKS:
        return rules
    if rng.random() < 0.3:
        rules.append(f"#wrap {{ background-color: {_hsl(rng, 40, (90, 99))}; }}")
    if rng.random() < 0.6:
        dark = rng.random() < 0.4
        back, front = (_hsl(rng, 60, (20, 45)), "#fff") if dark else (_hsl(rng, 30, (80, 96)), "#111")
        edge = _hsl(rng, 20, (30, 70))
        rules.append(
            f"button, .ui-button {{ background: {back} !important; color: {front} !important;"
            f" border: 1px solid {edge} !important; border-radius: {rng.randrange(0, 9)}px; }}"
        )
    if rng.random() < 0.5:
        back = _hsl(rng, 30, (93, 100))
        edge = _hsl(rng, 30, (40, 75))
        rules.append(
            f"input[type=text], input[type=password], textarea {{ background: {back};"
            f" border: {rng.choice((1, 1, 2))}px solid {edge}; border-radius: {rng.randrange(0, 6)}px; }}"
        )
    if rng.random() < 0.2:
        rules.append("html { filter: invert(1) hue-rotate(180deg); background: #fff; }")
    return rules


def _hsl(rng: random.Random, saturation: int, lightness: tuple[int, int]) -> str:
    return f"hsl({rng.randrange(360)}, {rng.randrange(saturation + 1)}%, {rng.randint(*lightness)}%)"


def apply_script(look: Look) -> str:
    """Returns JavaScript that gives the page this look and takes the last one away."""
    return f"""(() => {{
      const style = document.getElementById('ih-look')
        ?? document.head.appendChild(Object.assign(document.createElement('style'), {{id: 'ih-look'}}));
      style.textContent = {json.dumps(look.css)};
    }})()"""
