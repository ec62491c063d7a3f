"""A two-node thermal model of a computer in a parked car, to judge the governor on. Pure, deterministic.

    chip ──R_chip──► case ──R_case──► cabin            C · dT/dt = heat in − heat out, for chip and case
    P = static + dynamic · f³ while it works, static while it does not; work done = f · time

P = Ps + c·f³: dynamic power is C·V²·f, and the voltage falls about linearly with f in the range that these boards use.
The boards' constants are of the order that their data sheets and public measurements give; they are assumptions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge import governor
from firmware_bridge.governor import Governor
from firmware_bridge.policy_settings import Heat, Limits

STEP_S = 0.5
# (time in s, chip in °C) -> level: the duty, or the share of the dynamic power
Control = Callable[[float, float], float]
# openpilot's hardwared, as a controller: off above the upper edge, on again below the lower one.
OPENPILOT_ON_OFF_C = (75.0, 80.0)


@dataclass(frozen=True, slots=True)
class Board:
    """Powers in W at f = 1, resistances in K/W, capacities in J/K."""

    name: str
    static_W: float
    dynamic_W: float
    chip_K_per_W: float
    case_K_per_W: float
    chip_J_per_K: float
    case_J_per_K: float


BOARDS = (
    Board("orin-nano-25W", 6.0, 19.0, 0.7, 1.5, 45.0, 350.0),
    Board("orin-agx-60W", 14.0, 46.0, 0.35, 0.62, 110.0, 1200.0),
    Board("vehicle-computer-100W", 30.0, 70.0, 0.2, 0.38, 250.0, 4000.0),
)
AMBIENTS_C = (35.0, 45.0, 52.0)


@dataclass(frozen=True, slots=True)
class Result:
    """`work` in seconds at full speed, over the whole run; `peak_C` of the chip; `above_s` above the limit."""

    work: float
    peak_C: float
    above_s: float


def run(board: Board, ambient_C: float, hours: float, control: Control, *, is_power: bool) -> Result:
    """Runs the model; `control(time_s, chip_C)` returns a level: the duty, or (is_power) the share of dynamic power."""
    chip_C = case_C = ambient_C + board.static_W * board.case_K_per_W
    work = above_s = 0.0
    peak_C = chip_C
    for step in range(int(hours * 3600 / STEP_S)):
        level = control(step * STEP_S, chip_C)
        heat_W = board.static_W + level * board.dynamic_W  # mean over a window: duty of f³ = 1, or f³ = level
        work += STEP_S * (level ** (1 / 3) if is_power else level)
        to_case_W = (chip_C - case_C) / board.chip_K_per_W
        chip_C += STEP_S * (heat_W - to_case_W) / board.chip_J_per_K
        case_C += STEP_S * (to_case_W - (case_C - ambient_C) / board.case_K_per_W) / board.case_J_per_K
        peak_C = max(peak_C, chip_C)
        above_s += STEP_S * (chip_C > OPENPILOT_ON_OFF_C[1] + 0.5)
    return Result(work, peak_C, above_s)


def on_off(low_C: float, high_C: float) -> Control:
    """Returns on/off control with hysteresis."""
    is_on = True

    def control(time_s: float, chip_C: float) -> float:
        nonlocal is_on
        is_on = chip_C < high_C if is_on else chip_C <= low_C
        return 1.0 if is_on else 0.0

    return control


def governed(peak_C: float) -> Control:
    """Returns the governor, set to hold `peak_C`."""
    heat = Heat(compute_max_C=peak_C + 0.5, target_below_C=1.0)
    limits = Limits(duty_max_permille=1000)
    state = Governor()

    def control(time_s: float, chip_C: float) -> float:
        nonlocal state
        state = governor.after(state, chip_C, int(time_s * 1e9) + 1, heat)
        return governor.grant(state, heat, limits).duty_permille / 1000

    return control


def _at_peak(board: Board, ambient_C: float, hours: float, peak_C: float, *, is_power: bool) -> Result:
    """Returns the governed run whose target is the highest that keeps the peak at or below `peak_C`."""
    target_C = peak_C
    while True:
        result = run(board, ambient_C, hours, governed(target_C), is_power=is_power)
        if result.peak_C <= peak_C:
            return result
        target_C -= 0.1


def compare(hours: float = 2.0) -> list[dict[str, object]]:
    """Returns, for each board and ambient, the governor's work as a multiple of on/off control's at the same peak."""
    rows: list[dict[str, object]] = []
    for board in BOARDS:
        for ambient_C in AMBIENTS_C:
            plain = run(board, ambient_C, hours, on_off(*OPENPILOT_ON_OFF_C), is_power=False)
            duty = _at_peak(board, ambient_C, hours, plain.peak_C, is_power=False)
            power = _at_peak(board, ambient_C, hours, plain.peak_C, is_power=True)
            rows.append(
                {
                    "board": board.name,
                    "ambient_C": ambient_C,
                    "on_off_work_s": round(plain.work),
                    "peak_C": {
                        "on_off": round(plain.peak_C, 2),
                        "duty": round(duty.peak_C, 2),
                        "power": round(power.peak_C, 2),
                    },
                    "gain_duty": round(duty.work / plain.work, 3) if plain.work else None,
                    "gain_power": round(power.work / plain.work, 3) if plain.work else None,
                }
            )
    return rows
