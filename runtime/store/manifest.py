"""The manifest: what a bundle is, in canonical JSON: sorted keys, no spaces, what is at its default left out.

    {"files":[{"bytes":5123,"path":"model.onnx","sha256":"3f…"}],"format":1,"kind":"onnx","licence":"Apache-2.0",
     "models":{"model":{"backends":["onnxruntime"],"file":"model.onnx","inputs":[…],"outputs":[…],…}},
     "name":"nav","version":"1.2.0",…}

A bundle holds files, and one or more *models* made of them, by role: a text reader has "detect" and "recognise". The
sha256 of the manifest's bytes names the bundle everywhere: in the store, in checkpoints, on the ledger.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

import msgspec
from msgspec import Meta

from runtime.store.errors import BundleError

MANIFEST_FORMAT = 1
MANIFEST_CAP_BYTES = 256 * 1024
BUNDLE_CAP_BYTES = 16 << 30
KINDS = ("screen_agent", "text_reader", "causal_lm", "onnx")
DTYPES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "int64": 8, "bool": 1}

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}\Z"
VERSION = r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}\Z"
# At most 100 bytes, so that a plain ustar header holds it; no part begins with a dot, so none is "." or "..".
FILE = r"^[0-9A-Za-z_][0-9A-Za-z._-]*(/[0-9A-Za-z_][0-9A-Za-z._-]*)*\Z"
Scalar = str | int | float | bool
Text = Annotated[str, Meta(max_length=1024)]


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One tensor. A dimension is a size, or a name where it varies: ("n", 3, 48, "width"). `dtype` is of DTYPES."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    shape: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=2**31)] | Annotated[str, Meta(max_length=64)], ...], Meta(max_length=8)
    ]
    dtype: str


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file: its path in the bundle, its sha256 in hexadecimal, its size."""

    path: Annotated[str, Meta(pattern=FILE, max_length=100)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    bytes: Annotated[int, Meta(ge=0, le=BUNDLE_CAP_BYTES)]


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One model of a bundle. `backends` in the order of preference; `memory_bytes` is its peak, 0 if not known.

    `options` are a backend's own, by its name. `inputs` and `outputs` may be left out: the file says them too.
    """

    file: str
    inputs: Annotated[tuple[TensorSpec, ...], Meta(max_length=64)] = ()
    outputs: Annotated[tuple[TensorSpec, ...], Meta(max_length=64)] = ()
    backends: Annotated[tuple[Annotated[str, Meta(pattern=NAME)], ...], Meta(min_length=1, max_length=8)] = (
        "onnxruntime",
    )
    quantisation: Annotated[str, Meta(max_length=64)] = ""
    memory_bytes: Annotated[int, Meta(ge=0, le=2**40)] = 0
    options: Annotated[dict[str, Annotated[dict[str, Scalar], Meta(max_length=64)]], Meta(max_length=8)] = {}


class Encryption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which files are encrypted (envelope.py), and the ids of the devices that can open them (device_key.py).

    Hashes and sizes of the manifest are those of the encrypted files: nobody needs a key to check or share a bundle.
    """

    files: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1024)]
    devices: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")], ...], Meta(min_length=1, max_length=1024)
    ]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """See the top of this file. `training` is the record of how it came to be: data, seeds, figures."""

    format: int
    name: Annotated[str, Meta(pattern=NAME)]
    version: Annotated[str, Meta(pattern=VERSION)]
    kind: str
    files: Annotated[tuple[FileEntry, ...], Meta(min_length=1, max_length=1024)]
    models: Annotated[dict[Annotated[str, Meta(pattern=NAME)], ModelEntry], Meta(max_length=32)] = {}
    licence: Annotated[str, Meta(min_length=1, max_length=256)]
    description: Text = ""
    encryption: Encryption | None = None
    training: Annotated[dict[Annotated[str, Meta(max_length=64)], Text | int | float | bool], Meta(max_length=128)] = {}

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(entry.bytes for entry in self.files)

    def encode(self) -> bytes:
        """Returns the canonical form. Raises BundleError if the manifest contradicts itself."""
        data = msgspec.json.encode(self, order="sorted")
        decode_manifest(data)
        return data


def decode_manifest(data: bytes) -> Manifest:
    """Reads a manifest and checks that it agrees with itself. Raises BundleError for any but the canonical form."""
    if len(data) > MANIFEST_CAP_BYTES:
        raise BundleError(f"a manifest has {len(data)} bytes, at most {MANIFEST_CAP_BYTES} are taken")
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found != MANIFEST_FORMAT:
            raise BundleError(
                f"a manifest has format {found}, this build reads {MANIFEST_FORMAT}",
                next_step="update this installation",
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"a manifest is not one: {error}") from error
    if msgspec.json.encode(manifest, order="sorted") != data:
        # What duplicate keys, other spellings of a number, and defaults written out come to. A later version may add
        # fields that have defaults: the form of what was signed before does not change.
        raise BundleError(f"bundle '{manifest.name}': its manifest is not in canonical form")
    _check(manifest)
    return manifest


def manifest_sha256(data: bytes) -> str:
    """Returns the bundle's name by content: the sha256 of its manifest, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def parse_reference(reference: str) -> tuple[str, str]:
    """Returns (name, version) of "name" or "name@version" (version "" if none). Raises BundleError."""
    name, at, version = reference.partition("@")
    if not re.match(NAME, name) or (at and not re.match(VERSION, version)):
        raise BundleError(f"'{reference}' is no model: expected name or name@version", next_step="")
    return name, version


class _Format(msgspec.Struct):
    format: int


def _check(manifest: Manifest) -> None:
    where = f"bundle '{manifest.name}'"
    if manifest.kind not in KINDS:
        raise BundleError(f"{where}: its kind is {manifest.kind!r}, expected one of {', '.join(KINDS)}")
    paths = [entry.path for entry in manifest.files]
    folded = {path.lower() for path in paths}
    if len(folded) != len(paths):
        raise BundleError(f"{where}: its manifest names a file twice")
    if folded & {"manifest.json", "manifest.sig"}:
        raise BundleError(f"{where}: a file cannot be called manifest.json or manifest.sig")
    if any(parent in folded for path in folded for parent in _parents(path)):
        raise BundleError(f"{where}: its manifest names a file as a folder")
    if manifest.total_bytes > BUNDLE_CAP_BYTES:
        raise BundleError(f"{where}: its files have {manifest.total_bytes} bytes, at most {BUNDLE_CAP_BYTES} are taken")
    for path in manifest.encryption.files if manifest.encryption else ():
        if path not in paths:
            raise BundleError(f"{where}: file {path!r} is said to be encrypted, and it has none of that name")
    for role, model in manifest.models.items():
        if model.file not in paths:
            raise BundleError(f"{where}: model '{role}' is of file {model.file!r}, which it has not")
        for tensor in (*model.inputs, *model.outputs):
            if tensor.dtype not in DTYPES:
                raise BundleError(
                    f"{where}: tensor '{tensor.name}' has dtype {tensor.dtype!r}, there are {', '.join(DTYPES)}"
                )


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
