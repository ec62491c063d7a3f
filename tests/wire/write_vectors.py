"""Writes vectors/*.json and the made parts of PROTOCOL.md: `python -m tests.wire.write_vectors`.

A changed line in a vector is a changed protocol.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack

from runtime.wire import document
from runtime.wire.framing import frame
from tests.wire.samples import MESSAGES
from tests.wire.transcript import record

VECTORS = Path(__file__).parent / "vectors"
PROTOCOL = Path(document.__file__).parent / "PROTOCOL.md"
EXAMPLES = (
    "hello",
    "hello answer",
    "credit",
    "frame part, raw",
    "act with a precondition",
    "act result, refused",
    "bye",
)


def plain(value: Any) -> Any:
    """Returns what an independent decoder reads, as JSON: bytes become {"hex": …}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def messages() -> list[dict[str, Any]]:
    made = []
    for name, message in MESSAGES.items():
        data = bytes(frame(message))
        made.append({"name": name, "bytes": data.hex(), "payload": plain(msgpack.unpackb(data[4:]))})
    return made


def write(name: str, rows: list[dict[str, Any]]) -> None:
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (VECTORS / name).write_text(f"[\n{text}\n]\n")


def examples() -> str:
    """Returns some messages as bytes, and what an independent decoder reads in them."""
    blocks = []
    for row in messages():
        if row["name"] in EXAMPLES:
            payload = json.dumps(row["payload"], ensure_ascii=False)
            blocks.append(f"{row['name']}\n  {row['bytes'][:8]} {row['bytes'][8:]}\n  {payload}")
    return "```\n" + "\n\n".join(blocks) + "\n```"


def protocol() -> str:
    """Returns PROTOCOL.md with every made section as the code has it now."""
    text = PROTOCOL.read_text()
    for name, made in {**document.sections(), "examples": examples()}.items():
        begin, end = f"<!-- made: {name} -->\n", "<!-- end -->"
        assert text.count(begin) == 1, f"PROTOCOL.md has {text.count(begin)} sections {name!r}"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{made}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    VECTORS.mkdir(exist_ok=True)
    write("messages.json", messages())
    write("session.json", record())
    PROTOCOL.write_text(protocol())
