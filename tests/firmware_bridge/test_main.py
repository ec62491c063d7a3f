"""The bridge's own command line: one line and exit code 2 for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.main import main
from firmware_bridge.policy_settings import Policy
from firmware_bridge.settings import parse


def test_policy_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--policy-template"]) == 0
    assert parse(capsys.readouterr().out, Policy) == Policy()


def test_help_lists_the_sources(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "trace:FILE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no signal source"),
        (["--source", "x:y", "--policy-file", "runtime/demo/policy.toml"], "no scheme is called 'x'"),
        (["--source", "trace:/none", "--policy-file", "runtime/demo/policy.toml"], "there is no trace /none"),
        (["--evaluate-every-ms", "50"], "evaluate_every_ms must be a number from 1 to 20 ms, got 50.0"),
        (["--settings", "/none.toml"], "there is no settings file"),
        (["--source", "trace:x", "--policy-file", "/none"], "there is no settings file /none"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_example_policy_is_the_template() -> None:
    text = (Path(__file__).parents[2] / "examples/policy.toml").read_text()
    assert parse(text, Policy) == Policy()
    from firmware_bridge.settings import template

    assert text.endswith(template(Policy))
