"""The HTML report of an evaluation: the table of tasks, and what the failures looked like, in one file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.evaluation.sheet import Shot, annotated

_STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; } td, th { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr.weak td { background: #fdecea; }
figure { display: inline-block; margin: .5em; vertical-align: top; max-width: 22em; } figcaption { font-size: 12px; }
img { border: 1px solid #bbb; } ol { margin: .2em 0; padding-left: 1.6em; }
"""
_COLUMNS = (
    ("task", "name"),
    ("episodes", "episodes"),
    ("success", "success_rate"),
    ("from", "wilson_low"),
    ("to", "wilson_high"),
    ("raw 1", "raw_1"),
    ("raw > 0", "raw_above_0"),
    ("interrupted", "interrupted"),
    ("episode s", "episode_s_p50"),
    ("actions", "actions_p50"),
    ("a person s", "human_s"),
    ("by", "human_source"),
    ("times a person", "human_multiple"),
)


def write_page(report: dict[str, Any], shots: Sequence[Shot], path: Path) -> None:
    """Writes the report of `idlehands eval` with pictures of failures as one HTML page."""
    parts = [f"<!doctype html><meta charset=utf-8><title>idlehands eval</title><style>{_STYLE}</style>"]
    parts.append(f"<h1>{html.escape(report['agent'])} on {html.escape(report['split'])}</h1>")
    parts.append(
        f"<p>{report['episodes']} episodes of {len(report['tasks'])} tasks, seeds {html.escape(report['seeds'])}-N,"
        f" commit {html.escape(str(report['commit']))}, {report['seconds']:.0f} s.</p>"
    )
    parts.append(_table(report["tasks"], report.get("beside", ())))
    if shots:
        parts.append("<h2>Failures</h2>")
        parts += [_figure(shot) for shot in shots]
    path.write_text("\n".join(parts), encoding="utf-8")


def _table(rows: Sequence[dict[str, Any]], others: Sequence[str]) -> str:
    titles = [title for title, _ in _COLUMNS] + list(others)
    lines = ["<table><tr>" + "".join(f"<th>{html.escape(title)}</th>" for title in titles) + "</tr>"]
    for row in sorted(rows, key=lambda row: (row["success_rate"] or 0.0, row["name"])):
        weak = " class=weak" if (row["success_rate"] or 0.0) < 0.9 else ""
        values = [row[key] for _, key in _COLUMNS] + [row["beside"].get(name) for name in others]
        cells = "".join(f"<td>{html.escape(_cell(value))}</td>" for value in values)
        lines.append(f"<tr{weak}>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _figure(shot: Shot) -> str:
    out = io.BytesIO()
    annotated(shot).save(out, "PNG")
    picture = base64.b64encode(out.getvalue()).decode()
    steps = "".join(f"<li>{html.escape(text)}</li>" for _, _, text in shot.marks)
    return (
        f"<figure><img src='data:image/png;base64,{picture}'><figcaption><b>{html.escape(shot.title)}</b><br>"
        f"{html.escape(shot.caption)}<ol>{steps}</ol></figcaption></figure>"
    )
