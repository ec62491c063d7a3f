"""What was seen and done on a desktop: one JSON object a line, each bound to the one before it, sealed by a signature.

    {"n": 7, "prev": <hash of line 6>, "at_ns": …, "event": "action", …, "hash": <SHA-256 of all the rest>}
    {"n": 8, …, "event": "seal", "signature": <Ed25519 over the hash of line 7>, …}

Nothing can be changed, left out or moved before a seal without `verify` saying where. Texts that were typed are not in
it, nor pixels: a frame is named by the hash of its keyed tile hashes. Pictures, if the owner wants them, are files
beside it whose SHA-256 stands in the line (pictures.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from runtime.desktop.errors import LogError

LOG_FILE, KEY_FILE = "log.jsonl", "log.key"
_FIRST = "0" * 64
_SEAL = "seal"
_SEALED_AFTER = frozenset({"session_closed", "session_refused", "released"})


@dataclass(frozen=True, slots=True)
class Verified:
    """A log that holds together: how many records it has, how many of them are sealed, and by which key (hex)."""

    records: int
    sealed: int
    key: str


class SessionLog:
    """Appends to the log in `folder`, with its key (made on first use, mode 0600); `append` takes a connector's events.

    Raises LogError if the folder cannot be written or the log that is there does not hold together.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / LOG_FILE
        self._key = _load_or_make_key(Path(folder) / KEY_FILE)
        self.public_key = _public_hex(self._key.public_key())
        torn = cut_torn_line(self.path)
        self._number, self._previous = 0, _FIRST
        if self.path.exists():
            for record in read_log(self.path):
                self._number, self._previous = record["n"], record["hash"]
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LogError(
                f"{self.path} cannot be written: {error.strerror}", next_step="free or name its folder"
            ) from error
        if torn:
            self.append({"event": "torn", "bytes": torn})

    def append(self, event: dict[str, Any]) -> None:
        """Adds one event (JSON-able); ends of sessions are sealed and on the disk when this returns."""
        self._write(event)
        if event.get("event") in _SEALED_AFTER:
            self.seal()

    def seal(self) -> None:
        """Signs everything so far and puts it on the disk."""
        signature = self._key.sign(bytes.fromhex(self._previous))
        self._write({"event": _SEAL, "signature": base64.b64encode(signature).decode(), "key": self.public_key})
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Seals the log and lets it go."""
        self.seal()
        os.close(self._descriptor)

    def _write(self, event: dict[str, Any]) -> None:
        record = {"n": self._number + 1, "prev": self._previous, **event}
        record["hash"] = hash_of(record)
        data = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        written = os.write(self._descriptor, data)
        if written != len(data):
            raise LogError(f"{self.path}: {written} of {len(data)} bytes could be written", next_step="free its disk")
        self._number, self._previous = record["n"], record["hash"]


def hash_of(record: dict[str, Any]) -> str:
    """Returns the hash that binds `record`: SHA-256 over its fields, sorted, without the hash itself."""
    rest = {key: value for key, value in record.items() if key != "hash"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def read_log(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yields the records of a log, each checked against the one before. Raises LogError at the first that is wrong."""
    previous = _FIRST
    for number, line in enumerate(_lines(path), 1):
        where = f"{os.fspath(path)}, record {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise LogError(f"{where} is not JSON: {error}") from error
        if not isinstance(record, dict) or record.get("n") != number or record.get("prev") != previous:
            raise LogError(f"{where} does not follow the record before it: one was left out, moved or changed")
        if record.get("hash") != hash_of(record):
            raise LogError(f"{where} was changed: its hash is not that of its content")
        previous = record["hash"]
        yield record


def verify(path: str | os.PathLike[str], key: str | None = None) -> Verified:
    """Checks the whole log and every seal, by `key` (hex) or by the key that the first seal names.

    Raises LogError with the record that is wrong.
    """
    records = sealed = 0
    previous, known = _FIRST, key
    for record in read_log(path):
        records += 1
        if record["event"] == _SEAL:
            known = known or str(record.get("key"))
            try:
                public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(known))
                public.verify(base64.b64decode(str(record.get("signature"))), bytes.fromhex(previous))
            except (InvalidSignature, ValueError) as error:
                raise LogError(
                    f"{os.fspath(path)}, record {records}: the seal is not by the key {known[:16]}…"
                ) from error
            sealed = records
        previous = record["hash"]
    return Verified(records, sealed, known or "")


def cut_torn_line(path: Path) -> int:
    """Cuts a last line that a power failure left unfinished. Returns how many bytes that were."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    return len(data) - whole


def _lines(path: str | os.PathLike[str]) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{os.fspath(path)} cannot be read: {error}") from error


def _load_or_make_key(path: Path) -> Ed25519PrivateKey:
    try:
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(made.private_bytes(serialization.Encoding.PEM, *form))
                file.flush()
                os.fsync(file.fileno())
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise LogError(f"the log's key {path} cannot be used: {error}", next_step="restore it from a backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise LogError(f"the log's key {path} is not an Ed25519 key", next_step="restore it from a backup")
    return key


def _public_hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
