"""Writes vectors/*.json anew: `python -m tests.wire.write_vectors`. A changed line there is a changed protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack

from runtime.wire.framing import frame
from tests.wire.samples import MESSAGES
from tests.wire.transcript import record

VECTORS = Path(__file__).parent / "vectors"


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


if __name__ == "__main__":
    VECTORS.mkdir(exist_ok=True)
    write("messages.json", messages())
    write("session.json", record())
