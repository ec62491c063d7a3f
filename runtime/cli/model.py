"""`idlehands model`: pack, sign, install, list, verify, pin, roll back, remove, collect, quantise, fetch, encrypt."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import click
import msgspec

from runtime.cli.model_canary import canary
from runtime.cli.model_encrypt import device_key, encrypt
from runtime.cli.model_fetch import fetch, publish, share
from runtime.cli.options import config_options, json_option, print_json, print_table, settings_of
from runtime.errors import RuntimeFault
from runtime.store import bundle as bundles
from runtime.store.keys import KEY_FOLDER, SigningKey, development_key
from runtime.store.manifest import Manifest
from runtime.store.models import ModelStore


class RecipesMissing(RuntimeFault):
    """The recipes of models/ are not here: an installed package does not carry them."""

    next_step: ClassVar[str] = "run it in a checkout of idlehands, after 'make build'"


@click.group()
@config_options
@click.pass_context
def model(ctx: click.Context, config_path: str | None, settings: tuple[str, ...]) -> None:
    """Model bundles: what is signed by a trusted key may be installed, and only what is installed runs.

    \b
    idlehands model pack out/my-model my-model.ihb      a folder with bundle.toml and the files
    idlehands model sign my-model.ihb                   by this machine's development key, or --key FILE
    idlehands model install my-model.ihb                checks every byte, then activates it
    idlehands model fetch https://models.example nav-1.2.0.ihb    fetches what is nowhere here, and installs it
    """
    daemon = settings_of(config_path, settings).daemon
    ctx.obj = daemon.models_folder
    ctx.meta["quota_bytes"] = daemon.models_quota_MiB << 20


def _told(manifest: Manifest, as_json: bool, text: str) -> None:
    if as_json:
        print_json({"name": manifest.name, "version": manifest.version, "bytes": manifest.total_bytes})
    else:
        print(f"{text} {manifest.name}@{manifest.version}, {manifest.total_bytes} bytes in {len(manifest.files)} files")


@model.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("bundle", type=click.Path(path_type=Path))
@json_option
def pack(folder: Path, bundle: Path, as_json: bool) -> None:
    """Pack FOLDER (its bundle.toml says what it is) into BUNDLE: one file if it ends in .ihb, else a folder."""
    _told(bundles.pack(folder, bundle), as_json, "packed")


@model.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="A signing key. Default: this machine's development key.")
@json_option
@click.pass_obj
def sign(root: Path, bundle: Path, key: Path | None, as_json: bool) -> None:
    """Sign BUNDLE in place, after every file was checked against its manifest."""
    signing = (
        SigningKey.load(key) if key else development_key(root.parent / KEY_FOLDER, ModelStore(root).trusted_folder)
    )
    _told(bundles.sign(bundle, signing), as_json, "signed")


@model.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--no-activate", is_flag=True, help="Keep the version that is active now.")
@json_option
@click.pass_context
def install(ctx: click.Context, bundle: Path, no_activate: bool, as_json: bool) -> None:
    """Check every byte of BUNDLE, keep it, and make it the active version of its name."""
    store = ModelStore(ctx.obj, quota_bytes=ctx.meta["quota_bytes"])
    _told(store.install(bundle, activate=not no_activate).manifest, as_json, "installed")


@model.command(name="list")
@json_option
@click.pass_obj
def list_(root: Path, as_json: bool) -> None:
    """List installed models."""
    found = ModelStore(root).list_models()
    if as_json:
        print_json([msgspec.to_builtins(one) for one in found])
        return
    rows = [
        (
            one.name,
            one.version,
            one.kind,
            one.total_bytes,
            _flags(one.is_active, one.is_pinned),
            one.problem or one.sha256[:16],
        )
        for one in found
    ]
    print_table(f"models in {root}", ("name", "version", "kind", "bytes", "", "manifest"), rows)


def _flags(is_active: bool, is_pinned: bool) -> str:
    return " ".join(word for word, holds in (("active", is_active), ("pinned", is_pinned)) if holds)


@model.command()
@click.argument("name")
@json_option
@click.pass_obj
def verify(root: Path, name: str, as_json: bool) -> None:
    """Read every byte of the installed model NAME (or NAME@VERSION) against its manifest."""
    _told(ModelStore(root).verify(name).manifest, as_json, "whole:")


@model.command()
@click.argument("name")
@click.argument("version")
@click.option("--off", is_flag=True, help="Let it go again.")
@click.pass_obj
def pin(root: Path, name: str, version: str, off: bool) -> None:
    """Keep a version from remove and gc."""
    ModelStore(root).pin(name, version, is_pinned=not off)
    print(f"{'let go' if off else 'pinned'} {name}@{version}")


@model.command()
@click.argument("name")
@click.pass_obj
def rollback(root: Path, name: str) -> None:
    """Make the version active that was before."""
    print(f"active: {name}@{ModelStore(root).rollback(name)}")


@model.command()
@click.argument("name")
@click.argument("version")
@click.pass_obj
def remove(root: Path, name: str, version: str) -> None:
    """Take a version away; the active one falls back to that before it."""
    ModelStore(root).remove(name, version)
    print(f"removed {name}@{version}")


@model.command()
@json_option
@click.pass_obj
def gc(root: Path, as_json: bool) -> None:
    """Remove every version that is neither active, pinned, nor the next rollback's."""
    gone = ModelStore(root).gc()
    if as_json:
        print_json(gone)
    else:
        print("\n".join(f"removed {name}" for name in gone) or "nothing to remove")


@model.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def quantize(arguments: tuple[str, ...]) -> None:
    """Quantise a float ONNX model to int8 QDQ, or a GGUF to fewer bits (`idlehands model quantize x.gguf --help`).

    The recipes live in models/ and need the extra [train]; they run as a process of their own.
    """
    checkout = Path(__file__).parents[2]
    if not (checkout / "models" / "quantize_command.py").is_file() or importlib.util.find_spec("onnx") is None:
        raise RecipesMissing(f"{checkout} has no recipes, or the package 'onnx' is not installed")
    command = [sys.executable, "-m", "models.quantize_command", *arguments]
    sys.exit(
        subprocess.run(
            command, cwd=os.getcwd(), env={**os.environ, "PYTHONPATH": str(checkout)}, check=False
        ).returncode
    )


for verb in (publish, share, fetch, canary, encrypt, device_key):
    model.add_command(verb)
