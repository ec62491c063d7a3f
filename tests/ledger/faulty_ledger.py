"""Run under LD_PRELOAD by test_ledger.py: a fault at every write while runs are booked over a change of segment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from runtime.ledger.audit import read_entries, verify, waiting
from runtime.ledger.entry import Entry
from runtime.ledger.ledger import Ledger, LedgerError
from runtime.ledger.receipt import Receipt, countersign
from tests.faults.attack import Ended, Mode, attack
from tests.ledger.car import FLEET_KEY, KEY, a_run

MODE = Mode[sys.argv[1]]


def book(ledger: Ledger, number: int) -> None:
    receipt = Receipt(entry=ledger.append(a_run(number)))
    os.mkfifo(ledger.folder.parent / str(number))
    ledger.keep(countersign(receipt, FLEET_KEY, number))
    os.mkfifo(ledger.folder.parent / f"answered-{number}")


def prepare(folder: Path) -> None:
    ledger = Ledger(folder / "ledger", KEY, segment_bytes=900)
    book(ledger, 1)
    ledger.close()
    with open(folder / "ledger" / "000001.jsonl", "ab") as out:
        out.write(b'{"n":2,"torn')


def act(folder: Path) -> None:
    ledger = Ledger(folder / "ledger", KEY, segment_bytes=900)
    errors = 0
    for number in range(2, 7):
        try:
            book(ledger, number)
        except LedgerError:
            errors += 1  # the daemon goes on, and so does the ledger
    ledger.close()
    if errors:
        raise LedgerError(f"{errors} were not booked")


def check(folder: Path, ended: Ended) -> None:
    fifos = [path.name for path in folder.iterdir() if path.is_fifo()]
    said = {int(name) for name in fifos if name.isdecimal()}
    answered = {int(name.removeprefix("answered-")) for name in fifos if name.startswith("answered-")}
    Ledger(folder / "ledger", KEY, segment_bytes=900).close()
    verdict = verify(folder / "ledger")
    assert verdict.is_whole, verdict.damages
    booked = [entry.actions for entry in read_entries(folder / "ledger") if isinstance(entry, Entry)]
    assert said <= set(booked), (said, booked)
    assert len(booked) == len(set(booked)), booked
    waits = {receipt.entry.actions for receipt in waiting(folder / "ledger")}
    assert not waits & answered, "an answer that was kept is kept"
    assert verdict.countersigned >= len(answered)
    if ended is Ended.told and MODE is Mode.io:
        assert len(said) >= 4 or not said - {1}, said  # one fault costs one entry, or the opening
    if ended is Ended.done:
        assert sorted(booked) == [1, 2, 3, 4, 5, 6]
        torn = [path.read_bytes() for path in (folder / "ledger").glob("torn-*")]
        assert torn == [b'{"n":2,"torn']


if __name__ == "__main__":
    print(attack(MODE, prepare, act, check))
