"""The canaries of one car, beside its models: canaries/<name>.json, each replaced whole. The daemon tells them of jobs.

Whoever writes holds the folder's lock: the daemon for each job that ended, the command line to start and end trials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from runtime.store.canary import CANARY, STABLE, Limits, Trial, Verdict, judge
from runtime.store.errors import ModelNotFound, StoreError, StoreUnusable
from runtime.store.files import disk_errors, sole_writer, write_atomically
from runtime.store.models import ModelStore


class TrialError(StoreError):
    """A canary cannot be started, or there is none."""

    next_step = "`idlehands model canary status` shows those that are there"


class Trials:
    """The trials in the folder `canaries` of a store. `clock` gives UTC in ns."""

    def __init__(self, store: ModelStore, clock: Callable[[], int] = time.time_ns) -> None:
        self._store, self._clock = store, clock
        self.folder = store.root / "canaries"

    def start(self, name: str, version: str, share_permille: int, limits: Limits) -> Trial:
        """Gives `version`, which is installed and not active, a share of the jobs of model `name` from now on.

        Raises ModelNotFound, TrialError, StoreUnusable.
        """
        stable = self._store.get(name).manifest.version
        canary = self._store.get(name, version).manifest.version
        if stable == canary:
            raise TrialError(
                f"model '{name}' has {version} active already", next_step="install a canary with --no-activate"
            )
        with self._writing():
            known = self._read(name)
            if known is not None and not known.ended:
                raise TrialError(f"model '{name}' has a canary already: {known.canary}", next_step="stop it first")
            trial = Trial(
                name=name,
                stable=stable,
                canary=canary,
                share_permille=share_permille,
                limits=limits,
                began_ns=self._clock(),
            )
            self._write(trial)
        return trial

    def end(self, name: str, why: str) -> Trial:
        """Ends a trial: no job more is given the canary. Raises TrialError."""
        with self._writing():
            trial = self.get(name)
            trial.ended = trial.ended or why
            self._write(trial)
        return trial

    def promote(self, name: str) -> Trial:
        """Ends a trial and makes the canary the active version. Raises TrialError, ModelNotFound."""
        trial = self.get(name)
        self._store.activate(name, trial.canary)
        return self.end(name, "promoted")

    def get(self, name: str) -> Trial:
        """Returns the last trial of a model. Raises TrialError if there was none."""
        trial = self._read(name)
        if trial is None:
            raise TrialError(f"model '{name}' has no canary")
        return trial

    def all(self) -> list[Trial]:
        """Returns the last trial of every model that had one."""
        return [self.get(path.stem) for path in sorted(self.folder.glob("*.json")) if not path.name.startswith(".")]

    def version_of(self, name: str, job: str) -> str:
        """Returns the version that `job` is given where a trial runs, else "". A canary that is gone is none."""
        trial = self._read(name)
        if trial is None or trial.ended:
            return ""
        try:
            active = self._store.get(name).manifest.version
            self._store.get(name, trial.canary)
        except ModelNotFound:
            return ""
        return trial.version_of(job) if active == trial.stable else ""

    def tell(self, name: str, version: str, *, is_done: bool, actions: int, seconds: float, joules: float) -> Verdict:
        """Counts a job that ended with `version`, and withdraws the canary when it is worse. Returns the verdict then.

        Raises TrialError where no trial of these versions runs, StoreUnusable.
        """
        with self._writing():
            trial = self.get(name)
            sides = {trial.stable: STABLE, trial.canary: CANARY}
            if trial.ended or version not in sides:
                raise TrialError(f"no canary of model '{name}' with version {version} runs")
            trial.tell(sides[version], is_done=is_done, actions=actions, seconds=seconds, joules=joules)
            verdict = judge(trial)
            if verdict.state == "worse":
                trial.ended = f"withdrawn: {verdict.why}"
            self._write(trial)
        return verdict

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with sole_writer(self.folder / "lock"):
            yield

    def _read(self, name: str) -> Trial | None:
        path = self.folder / f"{name}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Trial)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnusable(f"{path} cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise StoreUnusable(
                f"{path} is damaged: {error}", next_step="remove it, and start the canary anew"
            ) from error

    def _write(self, trial: Trial) -> None:
        write_atomically(self.folder / f"{trial.name}.json", msgspec.json.format(msgspec.json.encode(trial)) + b"\n")
