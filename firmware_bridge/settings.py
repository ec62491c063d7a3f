"""Settings from TOML: a frozen dataclass is the table, each of its fields a row.

    @dataclass(frozen=True)
    class Timing:
        '''When the gate may open.'''
        dwell_s: float = setting(60.0, unit="s", low=0, high=86400, doc="quiet time before every opening")

    @dataclass(frozen=True)
    class Policy:                       # sections are fields that are such dataclasses themselves
        timing: Timing = field(default_factory=Timing)

    policy = load("policy.toml", Policy)        # policy.timing.dwell_s, typed and frozen
    print(template(Policy))                     # the same table as a documented TOML file

An unknown key is an error with a suggestion; a wrong type or a number out of its range says file, key, expected and
got. Types of a row: bool, int, float (an integer is taken too), str, tuple[str, ...] and tuple[float, ...]. A row
without a default must be set.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from firmware_bridge.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
_ROW = "idlehands.setting"
_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    tuple[str, ...]: "a list of texts",
    tuple[float, ...]: "a list of numbers",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One row: what may be written under `name`. `low` and `high` are inclusive, `choices` empty means any."""

    name: str
    type: Any
    default: Any
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    doc: str

    @property
    def is_required(self) -> bool:
        return self.default is dataclasses.MISSING

    def expected(self) -> str:
        """Returns what may stand there, in words: "a number from 0 to 100 %"."""
        if self.choices:
            words = "one of " if self.type is str else "a list out of "
            return words + ", ".join(repr(choice) for choice in self.choices)
        words = _WORDS[self.type]
        if self.low is not None and self.high is not None:
            words += f" from {self.low:g} to {self.high:g}"
        elif self.low is not None:
            words += f" of at least {self.low:g}"
        elif self.high is not None:
            words += f" of at most {self.high:g}"
        return f"{words} {self.unit}".rstrip()


def setting(
    default: Any = dataclasses.MISSING,
    *,
    doc: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of a section's dataclass: one row of its table."""
    metadata = {_ROW: {"unit": unit, "low": low, "high": high, "choices": choices, "doc": doc}}
    return dataclasses.field(default=default, metadata=metadata)


def rows(shape: type[Any]) -> Iterator[Setting]:
    """Yields the rows of one section, in order; its sub-sections are not among them."""
    hints = get_type_hints(shape)
    for field in dataclasses.fields(shape):
        if _ROW in field.metadata:
            yield Setting(field.name, hints[field.name], field.default, **field.metadata[_ROW])


def sections(shape: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    """Yields (name, dataclass) of the sub-sections of `shape`, in order."""
    hints = get_type_hints(shape)
    for field in dataclasses.fields(shape):
        if dataclasses.is_dataclass(hints[field.name]):
            yield field.name, hints[field.name]


def load(path: str | os.PathLike[str], shape: type[T], *, overrides: Mapping[str, Any] | None = None) -> T:
    """Reads a TOML file into `shape`. `overrides` maps dotted keys ("timing.dwell_s") to values that go first.

    Raises SettingsError for a file that cannot be read or is not TOML, and as `parse` does.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"there is no settings file {path}", next_step="create it, or name another") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    return parse(text, shape, where=str(path), overrides=overrides)


def parse(text: str, shape: type[T], *, where: str = "settings", overrides: Mapping[str, Any] | None = None) -> T:
    """Returns `shape` filled from TOML text; `where` names the text in errors.

    Raises SettingsError: not TOML, a key or section that does not exist, a wrong type, a number out of its range (NaN
    and infinities are always), a required row left out.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where} is not TOML: {error}") from error
    for key, value in (overrides or {}).items():
        _put(tree, key, value, where)
    return cast(T, _build(tree, shape, where, ""))


def template(shape: type[Any]) -> str:
    """Returns a TOML file that documents every row with unit, range and default; it loads to the defaults."""
    lines: list[str] = []
    _document(shape, "", lines)
    return "\n".join(lines).strip() + "\n"


def as_dict(values: Any) -> dict[str, Any]:
    """Returns settings as plain nested dictionaries, as for JSON."""
    return dataclasses.asdict(values)


def _put(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{where}: {parent} in {key} is a value, not a section")
    tree[last] = value


def _build(tree: Mapping[str, Any], shape: type[Any], where: str, prefix: str) -> Any:
    table = {row.name: row for row in rows(shape)}
    parts = dict(sections(shape))
    for key in tree:
        if key not in table and key not in parts:
            raise SettingsError(f"{where}: {prefix}{key} is not a setting{_suggest(key, [*table, *parts])}")
    values: dict[str, Any] = {}
    for name, part in parts.items():
        inner = tree.get(name, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{where}: {prefix}{name} must be a section [{prefix}{name}], got {inner!r}")
        values[name] = _build(inner, part, where, f"{prefix}{name}.")
    for name, row in table.items():
        if name in tree:
            values[name] = _value(tree[name], row, f"{where}: {prefix}{name}")
        elif row.is_required:
            raise SettingsError(f"{where}: {prefix}{name} is missing, expected {row.expected()}")
    try:
        return shape(**values)
    except ValueError as error:  # a section's own __post_init__: rules between rows
        raise SettingsError(f"{where}: {prefix.rstrip('.') or 'settings'}: {error}") from error


def _suggest(key: str, names: list[str]) -> str:
    near = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(names)}"


def _value(got: Any, row: Setting, where: str) -> Any:
    wrong = SettingsError(f"{where} must be {row.expected()}, got {_short(got)}")
    if row.type in (tuple[str, ...], tuple[float, ...]):
        item = str if row.type == tuple[str, ...] else float
        if not isinstance(got, list | tuple) or not all(_fits(part, item) for part in got):
            raise wrong
        value: Any = tuple(item(part) for part in got)
        within = all(_in_range(part, row) for part in value)
    elif _fits(got, row.type):
        value = float(got) if row.type is float else got
        within = _in_range(value, row)
    else:
        raise wrong
    if not within:
        raise wrong
    return value


def _fits(got: Any, kind: Any) -> bool:
    if kind is bool or isinstance(got, bool):
        return kind is bool and isinstance(got, bool)  # true is no number here
    if kind is float:
        return isinstance(got, int | float)
    return isinstance(got, kind)


def _in_range(value: Any, row: Setting) -> bool:
    if row.choices and value not in row.choices:
        return False
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if isinstance(value, str):
        return True
    return (row.low is None or value >= row.low) and (row.high is None or value <= row.high)


def _short(got: Any) -> str:
    text = repr(got)
    return text if len(text) <= 80 else text[:77] + "..."


def _document(shape: type[Any], prefix: str, lines: list[str]) -> None:
    for row in rows(shape):
        lines += [f"# {line}" for line in row.doc.splitlines()]
        lines.append(f"# {row.expected()}" + (", required" if row.is_required else ""))
        shown = f"# {row.name} =" if row.is_required else f"{row.name} = {_toml(row.default)}"
        lines += [shown, ""]
    for name, part in sections(shape):
        lines += [f"[{prefix}{name}]"]
        lines += [f"# {line.strip()}" for line in (part.__doc__ or "").strip().splitlines() if line.strip()]
        lines.append("")
        _document(part, f"{prefix}{name}.", lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return repr(value)
