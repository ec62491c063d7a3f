"""`idlehands top`: gate, governor, jobs and energy, live in the terminal."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from firmware_bridge import why
from firmware_bridge.bridge_settings import BridgeSettings
from firmware_bridge.why import span
from kernels.gate.word import GateReader, GateWordError, boottime_ns
from runtime.cli.options import config_options, json_option, print_json, settings_of
from runtime.config.config import Config
from runtime.daemon.client import Client, DaemonAbsent

JOBS_SHOWN = 12
# Signals worth a line of their own, where the car has them.
_SHOWN = (
    ("Vehicle.Powertrain.TractionBattery.StateOfCharge.Displayed", "charge"),
    ("Vehicle.Powertrain.TractionBattery.CurrentPower", "into the battery"),
    ("Vehicle.IdleHands.Compute.Temperature", "computer"),
    ("Vehicle.IdleHands.Compute.Power", "computer's power"),
    ("Vehicle.Cabin.HVAC.AmbientAirTemperature", "cabin"),
)


@click.command()
@click.option("--once", is_flag=True, help="Print it once and end.")
@click.option("--every", "every_s", default=1.0, show_default=True, type=click.FloatRange(0.1, 60), help="Seconds.")
@config_options
@json_option
def top(once: bool, every_s: float, config_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Show what holds the gate, what the governor grants, what jobs do and what energy is left, live.

    --json prints one document and ends, as --once does for people. Ctrl-C ends the live view.
    """
    config = settings_of(config_path, settings)
    if as_json:
        print_json(look(config))
        return
    if once:
        Console().print(shown(look(config)))
        return
    try:
        with Live(shown(look(config)), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every_s)
                live.update(shown(look(config)), refresh=True)
    except KeyboardInterrupt:
        return


def look(config: Config) -> dict[str, Any]:
    """Returns {"gate", "governor", "forecast", "energy", "signals", "daemon", "jobs"}; what nobody tells is None."""
    answer = why.now(BridgeSettings(runtime_dir=str(config.daemon.gate_word_path.parent)))
    try:
        word = GateReader(config.daemon.gate_word_path).read()
        lease_ms = max(0.0, round((word.lease_until_ns - boottime_ns()) / 1e6, 1))
        governor = {
            "duty_permille": word.duty_permille,
            "max_threads": word.max_threads,
            "power_budget_mW": word.power_budget_mW,
        }
    except GateWordError:
        lease_ms, governor = None, None
    daemon, jobs = asyncio.run(_ask(config))
    gate = {key: answer.get(key) for key in ("state", "is_open", "since_s", "gate_epoch", "bridge", "reasons")}
    return {
        "gate": {**gate, "lease_ms": lease_ms},
        "governor": governor,
        "forecast": answer.get("forecast"),
        "energy": answer.get("energy"),
        "signals": {name: answer["signals"][name] for name, _ in _SHOWN if name in answer["signals"]},
        "daemon": daemon,
        "jobs": jobs,
    }


async def _ask(config: Config) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    try:
        async with await Client.connect(config.daemon.control_path) as client:
            status = msgspec.to_builtins(await client.status())
            jobs = await client.list_jobs((), JOBS_SHOWN)
    except DaemonAbsent:
        return None, []
    return status, [msgspec.to_builtins(job) for job in jobs]


def shown(seen: dict[str, Any]) -> RenderableType:
    """Returns what `look` saw as one screen."""
    return Group(_head(seen), _reasons(seen["gate"]), _jobs(seen))


def _head(seen: dict[str, Any]) -> Table:
    gate, governor, forecast, energy = seen["gate"], seen["governor"], seen["forecast"], seen["energy"]
    table = Table.grid(padding=(0, 2))
    since = f" for {span(gate['since_s'])}" if gate["since_s"] is not None else ""
    lease = f", lease {gate['lease_ms']:.0f} ms" if gate["is_open"] and gate["lease_ms"] is not None else ""
    style = "green" if gate["is_open"] else "yellow"
    table.add_row("gate", f"[{style}]{gate['state']}[/]{since}, epoch {gate['gate_epoch']}{lease}")
    if governor is not None:
        power_W = governor["power_budget_mW"] / 1000
        limit = f", {power_W:g} W" if power_W else ""
        granted = f"duty {governor['duty_permille'] / 10:.0f} %, {governor['max_threads']} threads{limit}"
        table.add_row("governor", f"{_bar(governor['duty_permille'] / 1000)} {granted}")
    if forecast:
        table.add_row("forecast", f"a job may take {span(forecast['length_s'])}, bounded by {forecast['limited_by']}")
    if energy:
        table.add_row("energy", f"owed to the battery {energy['debt_Wh']:g} Wh, used today {energy['today_Wh']:g} Wh")
    told = [
        f"{label} {signal['value']:g} {signal['unit']}"
        for name, label in _SHOWN
        if isinstance((signal := seen["signals"].get(name, {})).get("value"), int | float)
    ]
    if told:
        table.add_row("car", ", ".join(told))
    daemon = seen["daemon"]
    if daemon is None:
        table.add_row("daemon", "does not answer; start it with `idlehands serve`")
    else:
        held = f", {daemon['held_back']} held back by the forecast" if daemon["held_back"] else ""
        counts = f"{daemon['queued']} wait{held}, {len(daemon['running'])} run, {daemon['finished']} finished"
        table.add_row("jobs", f"{counts}, {daemon['actions']} actions")
        for model in daemon["models"]:
            size = f"{model['resident_bytes'] >> 20} MiB"
            table.add_row("model", escape(f"{model['bundle']} {model['role']} on {model['backend']}, {size}"))
    return table


def _reasons(gate: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False)
    for each in gate["reasons"] or ():
        mark = "[red]![/]" if each["urgent"] else "-"
        table.add_row(mark, escape(each["text"]), escape(each["opens"]), f"since {span(each['since_s'])}")
    return table


def _jobs(seen: dict[str, Any]) -> Table:
    table = Table(title="jobs, newest first", title_justify="left")
    for column in ("job", "state", "agent", "actions", "desktop", "what"):
        table.add_column(column, no_wrap=True, justify="right" if column == "actions" else "left")
    for job in seen["jobs"]:
        told = job["answer"] or job["reason"] or job["instruction"]
        cells = (job["job"][:12], job["state"], job["agent"], str(job["actions"]), job["desktop"], told[:60])
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _bar(share: float, width: int = 20) -> str:
    full = round(max(0.0, min(1.0, share)) * width)
    return "█" * full + "░" * (width - full)
