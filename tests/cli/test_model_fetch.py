"""`idlehands model publish` and `fetch`, as typed; the difference is what is fetched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kernels.errors import IdlehandsError
from runtime.cli.model import model
from runtime.store.keys import SigningKey
from tests.store.made import a_bundle, a_store

WEIGHTS = np.random.default_rng(1).bytes(1 << 20)


def call(state: Path, *arguments: str) -> str:
    result = CliRunner().invoke(model, ["--set", f"daemon.state_folder={state}", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_publish_fetch_and_the_next_version(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "key")
    maker, car = tmp_path / "maker", tmp_path / "car"
    for state in (maker, car):
        a_store(state / "models", key)
    for version, weights in (("1.0", WEIGHTS), ("1.1", WEIGHTS[:500_000] + b"changed" + WEIGHTS[500_000:])):
        bundle = a_bundle(tmp_path, key, form=f"{version}.ihb", version=version, files={"net/model.onnx": weights})
        call(maker, "install", str(bundle))
        assert "published" in call(maker, "publish", f"nav@{version}", str(tmp_path / "out"))
    first = json.loads(call(car, "fetch", str(tmp_path / "out"), "nav-1.0", "--json"))
    second = json.loads(call(car, "fetch", str(tmp_path / "out"), "nav-1.1.ihb", "--json"))
    assert first["installed"] == "nav@1.0"
    assert first["fetched_bytes"] == first["total_bytes"]
    assert second["fetched_bytes"] < 600_000 < second["reused_bytes"] + 400_000
    assert [one["version"] for one in json.loads(call(car, "list", "--json")) if one["is_active"]] == ["1.1"]
    assert list((car / "models" / "downloads").iterdir()) == []
    again = json.loads(call(car, "fetch", str(tmp_path / "out"), "nav-1.1.ihb", "--no-activate", "--json"))
    assert again["fetched_bytes"] < 100_000, "but for the archive's own head, all of it is here"


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [("/absent/folder", "nav-1.0", "is no source of bundles"), (".", "../nav", "is no bundle's file")],
)
def test_bad_input(tmp_path: Path, source: str, name: str, said: str) -> None:
    with pytest.raises(IdlehandsError, match=said):
        call(tmp_path, "fetch", source, name)
