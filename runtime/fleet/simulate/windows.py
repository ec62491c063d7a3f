"""When a parked car's gate is open: the policy's dwell, charge, energy debt, heat and the owner's rules, for many cars.

    parkings ──► pieces that the owner and the weather allow ──► cut by dwell and energy ──► windows

The numbers are those of the policy's own table (firmware_bridge/policy_settings.py). A car in a window is awake and
waits for jobs also while it has none, so its energy is spent from the beginning to the end of the window: what is
simulated is the least that the fleet can do, not the most.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from firmware_bridge.policy_settings import Policy
from runtime.fleet.simulate.parking import DAY_BEGINS_H, DAY_S, HOUR_S, Flags, Floats, Parkings

SHORTEST_S = 60.0


@dataclass(frozen=True)
class Region:
    """A part of the fleet. `share` of all cars; `behind_h` its clock against the first region's; its weather.

    Temperatures of the day's mean in January and July, and the swing from it to the warmest hour (15:00).
    """

    name: str
    share: float
    behind_h: int
    january_C: float
    july_C: float
    swing_C: float = 6.0
    cars_differ_C: float = 5.0  # cities of one region


# Shares of the population by time zone (US Census 2020 by county); 30-year means of their larger cities (NOAA normals).
REGIONS = (
    Region("eastern", 0.476, 0, 2.0, 25.0),
    Region("central", 0.291, 1, 1.0, 27.0),
    Region("mountain", 0.067, 2, 1.0, 27.0, swing_C=8.0),
    Region("pacific", 0.166, 3, 9.0, 22.0),
)


@dataclass(frozen=True)
class Rules:
    """Who allows what, and what work draws. Shares are of the cars whose owners take part at all."""

    policy: Policy = field(default_factory=Policy)
    month: str = "january"
    nights_only: float = 0.25  # 22:00-06:00
    charging_only: float = 0.15
    offline: float = 0.05  # parkings without a network: basements, garages
    in_the_sun: float = 0.4
    sun_C: float = 25.0  # what the sun adds to the cabin around noon
    compute_W: float = 60.0
    awake_W: float = 275.0


@dataclass(frozen=True)
class Windows:
    """Open gates, in the order of their beginning, in seconds since 04:00. `awake_s` is the time for which the car is
    awake only for work; `plugged` windows are supplied from the wall."""

    start: Floats
    end: Floats
    plugged: Flags
    awake_s: Floats

    def open_cars(self, every_s: float) -> Floats:
        """Returns how many gates are open on average in each `every_s` of the day."""
        count = round(DAY_S / every_s)
        total = np.zeros(count + 1)
        for sign, times in ((1.0, self.start), (-1.0, self.end)):
            place = np.asarray(times, np.float64) / every_s
            cell = np.minimum(place.astype(np.int64), count - 1)
            total[:-1] += sign * np.bincount(cell, 1.0 - (place - cell), minlength=count)[:count]
            total[1:] += sign * np.bincount(cell, place - cell, minlength=count)[:count]
        opened: Floats = np.cumsum(total)[:-1].astype(np.float32)
        return opened


def open_windows(parked: Parkings, region: Region, rules: Rules, rng: np.random.Generator) -> Windows:
    """Returns the windows of all cars."""
    policy = rules.policy
    allowed = _allowed(parked.cars, region, rules, rng)
    nobody = rng.random(parked.start.shape) < rules.offline
    nobody |= (rng.random((parked.cars, 1)) < rules.charging_only) & ~parked.plugged
    nobody |= (parked.soc < policy.charge.reserve_pct / 100) & ~parked.plugged
    draw_W = np.where(parked.plugged, rules.compute_W, rules.compute_W + rules.awake_W).astype(np.float32)
    full_Wh = np.float32(policy.energy.debt_max_Wh)
    debt = np.where(parked.plugged[:, 0], full_Wh, 0)  # who was not plugged in last night has owed since the evening
    day = np.full(parked.cars, policy.energy.day_max_Wh, np.float32)
    found: list[tuple[Floats, Floats, Flags, Floats]] = []
    for number in range(parked.start.shape[1]):
        opens = parked.start[:, number] + np.float32(policy.timing.dwell_s)
        if number == 0:
            opens = parked.start[:, number]  # parked since yesterday
        plugged = parked.plugged[:, number]
        for begin, until in allowed:
            start = np.maximum(opens, begin)
            end = np.where(nobody[:, number], start, np.minimum(parked.end[:, number], until))
            budget_Wh = np.where(plugged, day, np.minimum(debt, day))
            lasts_s = np.clip(end - start, 0, budget_Wh / draw_W[:, number] * np.float32(HOUR_S))
            used_Wh = lasts_s * draw_W[:, number] / np.float32(HOUR_S)
            day -= used_Wh
            debt = np.where(plugged, full_Wh, debt - used_Wh)
            is_open = lasts_s >= SHORTEST_S
            charging = _overlap(start, start + lasts_s, parked.charge_start[:, number], parked.charge_end[:, number])
            found.append((start[is_open], (start + lasts_s)[is_open], plugged[is_open], (lasts_s - charging)[is_open]))
    start, end, plugged, awake_s = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(start, kind="stable")
    return Windows(start[order], end[order], plugged[order], awake_s[order])


def _allowed(cars: int, region: Region, rules: Rules, rng: np.random.Generator) -> list[tuple[Floats, Floats]]:
    """Returns for each car the two spans of the day in which owner and weather allow work (the second may be empty)."""
    policy = rules.policy
    first = np.zeros(cars, np.float32), np.full(cars, DAY_S, np.float32)
    second = np.full(cars, DAY_S, np.float32), np.full(cars, DAY_S, np.float32)
    mean_C = (region.january_C if rules.month == "january" else region.july_C) + rng.normal(
        0, region.cars_differ_C, cars
    )
    sun_C = np.where(rng.random(cars) < rules.in_the_sun, rules.sun_C, 5.0)
    is_hot = mean_C + region.swing_C + sun_C > policy.heat.cabin_max_C
    is_cold = mean_C - region.swing_C < policy.heat.battery_min_C  # the pack follows the night's air
    nights = rng.random(cars) < rules.nights_only
    for closed, begin_h, end_h in ((is_hot, 11, 18), (is_cold, 4, 11), (nights, 6, 22)):
        first[1][closed] = (begin_h - DAY_BEGINS_H) * HOUR_S
        second[0][closed] = (end_h - DAY_BEGINS_H) * HOUR_S
    return [first, second]


def _overlap(start: Floats, end: Floats, other_start: Floats, other_end: Floats) -> Floats:
    overlap: Floats = np.maximum(np.minimum(end, other_end) - np.maximum(start, other_start), 0)
    return overlap
