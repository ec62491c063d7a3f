"""The journal: fences outlive everything, an action is never forgotten half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.desktop.errors import StateFolderError
from runtime.desktop.journal import _BOOT_AT, _CLOSED_AT, JOURNAL_FILE, LOST_SEQS, SLOTS, JobRecord, Journal
from runtime.desktop.protocol import Mark, Phase, Step
from runtime.wire.tables import Outcome, Refusal


def reopened(journal: Journal, folder: Path) -> Journal:
    journal.close()
    return Journal(folder)


def test_a_job_that_was_never_here_has_no_record(tmp_path: Path) -> None:
    assert Journal(tmp_path).record("job") == JobRecord()


def test_what_was_settled_is_known_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.advance("job", 3)
    journal.begin("job", 1)
    journal.finish("job", 1, Outcome.applied)
    journal.begin("job", 2)
    journal.finish("job", 2, Outcome.refused, Refusal.changed_pixels)
    again = reopened(journal, tmp_path)
    assert again.record("job") == JobRecord(3, 2, Outcome.refused, Refusal.changed_pixels)
    assert again.step("job", 1) == Step(again.journal_id, again.step("job", 2).job, 1)


def test_an_older_owner_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.advance("job", 5)
    with pytest.raises(ValueError, match="older"):
        journal.advance("job", 4)
    assert journal.record("job").owner_epoch == 5


def test_a_new_owner_keeps_the_last_action(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.advance("job", 1)
    journal.begin("job", 9)
    journal.finish("job", 9, Outcome.applied)
    journal.advance("job", 2)
    assert journal.record("job") == JobRecord(2, 9, Outcome.applied)


@pytest.mark.parametrize("seq", [0, 4, 5])
def test_a_seq_is_begun_once(tmp_path: Path, seq: int) -> None:
    journal = Journal(tmp_path)
    journal.advance("job", 1)
    journal.begin("job", 5)
    with pytest.raises(ValueError, match="seq"):
        journal.begin("job", seq)


@pytest.mark.parametrize(
    ("mark", "outcome", "refusal"),
    [
        (lambda step: Mark(step, Phase.ENDED), Outcome.applied, Refusal.none),
        (lambda step: Mark(step, Phase.BEGUN), Outcome.unknown, Refusal.none),
        (lambda step: Mark(Step(step.journal, step.job, step.seq - 1), Phase.ENDED), Outcome.refused, Refusal.failed),
        (lambda step: Mark(Step(step.journal, 0, 0), Phase.ENDED), Outcome.refused, Refusal.failed),
        (lambda step: Mark(Step(step.journal + 1, step.job, step.seq), Phase.ENDED), Outcome.unknown, Refusal.none),
        (lambda step: None, Outcome.unknown, Refusal.none),
    ],
)
def test_the_mark_of_the_desktop_settles_what_was_in_progress(
    tmp_path: Path, mark: object, outcome: Outcome, refusal: Refusal
) -> None:
    journal = Journal(tmp_path)
    journal.advance("job", 1)
    step = journal.begin("job", 5)
    again = reopened(journal, tmp_path)
    assert again.record("job").is_in_progress
    assert again.settle(mark(step)) == 1  # type: ignore[operator]
    assert again.record("job") == JobRecord(1, 5, outcome, refusal)
    assert again.settle(None) == 0


def test_a_killed_process_leaves_its_action_in_progress(tmp_path: Path) -> None:
    program = (
        "import sys, time; from runtime.desktop.journal import Journal\n"
        "j = Journal(sys.argv[1]); j.advance('job', 2); j.begin('job', 1); j.finish('job', 1, 1); j.begin('job', 2)\n"
        "print('now', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        os.kill(process.pid, signal.SIGKILL)
    assert Journal(tmp_path).record("job") == JobRecord(2, 2, Outcome.unknown, Refusal.none, True)


def test_after_a_power_failure_no_seq_is_used_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.advance("job", 1)
    journal.begin("job", 5)
    journal.finish("job", 5, Outcome.applied)
    journal.close()
    with open(tmp_path / JOURNAL_FILE, "r+b") as file:
        file.seek(_BOOT_AT)
        file.write(b"another!")
    journal = Journal(tmp_path)
    assert journal.record("job").last_outcome is Outcome.applied  # it was closed: the disk has everything
    journal.close()
    with open(tmp_path / JOURNAL_FILE, "r+b") as file:
        file.seek(_BOOT_AT)
        file.write(b"another!")
        file.seek(_CLOSED_AT)
        file.write(bytes(8))
    assert Journal(tmp_path).record("job") == JobRecord(1, 5 + LOST_SEQS, Outcome.unknown)


def test_the_job_used_least_recently_is_forgotten_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(SLOTS):
        journal.advance(f"job {number}", 1)
    journal.advance("job 0", 1)
    journal.advance("one more", 1)
    assert journal.record("job 0").owner_epoch == 1
    assert journal.record("job 1") == JobRecord()


def test_a_second_connector_on_the_folder_is_refused(tmp_path: Path) -> None:
    held = Journal(tmp_path)
    with pytest.raises(StateFolderError, match="held by another"):
        Journal(tmp_path)
    held.close()


@pytest.mark.parametrize("content", [b"x", b"\1" * 65600])
def test_a_damaged_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / JOURNAL_FILE).write_bytes(content)
    with pytest.raises(StateFolderError, match="journal"):
        Journal(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateFolderError, match="cannot be used"):
        Journal(tmp_path / "file" / "state")
