"""The energy account: what work took out of the battery, and what was really put back. Pure.

    debt     grows by the work's power while the battery supplies it; falls only by energy that flows into the battery
    today    everything that work used since midnight, whoever supplied it

While the charger supplies more than the car uses (power flows into the battery), work costs the battery nothing and the
debt is repaid by that flow. Nothing else repays it: not a drive, not a restart, not a flag that says "charging". An
owner who never charges can lose `debt_max_Wh` to work, ever. (openpilot gives 30 Wh a parking; its users beg that
the budget know of charging: openpilot#1882.)
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from firmware_bridge import signals
from firmware_bridge.fusion import Fact, Facts
from firmware_bridge.policy_settings import Energy
from firmware_bridge.readings import Quality

# A gap in the evaluations (a suspended machine) is no time of work; more than this is not counted as one.
_LONGEST_STEP_S = 1.0
VERSION = 1


@dataclass(frozen=True, slots=True)
class Account:
    """`day` is days since 1970, local; None until the date was known once. `is_clean`: stored at an orderly end."""

    debt_Wh: float = 0.0
    today_Wh: float = 0.0
    day: int | None = None
    is_clean: bool = True


def after(
    account: Account,
    facts: Facts,
    elapsed_s: float,
    is_working: bool,
    settings: Energy,
    *,
    longest_s: float = _LONGEST_STEP_S,
) -> Account:
    """Returns the account after `elapsed_s` (of which at most `longest_s` count) in which `facts` held and work ran."""
    hours = max(0.0, min(elapsed_s, longest_s)) / 3600
    into_battery_W = _good(facts, signals.PACK_POWER)
    is_supplied = into_battery_W is not None and into_battery_W > 0
    debt_Wh, today_Wh, day = account.debt_Wh, account.today_Wh, account.day
    if is_working:
        used_Wh = power_W(facts, settings) * hours
        today_Wh += used_Wh
        debt_Wh += 0.0 if is_supplied else used_Wh
    if is_supplied and into_battery_W is not None:
        debt_Wh = max(0.0, debt_Wh - into_battery_W * hours)
    known_day = _good(facts, signals.DAY)
    if known_day is not None and (day is None or known_day > day):  # a clock set back begins no new day
        today_Wh = today_Wh if day is None else 0.0
        day = int(known_day)
    return Account(debt_Wh, today_Wh, day, is_clean=not is_working)


def power_W(facts: Facts, settings: Energy) -> float:
    """Returns what work costs now: the computer's measured power, or the assumed one, and what keeps the car awake."""
    measured = _good(facts, signals.COMPUTE_POWER)
    return (settings.assumed_power_W if measured is None else measured) + settings.awake_power_W


def facts_of(account: Account, settings: Energy, now_ns: int) -> dict[str, Fact]:
    """Returns what is left of the budgets as facts for the policy."""
    left = {
        signals.DEBT_ENERGY_LEFT: settings.debt_max_Wh - account.debt_Wh,
        signals.DAY_ENERGY_LEFT: settings.day_max_Wh - account.today_Wh,
    }
    return {name: Fact(name, round(each, 3), Quality.GOOD, now_ns, each) for name, each in left.items()}


def store(account: Account) -> bytes:
    """Returns the account's file."""
    tree = {"version": VERSION, "debt_Wh": account.debt_Wh, "today_Wh": account.today_Wh}
    return json.dumps(tree | {"day": account.day, "is_clean": account.is_clean}).encode() + b"\n"


def load(data: bytes, settings: Energy) -> Account:
    """Returns the account of a file. After an unclean end the work since the last storing is assumed at its worst.

    Raises ValueError for a damaged file; the caller then assumes `spent`.
    """
    try:
        tree = json.loads(data)
        debt, today, day, is_clean = (tree[key] for key in ("debt_Wh", "today_Wh", "day", "is_clean"))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no energy account: {error!r}") from error
    numbers = (debt, today, 0 if day is None else day)
    if tree.get("version") != VERSION or not all(type(each) in (int, float) and 0 <= each < 1e9 for each in numbers):
        raise ValueError(f"no energy account of version {VERSION}: {tree!r}")
    account = Account(float(debt), float(today), None if day is None else int(day), is_clean is True)
    if account.is_clean:
        return account
    lost_Wh = (settings.assumed_power_W + settings.awake_power_W) * settings.store_every_s / 3600
    return replace(account, debt_Wh=account.debt_Wh + lost_Wh, today_Wh=account.today_Wh + lost_Wh)


def spent(settings: Energy) -> Account:
    """Returns an account with nothing left: what is assumed when the stored one is damaged."""
    return Account(settings.debt_max_Wh, settings.day_max_Wh, None)


def _good(facts: Facts, name: str) -> float | None:
    fact = facts.get(name)
    if fact is None or fact.quality is not Quality.GOOD or not isinstance(fact.value, int | float):
        return None
    return float(fact.value)
