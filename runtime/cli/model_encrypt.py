"""`idlehands model encrypt` and `device-key`: bundles that only some devices can open."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.options import json_option, print_json
from runtime.store import encrypt as encryption
from runtime.store.device_key import DeviceKey, DevicePublicKey
from runtime.store.models import ModelStore


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--for", "devices", multiple=True, required=True, metavar="DEVICE_KEY", help="May be given many times.")
@click.option("--file", "files", multiple=True, metavar="PATH", help="Only this file of it. Default: every file.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Default: beside BUNDLE, `nav.ihb` as `nav.encrypted.ihb`."
)
@json_option
def encrypt(bundle: Path, devices: tuple[str, ...], files: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Write BUNDLE anew so that only the devices of these keys can read its files. Sign it afterwards.

    A DEVICE_KEY is the line that `idlehands model device-key` prints on the device.

    \b
    idlehands model encrypt nav.ihb --for device:8f…-51c0a2de      makes nav.encrypted.ihb
    idlehands model sign nav.encrypted.ihb
    """
    destination = out or bundle.with_name(f"{bundle.stem}.encrypted{bundle.suffix}")
    manifest = encryption.encrypt(bundle, destination, [DevicePublicKey.parse(text) for text in devices], files=files)
    assert manifest.encryption is not None
    found = manifest.encryption
    if as_json:
        print_json({"path": str(destination), "files": list(found.files), "devices": list(found.devices)})
        return
    print(
        f"encrypted {len(found.files)} of {len(manifest.files)} files for {len(found.devices)} devices: {destination}"
    )
    print(f"next: idlehands model sign {destination}")


@click.command(name="device-key")
@json_option
@click.pass_obj
def device_key(root: Path, as_json: bool) -> None:
    """Print this device's public key, made on first use. Run it as the daemon's user, which must read the secret one.

    It is no secret: give it to who encrypts bundles for this device.
    """
    public = DeviceKey.load_or_create(ModelStore(root).device_key).public
    if as_json:
        print_json({"key": public.text, "id": public.key_id})
    else:
        print(public.text)
