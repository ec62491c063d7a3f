"""A part is taken away in a copy of the bundle, and only its settings differ; on pages for measuring never."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from runtime.agent.plans import plan_of, random_answer
from runtime.cli.main import cli
from runtime.evaluation.ablation import OF_BUNDLE, NothingToAblate, ablated
from runtime.store.bundle import open_source
from runtime.store.manifest import decode_manifest
from tests.agent.test_features import ELEMENTS

BUNDLES = Path(__file__).resolve().parents[2] / "models" / "bundles"


def files_of(bundle: Path) -> dict[str, bytes]:
    with open_source(bundle) as source:
        manifest = decode_manifest(source.head()[0])
        return {entry.path: b"".join(parts) for entry, parts in source.files(manifest)}


@pytest.mark.parametrize("part", OF_BUNDLE)
def test_only_the_settings_of_a_copy_differ(part: str, tmp_path: Path) -> None:
    whole = BUNDLES / "screen_agent.ihb"
    before, after = files_of(whole), files_of(ablated(whole, part, tmp_path / "copy.ihb"))
    assert {name for name in before if before[name] != after.get(name)} == {"agent.json"}
    assert json.loads(after["agent.json"]) == {**json.loads(before["agent.json"]), "ablation": part}


def test_what_has_no_such_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToAblate, match=r"text_reader\.ihb has no agent\.json"):
        ablated(BUNDLES / "text_reader.ihb", "random", tmp_path / "copy.ihb")


def test_ablations_never_touch_other_pages() -> None:
    for pages in (["--split", "unseen"], ["--tasks", "click-button,click-test"]):
        shown = CliRunner().invoke(cli, ["eval", "miniwob", *pages, "--ablation", "random"])
        assert shown.exit_code == 2
        assert "training pages alone" in shown.output


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"tasks": [{"name": "a"}]}')
    shown = CliRunner().invoke(
        cli, ["eval", "miniwob", "--tasks", "click-button", "--beside", str(tmp_path / "r.json")]
    )
    assert shown.exit_code == 2
    assert "is no report of" in shown.output


def test_chance_clicks_each_element_about_as_often() -> None:
    targets = [plan_of(random_answer(3, seed), ELEMENTS, (), "", "").target for seed in range(600)]
    assert all(140 < targets.count(place) < 260 for place in range(3))
    assert random_answer(3, 5).target.tolist() == random_answer(3, 5).target.tolist()
