"""Bundles: packed, signed, verified; and every way in which they can be wrong."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from runtime.store.archive import header
from runtime.store.bundle import pack, sign, verify
from runtime.store.errors import BundleError, StoreError, UntrustedBundle
from runtime.store.keys import SigningKey, TrustedKeys
from runtime.store.manifest import Manifest, decode_manifest, parse_reference
from runtime.store.models import ModelStore
from tests.faults.attack import Mode, run_module
from tests.store.made import DESCRIPTION, FILES, a_bundle, a_source, a_store

FORMS = ["nav.ihb", "nav-folder"]


def trusted(key: SigningKey) -> TrustedKeys:
    return TrustedKeys([key.public])


@pytest.mark.parametrize("form", FORMS)
def test_packed_signed_verified(tmp_path: Path, key: SigningKey, form: str) -> None:
    manifest = verify(a_bundle(tmp_path, key, form=form), trusted(key))
    assert (manifest.name, manifest.version, manifest.training) == ("nav", "1.0", {"seed": 7, "data": "none"})
    assert {entry.path: entry.bytes for entry in manifest.files} == {name: len(data) for name, data in FILES.items()}
    assert manifest.models["model"].memory_bytes == 1000


def test_equal_bundles_are_equal_bytes_and_a_plain_tar(tmp_path: Path, key: SigningKey) -> None:
    first, second = (a_bundle(tmp_path / name, key) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        assert archive.getnames() == ["manifest.json", "manifest.sig", "empty", "labels.txt", "net/model.onnx"]
        assert {member.mode for member in archive} == {0o644}
        found = archive.extractfile("net/model.onnx")
        assert found is not None
        assert found.read() == FILES["net/model.onnx"]


def test_sizes_above_8_GiB_have_a_header_that_tar_reads() -> None:
    for size in (0, 8**11 - 1, 8**11, 15 << 30):
        assert tarfile.TarInfo.frombuf(header("a", size), "ascii", "strict").size == size


def test_a_description_in_the_folder(tmp_path: Path, key: SigningKey) -> None:
    source = a_source(tmp_path / "s")
    (source / ".hidden").write_text("x")
    (source / "bundle.toml").write_text(
        'name = "nav"\nversion = "2.0"\nkind = "onnx"\nlicence = "MIT"\n[models.model]\nfile = "labels.txt"\n'
    )
    assert [entry.path for entry in pack(source, tmp_path / "out.ihb").files] == sorted(FILES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Nav"}, "name"),
        ({"name": "nav\n"}, "name"),
        ({"name": "../nav"}, "name"),
        ({"version": "1/0"}, "version"),
        ({"kind": "magic"}, "kind is 'magic', expected one of screen_agent"),
        ({"licence": ""}, "licence"),
        ({"files": []}, "has no `files`"),
        ({"colour": 1}, "unknown field `colour`"),
        ({"models": {"model": {"file": "absent"}}}, "model 'model' is of file 'absent'"),
        (
            {"models": {"model": {"file": "empty", "inputs": [{"name": "x", "shape": [1], "dtype": "float9"}]}}},
            "float9",
        ),
        ({"models": {"model": {"file": "empty", "inputs": [{"name": "x", "shape": [0], "dtype": "int8"}]}}}, ">= 1"),
        ({"models": {"model": {"file": "empty", "backends": []}}}, "length >= 1"),
    ],
)
def test_descriptions_that_are_wrong(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        pack(a_source(tmp_path / "s"), tmp_path / "out.ihb", description={**DESCRIPTION, **change})
    assert not (tmp_path / "out.ihb").exists()


def test_packing_refuses_links_pipes_and_overwriting(tmp_path: Path) -> None:
    source = a_source(tmp_path / "s")
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match="link cannot be read: it is a symbolic link"):
        pack(source, tmp_path / "out.ihb", description=DESCRIPTION)
    (source / "link").unlink()
    os.mkfifo(source / "pipe")
    with pytest.raises(BundleError, match="pipe is not a plain file"):
        pack(source, tmp_path / "out.ihb", description=DESCRIPTION)
    (source / "pipe").unlink()
    pack(source, tmp_path / "out.ihb", description=DESCRIPTION)
    with pytest.raises(BundleError, match="exists already"):
        pack(source, tmp_path / "out.ihb", description=DESCRIPTION)
    with pytest.raises(BundleError, match=r"no bundle\.toml"):
        pack(source, tmp_path / "other.ihb")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.ihb", "s"]


@pytest.mark.parametrize("form", FORMS)
def test_only_trusted_signatures_count(tmp_path: Path, key: SigningKey, form: str) -> None:
    path = a_bundle(tmp_path, None, form=form)
    stranger = SigningKey.create(tmp_path / "stranger.key")
    with pytest.raises(UntrustedBundle, match="is not signed"):
        verify(path, trusted(key))
    sign(path, stranger)
    with pytest.raises(UntrustedBundle, match=f"the key '{stranger.public.key_id[:16]}', which is not trusted"):
        verify(path, trusted(key))
    sign(path, key)  # signing again replaces
    verify(path, trusted(key))


def test_a_signature_of_another_manifest(tmp_path: Path, key: SigningKey) -> None:
    one, other = a_bundle(tmp_path, key, form="one"), a_bundle(tmp_path, key, form="other", version="6.6")
    (one / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    with pytest.raises(UntrustedBundle, match="not of this manifest"):
        verify(one, trusted(key))


@pytest.mark.parametrize("signature", [b"", b"{}", b"garbage", b'{"key_id":"x","signature":"zz"}', b"[" * 1000])
def test_signatures_that_are_none(tmp_path: Path, key: SigningKey, signature: bytes) -> None:
    path = a_bundle(tmp_path, key, form="folder")
    (path / "manifest.sig").write_bytes(signature)
    with pytest.raises(UntrustedBundle, match="damaged signature"):
        verify(path, trusted(key))


def test_changed_bytes_in_a_folder(tmp_path: Path, key: SigningKey) -> None:
    path = a_bundle(tmp_path, key, form="folder")
    good = FILES["labels.txt"]
    for bad, said in [(good[:-1] + b"!", "sha256"), (good + b"!", "9 bytes"), (good[:-1], "7 bytes"), (None, "absent")]:
        (path / "labels.txt").unlink()
        if bad is not None:
            (path / "labels.txt").write_bytes(bad)
        with pytest.raises(BundleError, match=said):
            verify(path, trusted(key))
        (path / "labels.txt").write_bytes(good)
    (path / "labels.txt").unlink()
    (path / "labels.txt").symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match="symbolic link"):
        verify(path, trusted(key))


def test_every_truncation_of_an_archive(tmp_path: Path, key: SigningKey) -> None:
    data = a_bundle(tmp_path, key).read_bytes()
    cut = tmp_path / "cut.ihb"
    for size in [*range(0, len(data), 97), len(data) - 1]:
        cut.write_bytes(data[:size])
        with pytest.raises(BundleError):
            verify(cut, trusted(key))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_of_an_archive(
    tmp_path_factory: pytest.TempPathFactory, key: SigningKey, at: float, change: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped"
    if not folder.exists():
        a_bundle(folder, key)
    data = bytearray((folder / "nav.ihb").read_bytes())
    data[int(at * len(data))] ^= change
    (folder / "flipped.ihb").write_bytes(data)
    with pytest.raises(BundleError):
        verify(folder / "flipped.ihb", trusted(key))


def resigned(path: Path, key: SigningKey, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Returns a manifest that was changed and then signed by a trusted key: a maker's mistake, or malice."""
    tree = json.loads((path / "manifest.json").read_bytes())
    change(tree)
    data = msgspec.json.encode(tree, order="sorted")
    (path / "manifest.json").write_bytes(data)
    envelope = {"key_id": key.public.key_id, "signature": key.sign(b"idlehands bundle 1\0" + data).hex()}
    (path / "manifest.sig").write_bytes(msgspec.json.encode(envelope))
    return data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: tree["files"][0].update(path="../../etc/cron.d/x"), "path"),
        (lambda tree: tree["files"][0].update(path="/etc/cron.d/x"), "path"),
        (lambda tree: tree["files"][0].update(path="a/../b"), "path"),
        (lambda tree: tree["files"][0].update(path="a//b"), "path"),
        (lambda tree: tree["files"][0].update(path="a\\b"), "path"),
        (lambda tree: tree["files"][0].update(path="a\x00b"), "path"),
        (lambda tree: tree["files"][0].update(path="a\n"), "path"),
        (lambda tree: tree["files"][0].update(path="x" * 101), "path"),
        (lambda tree: tree["files"][0].update(path="Manifest.JSON"), "cannot be called"),
        (lambda tree: tree["files"][0].update(path="LABELS.txt"), "names a file twice"),
        (lambda tree: tree["files"][0].update(path="net"), "as a folder"),
        (lambda tree: tree["files"][0].update(bytes=1 << 60), "bytes"),
        (lambda tree: tree["files"][0].update(bytes=-1), "bytes"),
        (lambda tree: tree["files"][0].update(mode=0o4755), "unknown field `mode`"),
        (lambda tree: tree.update(files=[]), "files"),
        (lambda tree: tree.update(format=2), "format 2, this build reads 1"),
        (lambda tree: tree.pop("format"), "format"),
        (lambda tree: tree.update(description=""), "canonical"),
        (lambda tree: tree.update(training={"seed": 1e400}), "training|seed"),
        (lambda tree: tree.update(description="x" * (300 << 10)), "more than the 262144"),
    ],
)
def test_manifests_that_a_trusted_key_should_not_have_signed(
    tmp_path: Path, key: SigningKey, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    path = a_bundle(tmp_path, key, form="folder")
    resigned(path, key, change)
    with pytest.raises(BundleError, match=said):
        verify(path, trusted(key))
    store = a_store(tmp_path / "store", key)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=said):
        store.install(path)
    assert sorted(tmp_path.rglob("*")) == before


def rebuilt(path: Path, edit: Callable[[tarfile.TarFile, list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """Returns an archive made by Python's tarfile from the members of `path`, after `edit` did its worst."""
    with tarfile.open(path) as archive:
        members = []
        for member in archive.getmembers():
            stream = archive.extractfile(member)
            members.append((member, stream.read() if stream else b""))
    hostile = path.with_name("hostile.ihb")
    with tarfile.open(hostile, "w", format=tarfile.USTAR_FORMAT) as archive:
        edit(archive, members)
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return hostile


def a_member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, link
    return member


@pytest.mark.parametrize(
    "edit",
    [
        lambda archive, members: members.append((a_member("extra"), b"")),
        lambda archive, members: members.append((a_member("../../evil"), b"")),
        lambda archive, members: members.append(members[-1]),
        lambda archive, members: members.insert(2, members[2]),
        lambda archive, members: members.insert(0, (a_member("a", tarfile.SYMTYPE, link="/etc"), b"")),
        lambda archive, members: members.__setitem__(
            3, (a_member("labels.txt", tarfile.LNKTYPE, link="/etc/passwd"), b"")
        ),
        lambda archive, members: members.__setitem__(
            3, (a_member("labels.txt", tarfile.SYMTYPE, link="/etc/passwd"), b"")
        ),
        lambda archive, members: members.__setitem__(3, (a_member("labels.txt", tarfile.CHRTYPE), b"")),
        lambda archive, members: members.__setitem__(3, (a_member("labels.txt", tarfile.DIRTYPE), b"")),
        lambda archive, members: members.reverse(),
        lambda archive, members: members.pop(3),
        lambda archive, members: members.pop(0),
        lambda archive, members: members.pop(1),
        lambda archive, members: members.clear(),
    ],
)
def test_hostile_archives(tmp_path: Path, key: SigningKey, edit: Callable[..., None]) -> None:
    hostile = rebuilt(a_bundle(tmp_path, key), edit)
    with pytest.raises(BundleError):
        verify(hostile, trusted(key))
    store = a_store(tmp_path / "store", key)
    with pytest.raises(BundleError):
        store.install(hostile)
    assert store.list_models() == []
    assert store.used_bytes() == 0


@pytest.mark.parametrize("tail", [b"\0" * 511, b"\1" * 512, b"\0" * (66 * 512), b"#!/bin/sh"])
def test_bytes_after_the_end(tmp_path: Path, key: SigningKey, tail: bytes) -> None:
    path = a_bundle(tmp_path, key)
    with open(path, "ab") as out:
        out.write(tail)
    if any(tail) or len(tail) > 64 * 512:
        with pytest.raises(BundleError, match="after its end"):
            verify(path, trusted(key))
    else:
        verify(path, trusted(key))


def test_a_header_with_a_lie_is_not_believed(tmp_path: Path, key: SigningKey) -> None:
    data = bytearray(a_bundle(tmp_path, key).read_bytes())
    data[124:136] = b"77777777777\0"
    (tmp_path / "lie.ihb").write_bytes(data)
    with pytest.raises(BundleError, match=r"no bundle: expected the member manifest\.json of at most"):
        verify(tmp_path / "lie.ihb", trusted(key))


@pytest.mark.parametrize("name", ["absent.ihb", "text.ihb", "pipe.ihb", "empty-folder"])
def test_things_that_are_no_bundle(tmp_path: Path, key: SigningKey, store: ModelStore, name: str) -> None:
    (tmp_path / "text.ihb").write_text("hello " * 200)
    os.mkfifo(tmp_path / "pipe.ihb")
    (tmp_path / "empty-folder").mkdir()
    for attempt in (lambda: verify(tmp_path / name, trusted(key)), lambda: store.install(tmp_path / name)):
        with pytest.raises(BundleError, match=name):
            attempt()


def test_signing_checks_what_it_signs(tmp_path: Path, key: SigningKey) -> None:
    path = a_bundle(tmp_path, None, form="folder")
    (path / "labels.txt").write_bytes(b"changed!")
    with pytest.raises(BundleError, match="sha256"):
        sign(path, key)
    assert not (path / "manifest.sig").exists()


@given(data=st.binary(max_size=300))
def test_garbage_is_no_manifest(data: bytes) -> None:
    with pytest.raises(BundleError):
        decode_manifest(data)


def test_the_canonical_form_is_pinned() -> None:
    """What was signed once must stay readable: this very form, for ever."""
    data = (
        b'{"files":[{"bytes":3,"path":"a","sha256":"' + b"0" * 64 + b'"}],"format":1,"kind":"onnx","licence":"MIT",'
        b'"models":{"model":{"file":"a","inputs":[{"dtype":"int8","name":"x","shape":[1,"n"]}]}},'
        b'"name":"nav","version":"1"}'
    )
    manifest = decode_manifest(data)
    assert manifest.encode() == data
    assert manifest.models["model"].backends == ("onnxruntime",)
    assert isinstance(manifest, Manifest)


@pytest.mark.parametrize("reference", ["", "@1", "nav@", "Nav", "nav@1@2", "../x", "nav@../x", "a\n", "nav@1\n", "-x"])
def test_references_that_are_none(reference: str) -> None:
    with pytest.raises(StoreError, match="expected name or name@version"):
        parse_reference(reference)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(("operation", "form"), [("pack", "nav.ihb"), ("sign", "nav.ihb"), ("sign", "nav")])
def test_a_fault_at_any_write_leaves_a_whole_bundle_or_none(mode: Mode, operation: str, form: str) -> None:
    printed = run_module("tests.store.faulty_bundle", mode.name, operation, form)
    assert int(printed.split()[-1]) > 2, printed
