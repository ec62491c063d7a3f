"""When cars drive, where they park, and when they hang on a charger: drawn for many cars at once.

    trips ── sorted start times, durations ──► parkings between them ──► at home? plugged in? charging until when?

The day is a travel day of the surveys: it begins at 04:00, when nearly everybody is parked at home, and ends there. All
times are seconds since then. Sources:

* start times: vehicle trips by hour, Wednesday and Saturday (FHWA, Highway Statistics 2006, table NT-3, of the 2001
  National Household Travel Survey);
* trips: 18 a car and week of 20 minutes, so 3.6 % of the time in motion (Bates and Leibling, Spaced Out, RAC Foundation
  2012); the US surveys say 23 minutes a commute (NT-3) and 5 % in motion (NPTS 1995, 73 minutes a driver and day).
  Here: 2.66 trips of 23 minutes, 95.8 % parked;
* at home 73 to 80 % of the time (RAC Foundation 2012 and 2021);
* four of five charging sessions are at home (US Department of Energy, Alternative Fuels Data Center).

What no source gives (who plugs in how often, where the middle parkings are) is a field of Habits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

HOUR_S, DAY_S = 3600.0, 86_400.0
DAY_BEGINS_H = 4
TRIPS_MAX = 9

Floats: TypeAlias = npt.NDArray[np.float32]
Flags: TypeAlias = npt.NDArray[np.bool_]

# Vehicle trips by the hour in which they begin, from midnight on, in units of the table.
# fmt: off
_WEDNESDAY = (147, 82, 83, 36, 249, 639, 1607, 3893, 2994, 2294, 2600, 2967,
              3166, 3032, 3321, 3888, 3959, 4377, 3746, 2819, 2061, 1559, 783, 381)
_SATURDAY = (432, 185, 117, 62, 185, 270, 558, 1147, 2088, 2951, 4096, 4420,
             4561, 4088, 4256, 4037, 3823, 3536, 3626, 2665, 2206, 1925, 1069, 772)
# fmt: on
START_TIMES = {"weekday": _WEDNESDAY, "saturday": _SATURDAY}


@dataclass(frozen=True)
class Habits:
    """What drivers do. Shares are of cars or of parkings, from 0 to 1."""

    day: str = "weekday"
    not_driven: float = 0.30  # with 2 + Poisson(1.8) trips for the others this makes 2.66 a day
    more_trips: float = 1.8
    trip_median_s: float = 17 * 60.0
    trip_sigma: float = 0.777  # log-normal: its mean is then 23 minutes
    speed_kmh: float = 45.0
    kWh_per_km: float = 0.18
    stop_s: float = 300.0  # the shortest parking
    home_in_between: float = 0.30
    has_charger: float = 0.80
    plugs_in: float = 0.60
    charger_elsewhere: float = 0.08
    charger_kW: float = 7.2
    waits_for_night: float = 0.40  # a timer: charging begins at 23:00
    pack_kWh: float = 60.0


@dataclass(frozen=True)
class Parkings:
    """All parkings of `cars`, (cars, TRIPS_MAX + 1), in order; those that are not have `end` <= `start`.

    While `plugged`, the car is supplied from the wall; it charges from `charge_start` to `charge_end` (empty: not at
    all). `soc` is the state of charge at the beginning, from 0 to 1.
    """

    start: Floats
    end: Floats
    plugged: Flags
    charge_start: Floats
    charge_end: Floats
    soc: Floats

    @property
    def cars(self) -> int:
        return int(self.start.shape[0])

    def parked_share(self) -> float:
        """Returns the share of the day that the cars are parked."""
        return float(np.maximum(self.end - self.start, 0).sum(dtype=np.float64) / (self.cars * DAY_S))


def draw_parkings(cars: int, habits: Habits, rng: np.random.Generator) -> Parkings:
    """Returns a day of `cars` cars."""
    trip_start, trip_end = _trips(cars, habits, rng)
    start = np.concatenate([np.zeros((cars, 1), np.float32), trip_end], axis=1)
    end = np.concatenate([trip_start, np.full((cars, 1), DAY_S, np.float32)], axis=1)
    end = np.minimum(end, DAY_S)
    driven_s = np.where(trip_end > trip_start, trip_end - trip_start, 0).cumsum(axis=1)
    driven_s = np.concatenate([np.zeros((cars, 1), np.float32), driven_s], axis=1)
    driven_kWh = (driven_s * (habits.speed_kmh * habits.kWh_per_km / HOUR_S)).astype(np.float32)
    at_home, plugged = _places(start, end, habits, rng)
    charge_start, charge_end = _charging(start, end, plugged, at_home, driven_kWh, habits, rng)
    full = rng.uniform(0.45, 0.95, (cars, 1)).astype(np.float32)
    soc = np.clip(full - driven_kWh / habits.pack_kWh, 0.0, 1.0)
    return Parkings(start, end, plugged, charge_start, charge_end, soc)


def _trips(cars: int, habits: Habits, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Returns starts and ends of trips, (cars, TRIPS_MAX); those that are not both begin and end with the day's end.

    Independent draws, sorted: so the hours in which trips begin are the table's. A trip that would begin before the
    one before it has ended begins after it and a stop.
    """
    count = np.minimum(2 + rng.poisson(habits.more_trips, cars), TRIPS_MAX)
    count[rng.random(cars) < habits.not_driven] = 0
    hours = np.roll(np.array(START_TIMES[habits.day], np.float64), -DAY_BEGINS_H)
    edges = np.concatenate([[0.0], np.cumsum(hours / hours.sum())])
    drawn = np.interp(rng.random((cars, TRIPS_MAX)), edges, np.arange(25) * HOUR_S).astype(np.float32)
    is_trip = np.arange(TRIPS_MAX) < count[:, None]
    begin = np.sort(np.where(is_trip, drawn, np.float32(DAY_S)), axis=1)
    lasts = rng.lognormal(np.log(habits.trip_median_s), habits.trip_sigma, (cars, TRIPS_MAX)).astype(np.float32)
    end = np.empty_like(begin)
    before = np.full(cars, -habits.stop_s, np.float32)
    for number in range(TRIPS_MAX):
        begin[:, number] = np.minimum(np.maximum(begin[:, number], before + np.float32(habits.stop_s)), DAY_S)
        end[:, number] = np.minimum(begin[:, number] + lasts[:, number], DAY_S)
        before = end[:, number]
    return begin, end


def _places(start: Floats, end: Floats, habits: Habits, rng: np.random.Generator) -> tuple[Flags, Flags]:
    """Returns whether each parking is at home, and whether the car is plugged in there.

    The first and the last parking of the day are at home.
    """
    shape = start.shape
    at_home = rng.random(shape) < habits.home_in_between
    at_home[:, 0] = True
    at_home |= end >= DAY_S
    can_charge = np.where(
        at_home,
        (rng.random((shape[0], 1)) < habits.has_charger) & (rng.random(shape) < habits.plugs_in),
        rng.random(shape) < habits.charger_elsewhere,
    )
    return at_home, can_charge & (end - start > HOUR_S / 2)


def _charging(
    start: Floats,
    end: Floats,
    plugged: Flags,
    at_home: Flags,
    driven_kWh: Floats,
    habits: Habits,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Returns when a plugged car charges: what was driven since the morning, at once or by a timer at night."""
    night_s = np.float32((23 - DAY_BEGINS_H) * HOUR_S)
    waits = (rng.random((start.shape[0], 1)) < habits.waits_for_night) & at_home & (end > night_s)
    begin = np.where(waits, np.maximum(start, night_s), start)
    lasts_s = driven_kWh * np.float32(HOUR_S / habits.charger_kW)
    stop = np.where(plugged, np.minimum(begin + lasts_s, end), begin)
    return begin.astype(np.float32), stop.astype(np.float32)
