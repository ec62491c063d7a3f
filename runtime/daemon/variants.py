"""Which version of a model a job is given, and what canaries hear of how it went.

    claimed ─► choose(job) ─► the spec with name@version, for the worker and the ledger
    settled ─► tell(run, end) ─► the trial of its model counts it, and may withdraw the canary

What cannot be found out here is the worker's to refuse, with its reason: the spec then goes on as it came.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from runtime.daemon.bundle_choice import bundle_for
from runtime.daemon.worker_link import Ended
from runtime.jobs.life import Job, JobState
from runtime.jobs.spec import JobSpec
from runtime.store.canary import Verdict
from runtime.store.errors import StoreError
from runtime.store.models import ModelStore
from runtime.store.trials import TrialError, Trials

if TYPE_CHECKING:
    from runtime.daemon.returns import RunEnded, Running

READ_S = 5.0
log = logging.getLogger("idlehands.variants")


class Variants:
    """Over one store. Both calls read files: a thread's work."""

    def __init__(self, store: ModelStore) -> None:
        self._store, self._trials = store, Trials(store)
        self._installed: dict[str, tuple[str, ...]] | None = None
        self._read_s = float("-inf")

    def installed(self, now_s: float) -> dict[str, tuple[str, ...]] | None:
        """Returns the installed versions by model, as of a few seconds ago; None if the store cannot be read."""
        if now_s - self._read_s > READ_S:
            try:
                self._installed, self._read_s = self._store.versions(), now_s
            except StoreError as error:
                log.info("which versions are installed is not known: %s", error.message)
                self._installed = None
        return self._installed

    def choose(self, job: Job) -> tuple[JobSpec, str]:
        """Returns the job's spec with the version that it is given, and that as name@version ("" without a model)."""
        spec = job.spec
        try:
            bundle = bundle_for(spec, self._store)
            if bundle is None:
                return spec, ""
            name = bundle.manifest.name
            is_free = "@" not in spec.model  # who asks for a version gets it
            version = (self._trials.version_of(name, job.job) if is_free else "") or bundle.manifest.version
        except StoreError as error:
            log.info("which version is not known: %s", error.message, extra={"job": job.job})
            return spec, ""
        reference = f"{name}@{version}"
        return msgspec.structs.replace(spec, model=reference), reference

    def tell(self, running: Running, ended: RunEnded) -> Verdict | None:
        """Counts a job that is over for its canary, if its model has one. Ends that say nothing of the model do not
        count: cancelled, asked, a desktop that broke, a car that was wanted."""
        name, _, version = running.used_model.partition("@")
        if (
            not isinstance(ended, Ended)
            or ended.state not in (JobState.done.value, JobState.failed.value)
            or not version
        ):
            return None
        try:
            return self._trials.tell(
                name,
                version,
                is_done=ended.state == JobState.done.value,
                actions=ended.used.actions,
                seconds=ended.used.seconds,
                joules=running.joules,
            )
        except TrialError:
            return None
        except StoreError as error:
            log.warning("a canary's job is not counted: %s", error)
            return None
