"""Imports go down the stairs: every import of every module is checked against the floors of the README."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Highest first. A room may import from rooms of lower lines only, and from itself; within a line, rooms do not meet.
RUNTIME_FLOORS = (
    {"cli"},
    {"demo"},
    {"evaluation"},
    {"daemon"},
    {"fleet"},
    {"jobs"},
    {"agent"},
    {"residency", "desktop"},
    {"backends", "transport"},
    {"store", "ledger", "wire", "telemetry", "config", "service"},
    {"pictures"},
    {"errors", "_build_id"},
)
# Exactly these may be imported by nobody below them, and these by nobody at all.
LOOK_IN_FROM_OUTSIDE = {"bench", "tests", "models", "examples"}


def modules() -> list[Path]:
    return sorted(
        path
        for hall in ("kernels", "firmware_bridge", "runtime")
        for path in (ROOT / hall).rglob("*.py")
        if path.is_file()
    )


def imported(path: Path) -> set[str]:
    """Returns the dotted names that a module imports, type-checking imports left out."""
    names: set[str] = set()
    skipped: set[ast.AST] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped.update(inner for child in node.body for inner in ast.walk(child))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            names.update([node.module] if node.module not in {"runtime"} else [f"runtime.{a.name}" for a in node.names])
    return names


def floor_of(room: str) -> int:
    for number, rooms in enumerate(RUNTIME_FLOORS):
        if room in rooms:
            return number
    raise AssertionError(f"runtime/{room} is on no floor: add it to RUNTIME_FLOORS and to the README")


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    for name in imported(path):
        hall, *rest = name.split(".")
        assert hall not in LOOK_IN_FROM_OUTSIDE, f"{path} imports {name}, which looks in from outside"
        if parts[0] == "kernels":
            assert hall not in {"firmware_bridge", "runtime"}, f"kernels knows nothing else: {name}"
        elif parts[0] == "firmware_bridge":
            assert hall != "runtime", f"firmware_bridge stands on kernels only: {name}"
            allowed = {"gate", "common", "errors"}
            assert hall != "kernels" or not rest or rest[0] in allowed, f"the bridge needs no kernel: {name}"
        elif hall == "runtime" and rest and parts[1] != rest[0] and parts[1] != "__init__":
            assert floor_of(parts[1]) < floor_of(rest[0]), f"runtime/{parts[1]} may not import {name}: imports go down"


@pytest.mark.parametrize("path", [p for p in modules() if p.name == "__init__.py"], ids=lambda p: p.parent.name)
def test_an_init_holds_a_docstring_and_nothing_else(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert len(body) == 1, path
    assert isinstance(body[0], ast.Expr), path
