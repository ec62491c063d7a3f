"""Structured logs on standard error: JSON for journald and collectors, one readable line for a person at a terminal.

    log = logging.getLogger("idlehands.daemon")
    log.info("job handed back", extra={"job": claim.job, "reason": "speed"})

    {"at":"2031-05-01T10:00:00.123456Z","level":"info","name":"daemon","says":"job handed back","job":"6f…",…}
    10:00:00.123 info    daemon: job handed back  job=6f… reason=speed

Nothing that was seen or typed may be logged. So fields are an allow-list, and bytes are never shown: a field that is
not on the list appears as "withheld", which a test and a reader both notice.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import datetime, timezone
from typing import Any, TextIO

import msgspec

ROOT = "idlehands"
TEXT_CAP = 1000  # characters of one field
# fmt: off
FIELDS = frozenset({
    "actions", "address", "agent", "attempts", "build_id", "bytes", "code", "count", "error",
    "gate_epoch", "job", "joules", "kind", "model", "ms", "outcome", "owner", "owner_epoch", "path",
    "peer", "pid", "reason", "reasons", "refusal", "seconds", "seq", "session", "signal", "state",
    "threads", "url", "us", "version", "worker",
})
# fmt: on
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What journald reads at the start of a line (sd-daemon(3)): so that `journalctl -p warning` works.
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def configure_logs(level: str, stream: TextIO | None = None) -> None:
    """Sends the package's logs of at least `level` to `stream` (standard error). May be called again.

    Raises ValueError for a level that is none of debug, info, warning, error.
    """
    if level not in ("debug", "info", "warning", "error"):
        raise ValueError(f"a log level is debug, info, warning or error, got {level!r}")
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    handler.setFormatter(HumanFormatter() if out.isatty() else JsonFormatter(for_journald=_is_journal(out)))
    logger = logging.getLogger(ROOT)
    for old in logger.handlers[:]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.raiseExceptions = False  # a log that cannot be written must not end, or talk over, what it is about


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, *, for_journald: bool = False) -> None:
        super().__init__()
        self._for_journald = for_journald

    def format(self, record: logging.LogRecord) -> str:
        level = _level(record)
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="microseconds")
        told = {
            "at": at.replace("+00:00", "Z"),
            "level": level,
            "name": _name(record),
            "says": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        line = msgspec.json.encode(told).decode()
        return f"<{_PRIORITIES[level]}>{line}" if self._for_journald else line


class HumanFormatter(logging.Formatter):
    """One line for a person; what the JSON form has, in local time."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(f"{name}={value}" for name, value in fields_of(record).items())
        says = _one_line(record.getMessage())
        line = f"{at} {_level(record):7} {_name(record)}: {says}" + (f"  {_one_line(fields)}" if fields else "")
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Returns a record's extra fields as they may be shown."""
    return {name: _shown(name, value) for name, value in vars(record).items() if name not in _OWN}


def _shown(name: str, value: Any) -> Any:
    if name not in FIELDS or isinstance(value, bytes | bytearray | memoryview):
        return "withheld"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(name, part) for part in list(value)[:20]]
    text = str(value)
    return text if len(text) <= TEXT_CAP else text[:TEXT_CAP] + "…"


def _level(record: logging.LogRecord) -> str:
    name = record.levelname.lower()
    return name if name in _PRIORITIES else "info"


def _name(record: logging.LogRecord) -> str:
    return record.name.removeprefix(ROOT + ".")


def _one_line(text: str) -> str:
    """Returns `text` without what could forge a line or drive a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _is_journal(stream: TextIO) -> bool:
    """Returns whether `stream` is the journal: JOURNAL_STREAM has its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
