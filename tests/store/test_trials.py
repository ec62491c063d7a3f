"""Trials on disk: begun, told, withdrawn, promoted; whole whoever is killed, and never for a version that is gone."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from kernels.errors import IdlehandsError
from runtime.cli.model import model
from runtime.daemon.variants import Variants
from runtime.daemon.worker_link import Ended, Used
from runtime.jobs.spec import JobSpec
from runtime.store.canary import Limits
from runtime.store.errors import ModelNotFound, StoreUnusable
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore
from runtime.store.trials import TrialError, Trials
from tests.store.made import a_bundle


@pytest.fixture
def trials(tmp_path: Path, key: SigningKey, store: ModelStore) -> Trials:
    for version in ("1.1", "1.0"):  # 1.0 is the active one
        store.install(a_bundle(tmp_path, key, form=f"{version}.ihb", version=version, kind="text_reader"))
    return Trials(store, clock=lambda: 7)


def tell(trials: Trials, version: str, is_done: bool, times: int = 25) -> Any:
    verdict = None
    for number in range(times):
        seconds = 1.0 + number % 3 / 10
        try:
            verdict = trials.tell("nav", version, is_done=is_done, actions=1, seconds=seconds, joules=seconds)
        except TrialError:
            break
    return verdict


def test_a_worse_canary_is_withdrawn_by_itself(trials: Trials) -> None:
    trials.start("nav", "1.1", 500, Limits())
    jobs = [f"job-{number}" for number in range(200)]
    assert {trials.version_of("nav", job) for job in jobs} == {"1.0", "1.1"}
    tell(trials, "1.0", True)
    assert tell(trials, "1.1", False).state == "worse"
    assert trials.get("nav").ended.startswith("withdrawn: jobs done")
    assert {trials.version_of("nav", job) for job in jobs} == {""}, "all are the active version's again"
    with pytest.raises(TrialError, match=r"no canary of model 'nav' with version 1.1 runs"):
        trials.tell("nav", "1.1", is_done=True, actions=1, seconds=1, joules=1)
    again = trials.start("nav", "1.1", 100, Limits())
    assert again.sides["canary"].done.count == 0


def test_start_promote_stop(trials: Trials, store: ModelStore) -> None:
    with pytest.raises(TrialError, match="has no canary"):
        trials.get("nav")
    with pytest.raises(TrialError, match=r"has 1.0 active already"):
        trials.start("nav", "1.0", 100, Limits())
    with pytest.raises(ModelNotFound):
        trials.start("nav", "9", 100, Limits())
    trials.start("nav", "1.1", 100, Limits())
    with pytest.raises(TrialError, match="has a canary already"):
        trials.start("nav", "1.1", 100, Limits())
    trials.promote("nav")
    assert store.get("nav").manifest.version == "1.1"
    assert trials.get("nav").ended == "promoted"
    store.activate("nav", "1.0")
    trials.start("nav", "1.1", 100, Limits())
    assert trials.end("nav", "stopped").ended == "stopped"


def test_a_trial_of_what_is_gone_is_none(trials: Trials, store: ModelStore) -> None:
    trials.start("nav", "1.1", 999, Limits())
    assert trials.version_of("nav", "job-1") == "1.1"
    store.remove("nav", "1.1")
    assert trials.version_of("nav", "job-1") == ""


def test_a_damaged_file_is_told(trials: Trials) -> None:
    trials.start("nav", "1.1", 100, Limits())
    (trials.folder / "nav.json").write_bytes(b"{")
    with pytest.raises(StoreUnusable, match="start the canary anew"):
        trials.all()


def test_the_daemon_gives_jobs_their_version_and_counts_them(trials: Trials, store: ModelStore) -> None:
    variants = Variants(store)
    spec = JobSpec(desktop="unix:/x", instruction="look", agent="text_reader")

    def job(number: int, **changes: Any) -> Any:
        return SimpleNamespace(job=f"job-{number}", spec=JobSpec(**{**_fields(spec), **changes}))

    assert variants.choose(job(1))[1] == "nav@1.0"
    assert variants.choose(job(1, agent="block_clicker")) == (job(1, agent="block_clicker").spec, "")
    assert variants.choose(job(1, model="absent"))[1] == ""
    trials.start("nav", "1.1", 500, Limits())
    chosen = [variants.choose(job(number)) for number in range(100)]
    assert {reference for _, reference in chosen} == {"nav@1.0", "nav@1.1"}
    assert all(made.model == reference for made, reference in chosen)
    assert {variants.choose(job(number, model="nav@1.0"))[1] for number in range(50)} == {"nav@1.0"}

    def end(state: str, model: str = "nav@1.1") -> Any:
        running = SimpleNamespace(used_model=model, joules=2.0)
        return variants.tell(running, Ended("j", 1, state, "", Used(4, 2.0, 1.0, ())))  # type: ignore[arg-type]

    assert end("cancelled") is None
    assert end("done", "other@1.0") is None
    assert end("done", "") is None
    assert end("done").state == "running"
    assert end("failed").state == "running"
    side = trials.get("nav").sides["canary"]
    assert (side.done.count, side.done.mean, side.log_s.count) == (2, 0.5, 1)


def _fields(spec: JobSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


def test_the_command(trials: Trials, store: ModelStore, tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        flags = ["--set", f"daemon.state_folder={tmp_path}"]
        result = CliRunner().invoke(model, [*flags, "canary", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    (tmp_path / "models").symlink_to(store.root)
    assert "nav@1.1 works 25 % of the jobs" in call("start", "nav", "1.1", "--share", "25")
    (found,) = json.loads(call("status", "--json"))
    assert (found["share_permille"], found["verdict"]["state"]) == (250, "running")
    tell(trials, "1.0", True)
    tell(trials, "1.1", True)
    assert "seconds an action" in call("status")
    assert "1.1" in call("promote", "nav")
    with pytest.raises(IdlehandsError, match="has no canary"):
        call("stop", "other")
