"""One generated day as an SVG picture: the car, the gate and its duty, temperatures, charge and energy debt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _LEFT, _PANEL, _GAP = 960, 110, 110, 26
_STATES = {"closed": "#c9cdd2", "warming": "#f2c14e", "open": "#3fa34d", "draining": "#f08a4b", "faulted": "#d1495b"}
_LINES = ("#1f6feb", "#d1495b", "#8957e5")

Row = dict[str, Any]


def day_svg(rows: list[Row], title: str) -> str:
    """Returns the picture of a day's rows (firmware_bridge/proof/days.py: Life.day)."""
    parts = [f'<text x="{_LEFT}" y="20" font-size="15">{escape(title)}</text>']
    y = 40
    for label, bands in (
        ("driven", [(row["is_driving"], "#57606a") for row in rows]),
        ("plugged in", [(row["is_plugged"], "#1f6feb") for row in rows]),
        ("gate", [(True, _STATES[row["state"]]) for row in rows]),
    ):
        parts += [f'<text x="4" y="{y + 12}">{label}</text>', *_band(rows, bands, y)]
        y += 22
    y += _GAP
    panels: tuple[tuple[str, dict[str, Callable[[Row], float]]], ...] = (
        ("duty", {"duty": lambda row: row["duty"]}),
        (
            "°C",
            {
                "computer": lambda row: row["compute_C"],
                "cabin": lambda row: row["cabin_C"],
                "battery": lambda row: row["battery_C"],
            },
        ),
        ("charge %", {"charge": lambda row: row["charge_pct"]}),
        ("debt Wh", {"debt": lambda row: row["debt_Wh"]}),
    )
    for label, lines in panels:
        parts += _panel(rows, label, lines, y)
        y += _PANEL + _GAP
    for number, (name, colour) in enumerate(_STATES.items()):
        x = _LEFT + 100 * number
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{y}">{name}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 16}" font-family="sans-serif"'
    return (
        f'{head} font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _x(minute: float) -> float:
    return _LEFT + minute / 1440 * (_WIDTH - _LEFT - 20)


def _band(rows: list[Row], bands: list[tuple[bool, str]], y: int) -> list[str]:
    ends = [row["minute"] for row in rows[1:]] + [1440.0]
    parts = []
    for row, end, (is_shown, colour) in zip(rows, ends, bands, strict=True):
        if is_shown:
            x, width = _x(row["minute"]), _x(end) - _x(row["minute"])
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="16" fill="{colour}"/>')
    return parts


def _panel(rows: list[Row], label: str, lines: dict[str, Callable[[Row], float]], y: int) -> list[str]:
    values = [line(row) for line in lines.values() for row in rows]
    low, high = min(0.0, *values), max(*values, 1.0)
    parts = [
        f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH - _LEFT - 20}" height="{_PANEL}" fill="none" stroke="#d0d7de"/>'
    ]
    parts += [f'<text x="4" y="{y + 12}">{label}</text>', f'<text x="{_LEFT - 42}" y="{y + 12}">{high:.0f}</text>']
    parts.append(f'<text x="{_LEFT - 42}" y="{y + _PANEL}">{low:.0f}</text>')
    for (name, line), colour in zip(lines.items(), _LINES, strict=False):
        points = " ".join(
            f"{_x(row['minute']):.1f},{y + _PANEL - (line(row) - low) / (high - low) * _PANEL:.1f}" for row in rows
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        at = list(lines).index(name) * 80
        parts.append(f'<text x="{_LEFT + 8 + at}" y="{y + 14}" fill="{colour}">{name}</text>')
    return parts
