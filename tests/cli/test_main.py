"""The command line: --help teaches, errors are one line with exit code 2, no verb is imported for --help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli.catalogue import catalogue
from runtime.cli.main import VERBS
from runtime.cli.options import overrides_of

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)


def test_help_lists_every_verb() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    assert all(verb in shown.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str) -> None:
    shown = run(verb, "--help")
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) > 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("status", "--set", "daemon.runtime_folder=/nowhere"), "no daemon answers"),
        (("status", "--config", "/nowhere.toml"), "there is no settings file /nowhere.toml"),
        (("serve", "--set", "worker.hold=1"), "did you mean hold_s?"),
        (("serve", "--set", "worker.threads=0"), "from 1 to 64"),
        (("serve", "--set", "worker.threads"), "KEY=VALUE"),
        (("submit", "/nowhere.toml"), "there is no job file"),
        (("submit", "--desktop", "http://x", "--instruction", "i"), "desktop must be"),
        (("submit", "--desktop", "tls://127.0.0.1:1"), "instruction is missing"),
        (("why", "--at", "yesterday"), "is no time"),
        (("no-such-verb",), "No such command"),
        (("demo", "--episodes", "0"), "not in the range"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], says: str) -> None:
    shown = run(*arguments)
    assert shown.returncode == 2
    assert says in shown.stderr
    assert "Traceback" not in shown.stderr
    if shown.stderr.startswith("idlehands:"):
        assert len(shown.stderr.strip().splitlines()) == 1


def test_a_set_value_is_toml_or_a_bare_word() -> None:
    given = overrides_of(["a.b=2", "c=true", "d=/tmp/x", 'e="quoted"', "f=1.5"])
    assert given == {"a.b": 2, "c": True, "d": "/tmp/x", "e": "quoted", "f": 1.5}


def test_the_error_catalogue_is_the_code_s() -> None:
    kept = (ROOT / "docs" / "ERRORS.md").read_text()
    assert kept == catalogue(), "run: idlehands doctor --errors > docs/ERRORS.md"


def test_every_error_tells_its_cause() -> None:
    for line in catalogue().splitlines():
        if line.startswith("| `"):
            cause = line.split("|")[2].strip()
            assert len(cause.split()) >= 4, f"no cause: {line}"
