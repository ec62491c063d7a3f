"""Logs: their two forms, and what they never show."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from runtime.telemetry.logs import FIELDS, ROOT, HumanFormatter, JsonFormatter, configure_logs

log = logging.getLogger("idlehands.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    logger = logging.getLogger(ROOT)
    before = logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions
    yield
    logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before


def logged(formatter: logging.Formatter, message: str, **extra: object) -> str:
    record = log.makeRecord("idlehands.test", logging.INFO, "f", 1, message, (), None, extra=extra)
    return formatter.format(record)


def test_json_has_a_line_an_event() -> None:
    stream = io.StringIO()
    configure_logs("info", stream)
    log.info("job %s handed back", "j1", extra={"job": "j1", "reasons": ("speed", "gear"), "seconds": 1.5})
    log.debug("not shown")
    log.warning("late")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.pop("at").endswith("Z")
    assert first == {
        "level": "info",
        "name": "test",
        "says": "job j1 handed back",
        "job": "j1",
        "reasons": ["speed", "gear"],
        "seconds": 1.5,
    }
    assert second["level"] == "warning"


def test_what_was_seen_or_typed_is_withheld() -> None:
    said = logged(JsonFormatter(), "x", typed="hunter2", error=b"\x00pixels", instruction="pay Ann", job="j")
    assert "hunter2" not in said
    assert "pixels" not in said
    assert "pay Ann" not in said
    assert json.loads(said)["typed"] == "withheld"
    assert json.loads(said)["job"] == "j"
    assert not FIELDS & {"text", "typed", "instruction", "answer", "token", "frame", "pixels", "password"}


def test_long_fields_are_cut() -> None:
    assert len(logged(JsonFormatter(), "x", error="e" * 10**6)) < 2000


def test_a_person_gets_one_line_that_cannot_be_forged() -> None:
    said = logged(HumanFormatter(), "a\nb\x1b[31m", job="j\n12:00:00 error")
    assert said.count("\n") == 0
    assert "\x1b" not in said
    assert "info    test: a\\nb" in said


def test_an_exception_comes_with_its_trace() -> None:
    stream = io.StringIO()
    configure_logs("error", stream)
    try:
        raise RuntimeError("broke")
    except RuntimeError:
        log.exception("stopped")
    told = json.loads(stream.getvalue())
    assert "RuntimeError: broke" in told["trace"]


def test_a_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logs("info", first)
    configure_logs("info", second)
    log.info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_a_stream_that_fails_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    configure_logs("info", stream)
    stream.close()
    log.info("into the void")
    assert capsys.readouterr().err == ""


def test_the_journal_gets_priorities() -> None:
    assert logged(JsonFormatter(for_journald=True), "x").startswith('<6>{"at"')


def test_an_unknown_level() -> None:
    with pytest.raises(ValueError, match="debug, info"):
        configure_logs("loud")
