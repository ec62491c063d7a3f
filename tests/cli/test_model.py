"""`idlehands model …` on good and on hostile input: what is refused says why, and the store is as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kernels.errors import IdlehandsError
from runtime.cli.main import cli
from runtime.store.keys import SigningKey
from tests.store.made import FILES, a_bundle, a_source


class Refused(Exception):
    """What the command line would print as one line, with exit code 2."""


class Models:
    """The command over one state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "state" / "models"
        self.key = SigningKey.create(folder / "own.key")
        self.settings: list[str] = []

    def __call__(self, *arguments: str | Path) -> str:
        state = f"daemon.state_folder={self.folder / 'state'}"
        given = ["model", "--set", state, *self.settings, *map(str, arguments)]
        done = CliRunner().invoke(cli, given, standalone_mode=False)
        if isinstance(done.exception, IdlehandsError):
            raise Refused(str(done.exception))
        if isinstance(done.exception, click.ClickException):
            raise Refused(done.exception.format_message())
        assert done.exception is None, done.exception
        return done.output

    def bundle(self, version: str, **more: Any) -> Path:
        """Returns a bundle that this machine's development key signed."""
        path = a_bundle(self.folder, None, form=f"nav-{version}.ihb", version=version, **more)
        self("sign", path)
        return path

    def listed(self) -> dict[str, Any]:
        return {f"{one['name']}@{one['version']}": one for one in json.loads(self("list", "--json"))}

    def tree(self) -> dict[str, bytes]:
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files if path.name != "lock"}

    def refuses(self, said: str, *arguments: str | Path) -> None:
        """The command is refused with these words, and nothing in the store has changed."""
        before = self.tree()
        with pytest.raises(Refused) as refused:
            self(*arguments)
        assert said in str(refused.value)
        assert self.tree() == before


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


def test_every_verb_on_good_input(models: Models, tmp_path: Path) -> None:
    source = a_source(tmp_path / "described")
    (source / "bundle.toml").write_text('name = "tiny"\nversion = "1"\nkind = "onnx"\nlicence = "CC0-1.0"\n')
    assert "packed tiny@1" in models("pack", source, tmp_path / "tiny.ihb")
    assert "signed tiny@1" in models("sign", tmp_path / "tiny.ihb")
    assert "installed tiny@1" in models("install", tmp_path / "tiny.ihb")
    for version in ("1", "2", "3"):
        models("install", models.bundle(version))
    assert "whole: nav@3" in models("verify", "nav")
    assert "whole: nav@1" in models("verify", "nav@1")
    assert "pinned nav@1" in models("pin", "nav", "1")
    assert "active: nav@2" in models("rollback", "nav")
    assert json.loads(models("gc", "--json")) == ["nav@3"]
    assert "let go nav@1" in models("pin", "nav", "1", "--off")
    assert "removed nav@2" in models("remove", "nav", "2")
    assert {name: one["is_active"] for name, one in models.listed().items()} == {"nav@1": True, "tiny@1": True}
    assert "nothing to remove" in models("gc")


def test_bundles_that_are_not_what_they_should_be(models: Models, tmp_path: Path) -> None:
    good = models.bundle("1")
    models("install", good)
    data = models.bundle("9").read_bytes()  # of what is installed already, only the head is looked at
    for number, cut in enumerate((0, 1, 511, 512, 700, len(data) // 2)):
        (tmp_path / f"cut{number}.ihb").write_bytes(data[:cut])
        models.refuses("", "install", tmp_path / f"cut{number}.ihb")
    changed = bytearray(models.bundle("2").read_bytes())
    changed[changed.rindex(b"weights")] ^= 1
    (tmp_path / "changed.ihb").write_bytes(changed)
    models.refuses("sha256", "install", tmp_path / "changed.ihb")
    stranger = a_bundle(tmp_path, SigningKey.create(tmp_path / "stranger.key"), form="strange.ihb", version="3")
    models.refuses("which is not trusted here", "install", stranger)
    unsigned = a_bundle(tmp_path, None, form="unsigned.ihb", version="4")
    models.refuses("is not signed", "install", unsigned)
    other = models.bundle("1.0.1")
    forged = tmp_path / "forged"
    models.refuses("nowhere.ihb", "install", "/nowhere.ihb")
    models.refuses("", "install", forged)
    again = a_bundle(tmp_path, None, form="again.ihb", version="1", files={**FILES, "labels.txt": b"changed"})
    models("sign", again)
    models.refuses("has another bundle installed as 1", "install", again)
    assert list(models.listed()) == ["nav@1"]
    models("install", other)


def test_names_that_lead_elsewhere(models: Models, tmp_path: Path) -> None:
    models("install", models.bundle("1"))
    for name in ("../nav", "/etc/passwd", "nav/../nav", ".", "", "nav@../1", "NAV", "a" * 65):
        models.refuses("", "verify", name)
        models.refuses("", "rollback", name)
        models.refuses("", "remove", name, "1")
        models.refuses("", "pin", name, "1")
    for version in ("../../x", "/", "2"):
        models.refuses("", "remove", "nav", version)
        models.refuses("", "pin", "nav", version)


def test_a_bundle_larger_than_the_quota(models: Models) -> None:
    large = models.bundle("1", files={**FILES, "net/model.onnx": bytes(3 << 20)})
    models.settings = ["--set", "daemon.models_quota_MiB=2"]
    models.refuses("of the store's 2097152 are in use", "install", large)
    models.settings = ["--set", "daemon.models_quota_MiB=4"]
    models("install", large)


def test_what_is_pinned_or_alone_stays(models: Models) -> None:
    models("install", models.bundle("1"))
    models.refuses("no version that was active before", "rollback", "nav")
    models("pin", "nav", "1")
    models.refuses("is pinned", "remove", "nav", "1")
    models("pin", "nav", "1", "--off")
    models("remove", "nav", "1")
    models.refuses("no model 'nav' is installed", "verify", "nav")


def test_packing_what_cannot_be_packed(models: Models, tmp_path: Path) -> None:
    source = a_source(tmp_path / "described")
    (source / "bundle.toml").write_text('name = "Nav!"\nversion = "1"\nkind = "onnx"\nlicence = "CC0-1.0"\n')
    models.refuses("name", "pack", source, tmp_path / "x.ihb")
    (source / "bundle.toml").write_text("name = [")
    models.refuses("", "pack", source, tmp_path / "x.ihb")
    models.refuses("", "pack", tmp_path / "absent", tmp_path / "x.ihb")
    assert not (tmp_path / "x.ihb").exists()
    (tmp_path / "taken.ihb").write_bytes(b"mine")
    (source / "bundle.toml").write_text('name = "nav"\nversion = "1"\nkind = "onnx"\nlicence = "CC0-1.0"\n')
    models.refuses("exists already", "pack", source, tmp_path / "taken.ihb")
    assert (tmp_path / "taken.ihb").read_bytes() == b"mine"


def test_encrypting_for_a_device_and_reading_there(tmp_path: Path) -> None:
    (tmp_path / "maker").mkdir()
    maker, car = Models(tmp_path / "maker"), Models(tmp_path)
    line = car("device-key").strip()
    assert json.loads(car("device-key", "--json"))["key"] == line
    plain = a_bundle(tmp_path / "maker", None)
    told = json.loads(maker("encrypt", plain, "--for", line, "--json"))
    made = Path(told["path"])
    assert (made.name, told["files"]) == ("nav.encrypted.ihb", sorted(FILES))
    assert told["devices"] == [json.loads(car("device-key", "--json"))["id"]]
    with pytest.raises(Refused, match="not signed"):
        car("install", made)
    car("sign", made)
    assert "installed nav@1.0" in car("install", made)
    assert "whole: nav@1.0" in car("verify", "nav")
    assert "encrypted 1 of 3 files for 1 devices" in maker(
        "encrypt", plain, "--for", line, "--file", "labels.txt", "--out", tmp_path / "some.ihb"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--for'"),
        (("--for", "device:00"), "is no device's key"),
        (("--for", "LINE", "--file", "gone"), "has no file gone"),
        (("--for", "LINE", "--out", "gone/x.ihb"), "No such file"),
    ],
)
def test_what_cannot_be_encrypted(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    models = Models(tmp_path)
    line = models("device-key").strip()
    given = [line if argument == "LINE" else argument for argument in arguments]
    with pytest.raises(Refused, match=said):
        models("encrypt", a_bundle(tmp_path, None), *given)
