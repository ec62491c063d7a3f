"""`idlehands install` and `uninstall`: systemd units, users, folders and settings, below any root folder.

Settings that are there already are kept; `uninstall` removes what `install` wrote, and neither settings nor state.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from firmware_bridge.policy_settings import Policy
from firmware_bridge.settings import template
from runtime.cli.options import json_option, print_json
from runtime.errors import RuntimeFault

SERVICE = Path(__file__).parents[1] / "service"

UNITS = (
    "idlehands-bridge.service",
    "idlehands-netns.service",
    "idlehands-can@.service",
    "idlehands.service",
    "idlehands.socket",
    "idlehands.slice",
)


class InstallFailed(RuntimeFault):
    """A file of the installation cannot be written or removed."""

    next_step: ClassVar[str] = "run as root, or name a folder of yours with --root"


@dataclass(frozen=True)
class Item:
    """One file: where it goes below the root, its text, and whether a person may have changed it since."""

    target: str
    text: str
    is_settings: bool = False


def items(programs: Path) -> list[Item]:
    """Returns every file of an installation whose command lies in `programs`."""

    def read(name: str) -> str:
        return (SERVICE / name).read_text().replace("@BIN@", str(programs))

    return [
        *(Item(f"etc/systemd/system/{name}", read(name)) for name in UNITS),
        Item("usr/lib/sysusers.d/idlehands.conf", read("sysusers.conf")),
        Item("usr/lib/tmpfiles.d/idlehands.conf", read("tmpfiles.conf")),
        Item("etc/idlehands/bridge.toml", read("bridge.toml"), is_settings=True),
        Item("etc/idlehands/idlehands.toml", read("idlehands.toml"), is_settings=True),
        Item("etc/idlehands/policy.toml", template(Policy), is_settings=True),
    ]


root_option = click.option(
    "--root", default="/", show_default=True, type=click.Path(path_type=Path), help="Install below this folder."
)


@click.command()
@root_option
@json_option
def install(root: Path, as_json: bool) -> None:
    """Write units, users, folders and settings; what to run next is said at the end."""
    done: dict[str, str] = {}
    for item in items(Path(sys.executable).parent):
        path = root / item.target
        try:
            if item.is_settings and path.exists():
                done[str(path)] = "kept"
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(item.text)
        except OSError as error:
            raise InstallFailed(f"{path} cannot be written: {error.strerror}") from error
        done[str(path)] = "written"
    _tell(done, as_json)
    if not as_json:
        print("next: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload")
        print("      name the car's sources in /etc/idlehands/bridge.toml, read /etc/idlehands/policy.toml")
        print("      systemctl enable --now idlehands-can@can0          # for each bus; needs can-utils and iproute2")
        print("      systemctl enable --now idlehands-bridge idlehands.socket idlehands && idlehands why")


@click.command()
@root_option
@json_option
def uninstall(root: Path, as_json: bool) -> None:
    """Remove units, users' and folders' definitions; settings and state stay."""
    done: dict[str, str] = {}
    for item in items(Path(sys.executable).parent):
        path = root / item.target
        if item.is_settings or not path.exists():
            continue
        try:
            path.unlink()
        except OSError as error:
            raise InstallFailed(f"{path} cannot be removed: {error.strerror}") from error
        done[str(path)] = "removed"
    _tell(done, as_json)


def _tell(done: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    for path, what in done.items():
        print(f"{what:<8} {path}")
