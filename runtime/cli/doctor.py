"""`idlehands doctor`: looks at this installation, part by part, and says what is missing and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from firmware_bridge.settings import template
from kernels.errors import IdlehandsError
from kernels.gate.word import GateReader, boottime_ns
from runtime.cli.options import config_options, json_option, print_json, print_table, settings_of
from runtime.config.build import require_one_build
from runtime.config.config import Config


class Finding(msgspec.Struct, frozen=True):
    """`level` is ok, note (something optional is absent) or bad (a verb will refuse)."""

    part: str
    level: str
    found: str
    next_step: str = ""


def _build(config: Config) -> Iterator[Finding]:
    try:
        yield Finding("build", "ok", f"kernels, firmware_bridge and runtime are of build {require_one_build()}")
    except IdlehandsError as error:
        yield Finding("build", "bad", error.message, error.advice)


def _machine(config: Config) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    yield Finding("machine", "ok", f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")


def _packages(config: Config) -> Iterator[Finding]:
    wanted = {
        "onnxruntime": ("models in ONNX", "pip install onnxruntime"),
        "xcffib": ("idlehands desktop on X11", "pip install 'idlehands[desktop]'"),
        "PIL": ("pictures in reports", "pip install 'idlehands[desktop]'"),
        "miniwob": ("the demo's pages", "pip install --no-deps miniwob==1.1.0"),
    }
    for module, (purpose, command) in wanted.items():
        if importlib.util.find_spec(module) is not None:
            yield Finding(module, "ok", f"installed, for {purpose}")
        else:
            yield Finding(module, "note", f"not installed, needed for {purpose}", command)


def _programs(config: Config) -> Iterator[Finding]:
    for program, purpose in (("Xvfb", "the demo's private desktop"), ("chromium", "the demo's pages")):
        path = shutil.which(program)
        if path:
            yield Finding(program, "ok", path)
        else:
            yield Finding(program, "note", f"not on PATH, needed for {purpose}", f"apt-get install {program.lower()}")
    display = os.environ.get("DISPLAY")
    yield (
        Finding("display", "ok", display)
        if display
        else Finding("display", "note", "DISPLAY is not set, needed by idlehands desktop", "set it, or start Xvfb :90")
    )


def _gate(config: Config) -> Iterator[Finding]:
    path = config.daemon.gate_word_path
    try:
        reading = GateReader(path).read()
    except IdlehandsError as error:
        yield Finding("gate", "note", error.message, error.advice)
        return
    state = "open" if reading.is_open(boottime_ns()) else f"{reading.state.name.lower()} ({', '.join(reading.reasons)})"
    yield Finding("gate", "ok", f"{path}: {state}, epoch {reading.gate_epoch}", "ask 'idlehands why'")


def _folders(config: Config) -> Iterator[Finding]:
    for name, folder in (("state", config.daemon.state), ("runtime", config.daemon.run)):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if os.access(there, os.W_OK):
            free_MiB = shutil.disk_usage(there).free >> 20
            yield Finding(f"{name} folder", "ok" if free_MiB > 64 else "bad", f"{folder}, {free_MiB} MiB free")
        else:
            yield Finding(
                f"{name} folder",
                "bad",
                f"{folder} cannot be written",
                f"set daemon.{name}_folder, or make {there} writable",
            )


def _memory_lock(config: Config) -> Iterator[Finding]:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        yield Finding("memory lock", "ok", "workers can keep their memory out of swap")
    elif not _has_swap():
        yield Finding("memory lock", "ok", "this machine has no swap")
    else:
        yield Finding(
            "memory lock", "note", f"{soft} bytes: workers may be swapped", "set LimitMEMLOCK=infinity for the unit"
        )


def _has_swap() -> bool:
    return len(Path("/proc/swaps").read_text().splitlines()) > 1


def _device(config: Config) -> Iterator[Finding]:
    from runtime.residency.calibration import read_device

    device = read_device(config.daemon.device_path)
    if device is None:
        yield Finding(
            "device",
            "note",
            "memory bandwidth not measured: sessions are admitted by their cost alone",
            "idlehands doctor --calibrate",
        )
    else:
        yield Finding("device", "ok", f"reads {device.read_GBps:.1f} GB/s with {device.lanes} threads")


def _together(config: Config) -> Iterator[Finding]:
    from runtime.daemon.calibrate import GAINS, cache_of
    from runtime.residency.together import Gains

    if config.worker.together == 1:
        yield Finding("together", "note", "sessions that share a model are never computed at once", "worker.together")
        return
    gains = Gains(cache_of(config) / GAINS).all()
    if not gains:
        yield Finding(
            "together",
            "note",
            "not measured what runs of one model cost at once: a worker measures when it first needs it",
            "idlehands doctor --calibrate",
        )
    for gain in gains:
        best = gain.best(config.worker.together)
        used = f"made {best} at once" if best > 1 else "made one by one"
        yield Finding("together", "ok", f"{gain.model} is {used}: {gain.told()}")


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    _build,
    _machine,
    _packages,
    _programs,
    _folders,
    _gate,
    _memory_lock,
    _device,
    _together,
)


@click.command()
@config_options
@json_option
@click.option(
    "--settings", "show_settings", is_flag=True, help="Print every setting with unit, range and default, as TOML."
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Measure the memory's bandwidth, and what runs of each installed model cost at once; kept for workers.",
)
@click.option("--jobs", "show_jobs", is_flag=True, help="Print the page of a job's fields, as Markdown.")
@click.option("--errors", "show_errors", is_flag=True, help="Print the catalogue of errors, as Markdown.")
def doctor(
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    show_settings: bool,
    show_errors: bool,
    show_jobs: bool,
    calibrate: bool,
) -> None:
    """Check build, packages, programs, folders and gate; exit code 1 if something is bad."""
    if show_settings:
        print(template(Config), end="")
        return
    if show_jobs:
        from runtime.cli.job_page import job_page

        print(job_page(), end="")
        return
    if show_errors:
        from runtime.cli.catalogue import catalogue

        print(catalogue(), end="")
        return
    config = settings_of(config_path, settings)
    if calibrate:
        from runtime.daemon.calibrate import measure_device, measure_models

        measure_device(config)
        measure_models(config, lambda text: print(text, file=sys.stderr))
    findings = [finding for check in CHECKS for finding in check(config)]
    if as_json:
        print_json([msgspec.structs.asdict(finding) for finding in findings])
    else:
        rows = [(one.level, one.part, one.found, one.next_step if one.level != "ok" else "") for one in findings]
        print_table("doctor", ("", "part", "found", "next step"), rows)
    sys.exit(1 if any(finding.level == "bad" for finding in findings) else 0)
