"""Run under LD_PRELOAD by test_bundle.py: a fault at every write of packing and of signing a bundle."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from runtime.store.bundle import pack, sign, verify
from runtime.store.errors import UntrustedBundle
from runtime.store.keys import SigningKey, TrustedKeys
from tests.faults.attack import Ended, Mode, attack
from tests.store.made import DESCRIPTION, a_bundle, a_source

MODE, OPERATION, FORM = Mode[sys.argv[1]], sys.argv[2], sys.argv[3]
MADE = Path(tempfile.mkdtemp())
KEY = SigningKey.create(MADE / "key")
TRUSTED = TrustedKeys([KEY.public])
SOURCE = a_source(MADE / "source")
UNSIGNED = a_bundle(MADE, None, form=FORM)


def prepare(folder: Path) -> None:
    if OPERATION == "sign":
        (shutil.copytree if UNSIGNED.is_dir() else shutil.copyfile)(UNSIGNED, folder / FORM)


def act(folder: Path) -> None:
    if OPERATION == "sign":
        sign(folder / FORM, KEY)
    else:
        pack(SOURCE, folder / FORM, description=DESCRIPTION)


def check(folder: Path, ended: Ended) -> None:
    made = folder / FORM
    if OPERATION == "pack":
        if made.exists():
            sign(made, KEY)  # which reads every byte of it
            verify(made, TRUSTED)
        else:
            assert ended is not Ended.done
        return
    try:
        verify(made, TRUSTED)
    except UntrustedBundle:
        assert ended is not Ended.done
        sign(made, KEY)
        verify(made, TRUSTED)


print(attack(MODE, prepare, act, check))
