"""The owner's statement: what receipts come to in hours, energy and money, in all, by day and by model. Pure.

earned       hours × per_hour + actions × per_action + computing energy × per_compute_kWh
electricity  (computing + awake energy) ÷ charging efficiency × price at the wall
wear         energy that went through the battery × wear a kWh
net          earned - electricity - wear; it may be negative, and then it says so
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from runtime.ledger.entry import Entry
from runtime.ledger.receipt import Receipt

_J_PER_KWH = 3.6e6


@dataclass(frozen=True, kw_only=True)
class Prices:
    """In `currency`; the rows of the settings table [prices], which documents them."""

    currency: str
    per_hour: float
    per_action: float
    per_compute_kWh: float
    electricity_per_kWh: float
    charging_efficiency_pct: float
    battery_wear_per_kWh: float

    @property
    def is_paid(self) -> bool:
        """Whether any pay was agreed at all."""
        return self.per_hour > 0 or self.per_action > 0 or self.per_compute_kWh > 0


def earned(prices: Prices, seconds: float, actions: int, joules: float) -> float:
    """Returns what a run earns its owner, which is what it costs who submitted its job; `joules` are of computing."""
    return seconds / 3600 * prices.per_hour + actions * prices.per_action + _compute(prices, joules)


def _compute(prices: Prices, joules: float) -> float:
    return joules / _J_PER_KWH * prices.per_compute_kWh


@dataclass
class Used:
    """Sums over runs. `estimated_kWh` is the part of `compute_kWh` that no rail measured; `battery_kWh` is the part of
    computing and awake energy that went through the battery; `wall_kWh` is what the owner must buy for both."""

    runs: int = 0
    hours: float = 0.0
    actions: int = 0
    compute_kWh: float = 0.0
    estimated_kWh: float = 0.0
    awake_kWh: float = 0.0
    battery_kWh: float = 0.0
    wall_kWh: float = 0.0
    earned: float = 0.0
    electricity: float = 0.0
    wear: float = 0.0

    @property
    def net(self) -> float:
        return self.earned - self.electricity - self.wear

    def add(self, entry: Entry, prices: Prices) -> None:
        hours, compute_kWh = entry.seconds / 3600, entry.joules / _J_PER_KWH
        awake_kWh, battery_kWh = entry.awake_joules / _J_PER_KWH, entry.battery_joules / _J_PER_KWH
        wall_kWh = (compute_kWh + awake_kWh) * 100 / prices.charging_efficiency_pct
        self.runs += 1
        self.hours += hours
        self.actions += entry.actions
        self.compute_kWh += compute_kWh
        self.estimated_kWh += compute_kWh if entry.is_estimated else 0.0
        self.awake_kWh += awake_kWh
        self.battery_kWh += battery_kWh
        self.wall_kWh += wall_kWh
        self.earned += earned(prices, entry.seconds, entry.actions, entry.joules)
        self.electricity += wall_kWh * prices.electricity_per_kWh
        self.wear += battery_kWh * prices.battery_wear_per_kWh


@dataclass
class Statement:
    """What was used from `since_ns` up to, not including, `until_ns` (UTC). `by_day` has the days with runs, by local
    date. `countersigned` is the part of `total` that the fleet has taken; the rest still waits for its answer."""

    since_ns: int
    until_ns: int
    prices: Prices
    jobs: int = 0
    total: Used = field(default_factory=Used)
    countersigned: Used = field(default_factory=Used)
    by_day: dict[str, Used] = field(default_factory=dict)
    by_model: dict[str, Used] = field(default_factory=dict)


def statement(
    receipts: Iterable[Receipt], since_ns: int, until_ns: int, prices: Prices, zone: tzinfo | None = None
) -> Statement:
    """Returns what the receipts booked in that time come to; a day ends at midnight in `zone` (None: this machine's).

    Damaged lines of a ledger are no receipts and not counted: `verify` (audit.py) tells of them.
    """
    made = Statement(since_ns, until_ns, prices)
    jobs = set()
    for receipt in receipts:
        entry = receipt.entry
        if not since_ns <= entry.at_ns < until_ns:
            continue
        jobs.add(entry.job)
        day = datetime.fromtimestamp(entry.at_ns / 1e9, zone).strftime("%Y-%m-%d")
        for used in (
            made.total,
            made.by_day.setdefault(day, Used()),
            made.by_model.setdefault(entry.model, Used()),
        ):
            used.add(entry, prices)
        if receipt.countersignature is not None:
            made.countersigned.add(entry, prices)
    made.jobs = len(jobs)
    return made
