"""`idlehands desktop record`: keeps what a person shows, for training; on this machine alone."""

from __future__ import annotations

import signal
from pathlib import Path

import click
import msgspec

from runtime.cli.options import config_options, json_option, print_json, settings_of


@click.command()
@click.argument("task")
@click.option("--instruction", required=True, help="What you are going to do, in the words of a job.")
@click.option("--display", help="The X display. Default: $DISPLAY")
@click.option("--seconds", default=600.0, show_default=True, type=click.FloatRange(1, 86400), help="At most so long.")
@click.option("--failed", is_flag=True, help="What you show is how it goes wrong: kept, and marked as no success.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: demonstrations in the desktop's state folder.")
@config_options
@json_option
def record(
    task: str,
    instruction: str,
    display: str | None,
    seconds: float,
    failed: bool,
    out: Path | None,
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Do the TASK yourself and keep it as a demonstration, until Ctrl-C.

    Screens and everything that you type are written down, passwords too: on this machine, readable by you alone.
    Training reads them from the folder.
    """
    from runtime.desktop.episodes import write_shard
    from runtime.desktop.x11.demonstrate import demonstrate

    told = {"stop": False}

    def stop(*_: object) -> None:
        told["stop"] = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    folder = out or settings_of(config_path, settings).desktop.state / "demonstrations"

    def ready() -> None:
        if not as_json:
            print(f"recording {task!r}: do it now, then Ctrl-C", flush=True)

    def tell(said: str) -> None:
        if not as_json:
            print(f"  {said}", flush=True)

    shown = demonstrate(display, task, instruction, seconds, lambda: told["stop"], ready, tell)
    if failed:
        shown = msgspec.structs.replace(shown, success=False, raw_reward=0.0)
    path = write_shard(folder, shown.task, shown.seed, [shown])
    if as_json:
        print_json({"path": str(path), "steps": len(shown.steps)})
    else:
        print(f"kept {len(shown.steps)} steps in {path}")
