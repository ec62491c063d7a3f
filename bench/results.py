"""Writes bench/RESULTS.md: machine, versions, date, and a table and a picture a bench.

    python -m bench results                          runs the short benches one after the other (about 5 minutes)
    python -m bench results --only residency,board   some of them; the sections of the others stay as they are
    python -m bench results --from NAME=FILE.json    what `python -m bench NAME --json` printed, here or elsewhere

Nothing in the page is written by hand: what a bench returns is what stands there.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.measure import linux_version, machine
from bench.plots import bars

PAGE = Path(__file__).with_name("RESULTS.md")
PICTURES = Path(__file__).with_name("pictures")
# name: (what is run, the column of the picture, its unit)
SHORT: dict[str, tuple[list[str], str, str]] = {
    "frames": ([], "p50_ms", "ms"),
    "gate": ([], "p50_ms", "ms"),
    "session": ([], "p50_ms", "ms"),
    "residency": (["--seconds", "10"], "p50_ms", "ms"),
    "ocr": (["--strings", "300", "--rounds", "3"], "p50_ms", "ms"),
    "board": (["--soak-s", "30", "--rounds", "20"], "p50_ms", "ms"),
}
UNTOLD = ("saved", "plot", "reading")  # files of the machine that measured, and series
PACKAGES = ("numpy", "onnxruntime", "onnx", "opencv-python-headless", "tensorrt-rtx", "cuda-bindings")


def run(argv: list[str]) -> dict[str, Any]:
    """Returns a row a section that was written anew."""
    parser = argparse.ArgumentParser(prog="python -m bench results")
    parser.add_argument("--only", default="", help="benches to run, with commas between")
    parser.add_argument("--from", dest="given", action="append", default=[], metavar="NAME=FILE", help="see the module")
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args(argv)
    found = {name: json.loads(Path(path).read_text()) for name, path in (one.split("=", 1) for one in chosen.given)}
    wanted = [name for name in chosen.only.split(",") if name] or ([] if found else list(SHORT))
    for name in wanted:
        print(f"bench {name} …", file=sys.stderr, flush=True)
        found[name] = measured(name)
    pictures = chosen.page.with_name(PICTURES.name)
    old = sections(chosen.page.read_text()) if chosen.page.exists() else {}
    fresh = {name: section(name, result, pictures) for name, result in found.items()}
    chosen.page.write_text(page({**old, **fresh}))
    return {"rows": [{"bench": name, "lines": text.count("\n")} for name, text in fresh.items()]}


def measured(name: str) -> dict[str, Any]:
    """Runs a bench as a process of its own, so that none sees what another left in memory."""
    command = [sys.executable, "-m", "bench", name, "--json", *SHORT[name][0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PAGE.parent.parent)
    if done.returncode:
        return {"rows": [], "not run": done.stderr.strip()[-300:]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def sections(text: str) -> dict[str, str]:
    """Returns a page's sections by name."""
    parts = re.split(r"^## (\w+)\n", text, flags=re.MULTILINE)
    return {name: f"## {name}\n{body}" for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def page(parts: Mapping[str, str]) -> str:
    """Returns the page: sections in the order of their names."""
    head = "# Results\n\nWritten by `python -m bench results`; nothing here is written by hand.\n\n"
    return head + "\n".join(parts[name].rstrip() + "\n" for name in sorted(parts))


def section(name: str, result: dict[str, Any], pictures: Path) -> str:
    """Returns a section: where and when, the table, a picture, and whatever else the bench returned."""
    rows = result.pop("rows", [])
    where = result.pop("machine", None) or machine()
    versions = ", ".join(f"{package} {version}" for package in PACKAGES if (version := _version(package)))
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"## {name}",
        "",
        f"{when}; {where['cpu']}, {where['cpus']} cores, load {where['load_1min']} as it ended; "
        f"Linux {linux_version()}, Python {platform.python_version()}, {versions}",
        "",
        *table(rows),
        "",
    ]
    label, value, unit = _picture(name, rows)
    if label:
        pictures.mkdir(exist_ok=True)
        heights = {_name(row): row[value] for row in rows if isinstance(row.get(value), int | float)}
        (pictures / f"{name}.svg").write_text(bars(f"{name}: {value}", unit, heights))
        lines += [f"![{name}]({pictures.name}/{name}.svg)", ""]
    lines += [f"* {key}: {_told(value)}" for key, value in result.items() if key not in UNTOLD]
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Returns a Markdown table of flat rows."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        return []
    cells = [[_told(row.get(column)) for column in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *cells)]


def _picture(name: str, rows: list[dict[str, Any]]) -> tuple[str, str, str]:
    value, unit = SHORT[name][1:] if name in SHORT else ("p50_ms", "ms")
    label = next((key for key in (rows[0] if rows else {}) if isinstance(rows[0][key], str)), "")
    return (label, value, unit) if any(row.get(value) for row in rows) else ("", "", "")


def _name(row: dict[str, Any]) -> str:
    """Returns what tells a row from the others: its words."""
    return " ".join(value for value in row.values() if isinstance(value, str))


def _told(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(one)}" for key, one in value.items() if not _is_series(one))
    if isinstance(value, list):
        return "; ".join(_told(one) for one in value) or "none"
    return str(value).replace(f"{PAGE.parent.parent}/", "").replace("|", "/").replace("\n", " ")


def _is_series(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and isinstance(value[0], list | tuple)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
