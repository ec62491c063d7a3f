"""`idlehands gate replay FILE`: runs a recorded trace or CAN log through the gate, as fast as it goes, and tells.

Time is the recording's: the policy is evaluated at every change of a signal and at least every 20 ms, as the bridge
does it. Each decision is also judged by what was said last, with no code of the policy: `violations` must be empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firmware_bridge import report, signals
from firmware_bridge.engine import Engine
from firmware_bridge.policy_settings import Policy
from firmware_bridge.readings import Quality, Reading, Value
from firmware_bridge.signals import SIGNALS
from firmware_bridge.sources.trace import Player
from firmware_bridge.sources.trace_file import read_trace
from kernels.gate.word import State

TICK_NS = 20_000_000
_START_NS = 1_000_000_000
_MOST_TOLD = 1000


def replay(path: str | Path, policy: Policy, *, car: str | None = None) -> dict[str, Any]:
    """Returns {"file", "duration_s", "readings", "evaluations", "seconds": {state: s}, "openings", "transitions",
    "violations"}. `car` is the map of a CAN log (.log, .blf, .asc); other files are traces. Cues are passed over.

    `transitions`: [{"t_s", "state", "gate_epoch", "reasons"}], the first thousand. Raises SourceError.
    """
    batches = _can_batches(Path(path), car) if car is not None else _trace_batches(path)
    engine = Engine(policy, _START_NS)
    watch = Watch()
    seconds = dict.fromkeys((state.name.lower() for state in State), 0.0)
    transitions: list[dict[str, Any]] = []
    violations: list[str] = []
    readings = evaluations = openings = epoch = 0
    before, before_ns = engine.gate.state, _START_NS
    for now_ns, batch in batches:
        for reading in batch:
            readings += 1
            watch.hear(reading)
            engine.accept("replay", reading, now_ns)
        decision = engine.evaluate(now_ns)
        evaluations += 1
        seconds[before.name.lower()] += (now_ns - before_ns) / 1e9
        if decision.state is State.OPEN and len(violations) < 20:
            violations += [f"at {(now_ns - _START_NS) / 1e9:.3f} s: {each}" for each in watch.forbidden(now_ns)]
        if decision.state is not before:
            openings += decision.state is State.OPEN
            epoch += before is State.OPEN
            if len(transitions) < _MOST_TOLD:
                transitions.append(
                    {
                        "t_s": round((now_ns - _START_NS) / 1e9, 3),
                        "state": decision.state.name.lower(),
                        "gate_epoch": epoch,
                        "reasons": [each["text"] for each in report.reasons(decision)],
                    }
                )
        before, before_ns = decision.state, now_ns
    return {
        "file": str(path),
        "duration_s": round((before_ns - _START_NS) / 1e9, 3),
        "readings": readings,
        "evaluations": evaluations,
        "seconds": {name: round(each, 3) for name, each in seconds.items()},
        "openings": openings,
        "transitions": transitions,
        "violations": violations,
    }


def text(answer: dict[str, Any]) -> str:
    """Returns the report as lines for a person."""
    spent = ", ".join(f"{name} {each:.1f} s" for name, each in answer["seconds"].items() if each)
    lines = [f"{answer['file']}: {answer['duration_s']:.1f} s, {answer['readings']} readings; {spent}"]
    for each in answer["transitions"]:
        lines.append(f"{each['t_s']:10.3f} s  {each['state']:<9}{'; '.join(each['reasons'])}")
    lines += [f"VIOLATION {each}" for each in answer["violations"]]
    return "\n".join(lines)


_WELL: dict[str, tuple[Value, ...]] = {
    signals.GEAR: (126.0,),
    signals.POWER_STATE: ("OFF", "LOCK"),
    signals.DRIVER_SEAT: (False,),
    signals.DRIVER_DOOR: (False,),
    signals.CONSENT: (True,),
}
_KNOWN = (*_WELL, signals.SPEED, signals.CHARGE, signals.VOLTAGE_12V, signals.COMPUTE_TEMPERATURE)


class Watch:
    """The judge of a replay: what each signal said last, and whether a car in that state may work. Conditions that no
    setting can lift; the proof (firmware_bridge/proof) judges the rest."""

    def __init__(self) -> None:
        self._last: dict[str, Reading] = {}

    def hear(self, reading: Reading) -> None:
        self._last[reading.name] = reading

    def forbidden(self, now_ns: int) -> list[str]:
        """Returns in words why work must not run at `now_ns`."""
        found = []
        for name in _KNOWN:
            last = self._last.get(name)
            if last is None or last.value is None or last.quality is not Quality.GOOD:
                found.append(f"{name} is unknown")
            elif now_ns - last.source_time_ns > SIGNALS[name].age_limit_s * 1e9:
                found.append(f"{name} is {(now_ns - last.source_time_ns) / 1e9:.3f} s old")
            elif name in _WELL and last.value not in _WELL[name]:
                found.append(f"{name} is {last.value}")
        speed = self._last.get(signals.SPEED)
        if speed is not None and isinstance(speed.value, int | float) and abs(speed.value) > 3:
            found.append(f"the car moves at {speed.value} km/h")
        return found


Batches = Iterator[tuple[int, list[Reading]]]


def _trace_batches(path: str | Path) -> Batches:
    player = Player(read_trace(path), _START_NS, None, holds_end=False)
    return _ticked(iter(lambda: _next_of(player), None))


def _next_of(player: Player) -> tuple[int, list[Reading]] | None:
    if player.is_over:
        return None
    due_ns = player.wake_ns()
    return due_ns, list(player.due(due_ns))


def _can_batches(path: Path, car: str) -> Batches:
    from firmware_bridge.sources.can_decode import Decoder
    from firmware_bridge.sources.can_log import read_log
    from firmware_bridge.sources.can_map import load_map

    decoder = Decoder(load_map(car))

    def frames() -> Batches:
        for frame in read_log(path):
            at_ns = _START_NS + frame.time_ns
            found = list(decoder.decode(frame.frame_id, frame.is_extended, frame.data, at_ns))
            if found:
                yield at_ns, found

    return _ticked(frames())


def _ticked(batches: Batches) -> Batches:
    """Puts an empty batch into every gap of more than a tick."""
    tick_ns = _START_NS + TICK_NS
    for at_ns, batch in batches:
        while tick_ns < at_ns:
            yield tick_ns, []
            tick_ns += TICK_NS
        yield at_ns, batch
        tick_ns = max(tick_ns, at_ns + 1)
