"""A car's map: which CAN signal is which VSS signal, a TOML table over a DBC, compiled into bit fields.

    name = "My car"
    dbc = "my_car.dbc"                         # beside this file
    [messages.DI_speed]                        # only for messages that protect themselves
    checksum = "DI_speedChecksum"              # and checksum_kind = a row of CHECKSUMS
    counter = "DI_speedCounter"                # goes up by one a frame, modulo its size
    [signals."Vehicle.Speed"]
    message = "DI_speed"
    signal = "DI_vehicleSpeed"
    scale = 1.0                                # optional, and offset: physical value -> the unit of the signals' table
    times = "AnotherSignal"                    # optional: the product of two signals of the message (power)
    values = { 1 = 126, 4 = 127 }              # optional: raw number -> value; raw numbers not named are invalid
    absent = [0, 7]                            # optional: raw numbers by which the car says that it does not know

cantools reads the DBC once; decoding is ours (bit fields of an integer), about ten times faster than its dictionaries.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cantools.database
from cantools.database import Message as DbcMessage
from cantools.database import Signal as DbcSignal

from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Value
from firmware_bridge.signals import CONSENT, SIGNALS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKSUMS = ("sum8_with_id",)
_MESSAGE_KEYS = {"checksum", "checksum_kind", "counter"}
_SIGNAL_KEYS = {"message", "signal", "times", "scale", "offset", "values", "absent"}


@dataclass(frozen=True, slots=True)
class Field:
    """A bit field of a frame, taken from the whole payload as one integer of the field's byte order."""

    name: str
    is_little: bool
    shift: int
    bits: int
    is_signed: bool
    scale: float
    offset: float
    low: float
    high: float

    def raw(self, data: bytes) -> int:
        whole = int.from_bytes(data, "little" if self.is_little else "big")
        number = (whole >> self.shift) & ((1 << self.bits) - 1)
        return number - (1 << self.bits) if self.is_signed and number >> (self.bits - 1) else number

    def physical(self, data: bytes) -> float | None:
        """Returns the physical value, None beyond the range that the DBC gives."""
        value = self.raw(data) * self.scale + self.offset
        # The DBC's bounds are rounded to its step: half a step beyond is still the bound itself.
        slack = abs(self.scale) / 2
        return value if self.low - slack <= value <= self.high + slack else None


@dataclass(frozen=True, slots=True)
class SignalMap:
    """One VSS signal out of a frame. `values` empty: a number, else raw -> value. `page`: only on that mux page."""

    name: str
    field: Field
    times: Field | None
    scale: float
    offset: float
    values: Mapping[int, Value]
    absent: frozenset[int]
    page: tuple[Field, frozenset[int]] | None


@dataclass(frozen=True, slots=True)
class MessageMap:
    """One frame that the car needs. `length` in bytes; a frame of another length is not this message."""

    name: str
    frame_id: int
    is_extended: bool
    length: int
    checksum: Field | None
    counter: Field | None
    signals: tuple[SignalMap, ...]


@dataclass(frozen=True, slots=True)
class CarMap:
    """A whole car: frames by (id, is_extended)."""

    name: str
    path: str
    messages: Mapping[tuple[int, bool], MessageMap]


def load_map(name: str) -> CarMap:
    """Reads a map by path, or by name one that comes with the bridge. Raises SourceError for map and DBC alike."""
    if "/" in name or name.endswith(".toml"):
        path = Path(name)
    else:
        path = Path(str(resources.files("firmware_bridge.cars") / f"{name}.toml"))
        if not path.exists():
            known = ", ".join(sorted(each.stem for each in path.parent.glob("*.toml")))
            raise SourceError(f"no car is called {name!r}", next_step=f"there are: {known}; or give a path to a .toml")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SourceError(f"there is no car map {path}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(f"the car map {path} cannot be read: {error}") from error
    return _Compiler(str(path), tree).compile()


class _Compiler:
    def __init__(self, path: str, tree: dict[str, Any]) -> None:
        self._path = path
        self._tree = tree

    def compile(self) -> CarMap:
        self._check_keys(self._tree, {"name", "dbc", "messages", "signals"}, "")
        dbc_name = self._tree.get("dbc")
        if not isinstance(dbc_name, str):
            raise self._wrong("dbc", "the name of a DBC file", dbc_name)
        dbc_path = Path(self._path).parent / dbc_name
        messages = {message.name: message for message in _read_dbc(dbc_path)}
        protections = self._table("messages", messages, dbc_path)
        wanted: dict[str, list[SignalMap]] = {}
        for name, row in self._table("signals", SIGNALS, "the signals' table").items():
            if SIGNALS[name].is_derived or name == CONSENT:  # a bus cannot consent
                raise self._wrong(f"signals.{name}", "a signal that a car delivers", name)
            self._check_keys(row, _SIGNAL_KEYS, f"signals.{name}.")
            message = messages.get(row.get("message", ""))
            if message is None:
                raise self._wrong(f"signals.{name}.message", f"a message of {dbc_path}", row.get("message"))
            wanted.setdefault(message.name, []).append(self._signal(name, row, message))
        if not wanted:
            raise self._wrong("signals", "at least one signal", {})
        compiled = [self._message(messages[name], found, protections.get(name, {})) for name, found in wanted.items()]
        by_id = {(each.frame_id, each.is_extended): each for each in compiled}
        return CarMap(str(self._tree.get("name", "")), self._path, by_id)

    def _table(self, key: str, known: Mapping[str, Any], where: object) -> dict[str, dict[str, Any]]:
        table = self._tree.get(key, {})
        if not isinstance(table, dict):
            raise self._wrong(key, "a table", table)
        for name, row in table.items():
            if name not in known:
                raise SourceError(f"{self._path}: {key}.{name} is not in {where}")
            if not isinstance(row, dict):
                raise self._wrong(f"{key}.{name}", "a table", row)
        return table

    def _signal(self, name: str, row: dict[str, Any], message: DbcMessage) -> SignalMap:
        where = f"signals.{name}"
        source = self._find(message, row.get("signal"), f"{where}.signal")
        times = self._find(message, row["times"], f"{where}.times") if "times" in row else None
        scale, offset = (self._number(row.get(key, default), f"{where}.{key}") for key, default in _LINEAR)
        values = self._values(row.get("values", {}), name, f"{where}.values")
        absent = row.get("absent", [])
        if not isinstance(absent, list) or not all(type(raw) is int for raw in absent):
            raise self._wrong(f"{where}.absent", "a list of raw numbers", absent)
        if SIGNALS[name].kind is not float and not values:
            raise self._wrong(f"{where}.values", "a table from raw numbers to values (the signal is no number)", None)
        page = None
        if source.multiplexer_ids:
            multiplexer = next(each for each in message.signals if each.is_multiplexer)
            page = (_field(multiplexer, message), frozenset(source.multiplexer_ids))
        field, factor = _field(source, message), _field(times, message) if times else None
        return SignalMap(name, field, factor, scale, offset, values, frozenset(absent), page)

    def _message(self, message: DbcMessage, found: list[SignalMap], row: dict[str, Any]) -> MessageMap:
        where = f"messages.{message.name}"
        self._check_keys(row, _MESSAGE_KEYS, f"{where}.")
        fields: dict[str, Field | None] = {"checksum": None, "counter": None}
        for key in fields:
            if key in row:
                fields[key] = _field(self._find(message, row[key], f"{where}.{key}"), message)
        checksum = fields["checksum"]
        if checksum is not None:
            if row.get("checksum_kind") not in CHECKSUMS:
                raise self._wrong(f"{where}.checksum_kind", f"one of {', '.join(CHECKSUMS)}", row.get("checksum_kind"))
            if checksum.bits != 8 or checksum.shift % 8 or not checksum.is_little:
                raise self._wrong(f"{where}.checksum", "a signal of one whole byte", row["checksum"])
        extended = bool(message.is_extended_frame)
        return MessageMap(
            message.name, message.frame_id, extended, message.length, checksum, fields["counter"], tuple(found)
        )

    def _find(self, message: DbcMessage, name: Any, where: str) -> DbcSignal:
        for each in message.signals:
            if each.name == name:
                if each.is_float:
                    raise self._wrong(where, "an integer signal", f"{name} (floating point)")
                return each
        raise self._wrong(where, f"a signal of {message.name}", name)

    def _values(self, table: Any, name: str, where: str) -> dict[int, Value]:
        if not isinstance(table, dict):
            raise self._wrong(where, "a table from raw numbers to values", table)
        values: dict[int, Value] = {}
        for raw, value in table.items():
            if not raw.lstrip("-").isdigit() or not SIGNALS[name].accepts(value):
                raise self._wrong(where, f"raw numbers to values that {name} can have", {raw: value})
            values[int(raw)] = float(value) if SIGNALS[name].kind is float else value
        return values

    def _number(self, value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._wrong(where, "a number", value)
        return float(value)

    def _check_keys(self, tree: Mapping[str, Any], known: set[str], prefix: str) -> None:
        for key in tree:
            if key not in known:
                raise SourceError(f"{self._path}: {prefix}{key} is not a key; there are: {', '.join(sorted(known))}")

    def _wrong(self, where: str, expected: str, got: Any) -> SourceError:
        return SourceError(f"{self._path}: {where} must be {expected}, got {got!r}")


_LINEAR = (("scale", 1.0), ("offset", 0.0))


def _read_dbc(path: Path) -> list[DbcMessage]:
    try:
        text = path.read_text(encoding="cp1252")  # what DBC editors write
    except FileNotFoundError as error:
        raise SourceError(f"there is no DBC {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the DBC {path} cannot be read: {error}") from error
    try:
        database = cantools.database.load_string(text, database_format="dbc", strict=True)
    except Exception as error:
        raise SourceError(f"the DBC {path} is damaged: {error}") from error
    messages: list[DbcMessage] = database.messages  # type: ignore[union-attr]
    return messages


def _field(signal: DbcSignal, message: DbcMessage) -> Field:
    if signal.byte_order == "little_endian":
        shift = signal.start
    else:  # `start` is the most significant bit, counted as DBC does it: byte * 8 + bit, bit 7 first
        from_left = signal.start // 8 * 8 + 7 - signal.start % 8
        shift = message.length * 8 - from_left - signal.length
    low = -math.inf if signal.minimum is None else float(signal.minimum)
    high = math.inf if signal.maximum is None else float(signal.maximum)
    return Field(
        signal.name,
        signal.byte_order == "little_endian",
        shift,
        signal.length,
        bool(signal.is_signed),
        float(signal.scale),
        float(signal.offset),
        low,
        high,
    )
