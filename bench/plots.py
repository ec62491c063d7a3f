"""Small pictures as SVG: lines over time, and bars to compare. No library: a plot is text that git can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_COLOURS = ("#1f6feb", "#d1495b", "#3fa34d", "#8957e5", "#f08a4b", "#57606a")
_WIDTH, _LEFT, _TOP = 720, 190, 34


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """Returns horizontal bars, in the order given."""
    most = max(values.values(), default=0.0) or 1.0
    parts = []
    for number, (name, value) in enumerate(values.items()):
        y = _TOP + number * 22
        width = value / most * (_WIDTH - _LEFT - 110)
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{_LEFT}" y="{y + 2}" width="{width:.1f}" height="14" fill="{_COLOURS[0]}"/>')
        parts.append(f'<text x="{_LEFT + width + 6:.1f}" y="{y + 13}">{value:.4g} {escape(unit)}</text>')
    return _framed(title, parts, _TOP + len(values) * 22 + 10)


def lines(title: str, unit: str, x_unit: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Returns lines through (x, y), all in one frame that begins at y = 0."""
    height = 220
    points = [point for line in series.values() for point in line]
    right = max((x for x, _ in points), default=1.0) or 1.0
    most = max((y for _, y in points), default=1.0) or 1.0
    floor = _TOP + height
    wide = _WIDTH - 60 - 160
    parts = [
        f'<rect x="60" y="{_TOP}" width="{wide}" height="{height}" fill="none" stroke="#c9cdd2"/>',
        f'<text x="54" y="{_TOP + 10}" text-anchor="end">{most:.3g}</text>',
        f'<text x="54" y="{floor}" text-anchor="end">0 {escape(unit)}</text>',
        f'<text x="{60 + wide}" y="{floor + 16}" text-anchor="end">{right:.4g} {escape(x_unit)}</text>',
    ]
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{60 + x / right * wide:.1f},{floor - y / most * height:.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{72 + wide}" y="{_TOP + 14 + number * 18}" fill="{colour}">{escape(name)}</text>')
    return _framed(title, parts, floor + 26)


def _framed(title: str, parts: list[str], height: int) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif"'
    body = "\n".join(parts)
    return (
        f'{head} font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="8" y="20" font-size="14">{escape(title)}</text>\n{body}\n</svg>\n'
    )
