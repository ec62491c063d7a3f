"""A statement as a table of lines, as a picture (PNG), and as a page to print (HTML with both inside)."""

from __future__ import annotations

import base64
import html
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from runtime.errors import RuntimeFault
from runtime.ledger.statement import Statement
from runtime.pictures import figure, png

_STYLE = """
body { font: 11pt/1.45 sans-serif; max-width: 46em; margin: 2em auto; color: #111 }
table { border-collapse: collapse; width: 100%; margin: 1em 0 } th, td { padding: .25em .5em; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid #ccc } img { width: 100% }
.net { font-weight: bold } @media print { body { margin: 0 } }
"""


class PageError(RuntimeFault):
    """A statement's file cannot be written."""

    next_step: ClassVar[str] = "name a file in a folder that exists and that you may write"


def lines(made: Statement) -> list[tuple[str, str]]:
    """Returns the statement as (what, how much) for a person."""
    used, prices = made.total, made.prices
    share = 100 * used.estimated_kWh / used.compute_kWh if used.compute_kWh else 0.0
    found = [
        ("jobs", f"{made.jobs}"),
        ("runs, of them counter-signed", f"{used.runs}, {made.countersigned.runs}"),
        ("hours worked", f"{used.hours:.2f} h"),
        ("actions", f"{used.actions}"),
        ("computing energy", f"{used.compute_kWh:.3f} kWh, {share:.0f} % of it estimated"),
        ("the car awake for it (assumed power)", f"{used.awake_kWh:.3f} kWh"),
        ("through the battery", f"{used.battery_kWh:.3f} kWh"),
        ("to buy at the wall", f"{used.wall_kWh:.3f} kWh"),
        ("earned", _money(used.earned, made) + ("" if prices.is_paid else " (no pay is set: prices.per_hour, …)")),
        ("of it counter-signed", _money(made.countersigned.earned, made)),
        ("electricity", _money(-used.electricity, made)),
        ("battery wear", _money(-used.wear, made)),
        ("net", _money(used.net, made) + (": the work cost more than it earned" if used.net < 0 else "")),
    ]
    return found


def title(made: Statement) -> str:
    """Returns "Statement 2031-05-01 to 2031-05-31" (the last day is counted in)."""
    begin, end = (datetime.fromtimestamp(ns // 10**9).strftime("%Y-%m-%d") for ns in (made.since_ns, made.until_ns - 1))
    return f"Statement {begin} to {end}"


def plot(made: Statement) -> bytes:
    """Returns a PNG: hours and energy by day, and what is left of the money, summed up. Raises NoPictures."""
    days = sorted(made.by_day)
    used = [made.by_day[day] for day in days]
    drawn = figure(9, 7)
    hours, energy, money = drawn.subplots(3, 1, sharex=True)
    places = range(len(days))
    hours.bar(places, [day.hours for day in used], color="#4477aa")
    hours.set_ylabel("hours")
    compute = [day.compute_kWh for day in used]
    energy.bar(places, compute, color="#228833", label="computing")
    energy.bar(places, [day.awake_kWh for day in used], bottom=compute, color="#ccbb44", label="car awake")
    energy.set_ylabel("kWh")
    money.plot(places, _summed([day.earned for day in used]), color="#66ccee", label="earned")
    money.plot(places, _summed([day.net for day in used]), color="#aa3377", label="net")
    money.axhline(0, color="black", linewidth=0.8)
    money.set_ylabel(made.prices.currency)
    step = max(1, len(days) // 12)
    money.set_xticks(list(places)[::step], [day[5:] for day in days][::step])
    for axes in (energy, money):
        axes.legend(frameon=False)
    drawn.suptitle(title(made))
    return png(drawn)


def page(made: Statement) -> str:
    """Returns the page to print; it needs no other file. Raises NoPictures."""
    rows = "".join(
        f"<tr{' class=net' if what == 'net' else ''}><td>{html.escape(what)}<td>{html.escape(value)}</tr>\n"
        for what, value in lines(made)
    )
    picture = base64.b64encode(plot(made)).decode()
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title(made))}</title>"
        f"<style>{_STYLE}</style>\n<h1>{html.escape(title(made))}</h1>\n<table>{rows}</table>\n"
        f"<img alt='by day' src='data:image/png;base64,{picture}'>\n<h2>By model</h2>\n{_by_model(made)}</html>\n"
    )


def write(path: Path, data: bytes) -> None:
    """Writes a picture or a page. Raises PageError where it cannot be."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise PageError(f"{path} cannot be written: {error.strerror}") from error


def _by_model(made: Statement) -> str:
    head = "<tr><th>model<th>runs<th>hours<th>actions<th>kWh<th>net</tr>\n"
    body = "".join(
        f"<tr><td>{html.escape(name)}<td>{used.runs}<td>{used.hours:.2f}<td>{used.actions}"
        f"<td>{used.compute_kWh:.3f}<td>{html.escape(_money(used.net, made))}</tr>\n"
        for name, used in sorted(made.by_model.items())
    )
    return f"<table>{head}{body}</table>"


def _money(amount: float, made: Statement) -> str:
    return f"{amount:.2f} {made.prices.currency}"


def _summed(amounts: list[float]) -> list[float]:
    total, found = 0.0, []
    for amount in amounts:
        total += amount
        found.append(total)
    return found
