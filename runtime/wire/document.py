"""The tables of PROTOCOL.md, rendered from the code that they describe; a test holds the two together."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from msgspec import inspect as types

from runtime.wire import session_car, session_desktop
from runtime.wire.actions import ACTIONS, INPUTS
from runtime.wire.inflate import WINDOW_LOG
from runtime.wire.messages import (
    FROM_CAR,
    FROM_DESKTOP,
    MAX_CREDIT,
    MAX_PIXELS,
    MAX_TILES,
    MESSAGE_CAP,
    MESSAGES,
    REQUEST_CAP,
)
from runtime.wire.seen import SEEN_BYTES
from runtime.wire.session import HEARTBEAT_NS, HELLO_NS, MAX_UNANSWERED, MS, SILENCE_NS, STALL_NS
from runtime.wire.session_desktop import MAX_MESSAGES_A_SECOND
from runtime.wire.tables import CloseReason, Encoding, Numbered, Outcome, Refusal
from runtime.wire.tiles import MAX_PART_BYTES


def sections() -> dict[str, str]:
    """Returns every generated section of PROTOCOL.md by its name."""
    return {
        "messages": messages(),
        "actions": actions(),
        "outcomes": numbers(Outcome),
        "refusals": numbers(Refusal),
        "close reasons": numbers(CloseReason),
        "encodings": numbers(Encoding),
        "limits": limits(),
        "chart of the car": chart(session_car.__doc__),
        "chart of the desktop": chart(session_desktop.__doc__),
    }


def messages() -> str:
    rows = ["| number | message | from | what it says |", "|---|---|---|---|"]
    for number, message in sorted(MESSAGES.items()):
        sides = [name for name, side in (("car", FROM_CAR), ("desktop", FROM_DESKTOP)) if message in side]
        rows.append(f"| {number} | {message.__name__} | {', '.join(sides)} | {first_line(message)} |")
    return "\n".join(rows) + "\n\n" + "\n".join(fields(message) for _, message in sorted(MESSAGES.items()))


def actions() -> str:
    rows = ["| number | action | fields | done by |", "|---|---|---|---|"]
    for action in ACTIONS:
        named = ", ".join(f"{field.encode_name}: {form(field.type)}" for field in struct(action).fields)
        by = "the desktop" if action in INPUTS else "the car; never sent"
        rows.append(f"| {struct(action).tag} | {action.__name__} | {named} | {by} |")
    return "\n".join(rows)


def fields(message: type[msgspec.Struct]) -> str:
    """Returns the fields of one message, in their order on the wire."""
    rows = [
        f"**{struct(message).tag} {message.__name__}**",
        "",
        "| field | form | when it is left out |",
        "|---|---|---|",
    ]
    for field in struct(message).fields:
        missing = "" if field.required else f"`{plain(field)}`"
        rows.append(f"| {field.encode_name} | {form(field.type)} | {missing} |")
    return "\n".join(rows) + "\n"


def numbers(table: type[Numbered]) -> str:
    rows = ["| number | name | meaning |", "|---|---|---|"]
    return "\n".join(rows + [f"| {int(member)} | {member.name} | {member.meaning} |" for member in table])


def limits() -> str:
    said = {
        "a message to a car": f"{MESSAGE_CAP} bytes",
        "a message to a desktop": f"{REQUEST_CAP} bytes",
        "a screen": f"{MAX_PIXELS} pixels",
        "a frame part": f"{MAX_TILES} records, {MAX_PART_BYTES} bytes of pixels as B G R x",
        "the window of a zstd stream": f"{1 << WINDOW_LOG} bytes",
        "the memory of seen tiles": f"{SEEN_BYTES} bytes of pixels as B G R x",
        "frames on credit": str(MAX_CREDIT),
        "actions that await their result": str(MAX_UNANSWERED),
        "messages of a car": f"{MAX_MESSAGES_A_SECOND} a second",
        "a heartbeat": f"every {HEARTBEAT_NS // MS} ms",
        "silence": f"{SILENCE_NS // MS} ms, then the session ends and every key is released",
        "the hello's answer": f"within {HELLO_NS // MS} ms",
        "one message, first to last byte, at a car": f"{STALL_NS // MS} ms",
    }
    return "\n".join(["| what | limit |", "|---|---|", *(f"| {what} | {limit} |" for what, limit in said.items())])


def chart(doc: str | None) -> str:
    """Returns the indented picture of a module's docstring."""
    lines = (doc or "").splitlines()
    picture = [line for line in lines[1:] if line.startswith("    ") or not line]
    return "```\n" + "\n".join(picture).strip("\n") + "\n```"


def first_line(message: type) -> str:
    return (inspect.getdoc(message) or "").splitlines()[0]


def struct(kind: type[msgspec.Struct]) -> types.StructType:
    found = types.type_info(kind)
    assert isinstance(found, types.StructType)
    return found


def plain(field: types.Field) -> str:
    default = field.default
    return str(int(default) if isinstance(default, Numbered) else default).replace("None", "nil") or "''"


def form(kind: Any) -> str:
    """Returns how a value of `kind` looks in MessagePack, with its limits."""
    if isinstance(kind, types.Metadata):
        return form(kind.type)
    if isinstance(kind, types.IntType):
        return f"int {_range(kind.ge, kind.le)}"
    if isinstance(kind, types.StrType):
        return f"str {_range(kind.min_length or 0, kind.max_length)} characters"
    if isinstance(kind, types.BytesType | types.MemoryViewType):
        if kind.min_length is not None and kind.min_length == kind.max_length:
            return f"bin {kind.min_length} bytes"
        return "bin" if kind.max_length is None else f"bin {_range(kind.min_length or 0, kind.max_length)} bytes"
    if isinstance(kind, types.EnumType):
        return f"int ({kind.cls.__name__})"
    if isinstance(kind, types.BoolType):
        return "bool"
    if isinstance(kind, types.NoneType):
        return "nil"
    if isinstance(kind, types.TupleType):
        return f"[{', '.join(form(item) for item in kind.item_types)}]"
    if isinstance(kind, types.VarTupleType):
        return f"[{form(kind.item_type)}, …] {_range(kind.min_length or 0, kind.max_length)}"
    if isinstance(kind, types.StructType):
        inner = ", ".join(f"{field.encode_name}: {form(field.type)}" for field in kind.fields)
        return f"[{inner}]"
    if isinstance(kind, types.UnionType):
        structs = [one for one in kind.types if isinstance(one, types.StructType)]
        if len(structs) == len(ACTIONS):
            return "an action"
        return " or ".join(form(one) for one in kind.types)
    raise TypeError(f"no form for {kind!r}")


def _range(low: int | None, high: int | None) -> str:
    shown = {2**63 - 1: "2⁶³−1"}
    return f"{low}…{shown.get(high or 0, high)}"
