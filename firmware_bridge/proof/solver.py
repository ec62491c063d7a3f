"""The full product by a solver: over all signals at once, with any value and any past, never clear when forbidden.

The rows of the policy (`rules_of`, the data that `evaluate` runs on) and the oracle's needs are written as formulas
over the same variables; z3 then looks for a valuation in which they disagree. Needs `z3-solver` (extra `proof`).
"""

from __future__ import annotations

import math
from fractions import Fraction
from importlib import import_module
from typing import Any

from firmware_bridge.errors import BridgeError
from firmware_bridge.policy import Rule, rules_of
from firmware_bridge.proof import battery, oracle
from firmware_bridge.proof.oracle import NEEDS, Need
from firmware_bridge.signals import SIGNALS

_GOOD = 0


def prove() -> dict[str, Any]:
    """Returns {"variables", "product", "never_open_when_forbidden", "reopens_only_inside", "opens_when_all_is_well"}.

    The three are True where z3 finds no counterexample, else the counterexample in words. `product` is how many
    combinations an enumeration would need that tries each signal's oracle values and doubts.
    """
    try:
        z3 = import_module("z3")
    except ImportError as error:
        raise BridgeError("the solver is not installed", next_step="pip install z3-solver") from error
    world = _World(z3)
    rules = rules_of(battery.reference())
    clear = z3.And([world.rule(rule, number) for number, rule in enumerate(rules)])
    all_held = z3.And([world.held(number) for number in range(len(rules))])
    within = z3.And([world.need(need, again=False) for need in NEEDS])
    again = z3.And([world.need(need, again=True) for need in NEEDS])
    product = math.prod(len(options) for options in battery.options_by_signal().values())
    return {
        "variables": world.count,
        "product": product,
        "never_open_when_forbidden": world.refute(z3.And(clear, z3.Not(within))),
        "reopens_only_inside": world.refute(z3.And(clear, all_held, z3.Not(again))),
        "opens_when_all_is_well": world.refute(z3.And(again, z3.Not(clear))),
    }


class _World:
    """The variables: a quality and a value for each signal, and for each row whether it blocked before."""

    def __init__(self, z3: Any) -> None:
        self._z3 = z3
        self._variables: dict[str, Any] = {}

    @property
    def count(self) -> int:
        return len(self._variables)

    def rule(self, rule: Rule, number: int) -> Any:
        value = self._value(rule.signal)
        if rule.allowed:
            met = self._one_of(rule.signal, value, list(rule.allowed))
        else:
            met = self._z3.If(self.held(number), self._inside(value, rule.reopen), self._inside(value, rule.spans))
        return self._z3.And(self._quality(rule.signal) == _GOOD, met)

    def need(self, need: Need, *, again: bool) -> Any:
        value = self._value(need.signal)
        if need.only:
            met = self._one_of(need.signal, value, list(need.only))
        else:
            met = self._inside(value, need.again if again else need.within)
        return self._z3.And(self._quality(need.signal) == _GOOD, met)

    def held(self, number: int) -> Any:
        return self._variable(f"held {number}", self._z3.Bool)

    def refute(self, formula: Any) -> bool | str:
        solver = self._z3.Solver()
        ranges = [self._in_range(name) for name in {need.signal for need in NEEDS}]
        solver.add(formula, *ranges)
        if solver.check() == self._z3.unsat:
            return True
        return f"counterexample: {solver.model()}"

    def _in_range(self, name: str) -> Any:
        """Beyond the sensor's range a reading is invalid: fusion sees to that, and the battery checks it."""
        z3, row, value = self._z3, SIGNALS[name], self._value(name)
        quality = self._quality(name)
        bounds = [quality >= _GOOD, quality <= len(oracle.DOUBTS)]
        if row.kind is float:
            bounds += [value >= _exact(z3, row.low)] if math.isfinite(row.low) else []
            bounds += [value <= _exact(z3, row.high)] if math.isfinite(row.high) else []
        elif row.kind is str:
            bounds += [value >= 0, value < len(row.choices)]
        return z3.And(bounds)

    def _quality(self, name: str) -> Any:
        return self._variable(f"quality {name}", self._z3.Int)

    def _value(self, name: str) -> Any:
        kinds = {bool: self._z3.Bool, float: self._z3.Real, str: self._z3.Int}
        return self._variable(f"value {name}", kinds[SIGNALS[name].kind])

    def _variable(self, key: str, kind: Any) -> Any:
        if key not in self._variables:
            self._variables[key] = kind(key)
        return self._variables[key]

    def _one_of(self, name: str, value: Any, allowed: list[Any]) -> Any:
        if SIGNALS[name].kind is str:
            order = sorted(SIGNALS[name].choices)
            allowed = [order.index(each) for each in allowed]
        elif SIGNALS[name].kind is float:
            allowed = [_exact(self._z3, each) for each in allowed]
        return self._z3.Or([value == each for each in allowed])

    def _inside(self, value: Any, spans: tuple[tuple[float, float], ...]) -> Any:
        parts = []
        for low, high in spans:
            bounds = [value >= _exact(self._z3, low)] if low > -oracle.BIG else []
            bounds += [value <= _exact(self._z3, high)] if high < oracle.BIG else []
            parts.append(self._z3.And(bounds))
        return self._z3.Or(parts)


def _exact(z3: Any, number: float) -> Any:
    return z3.RealVal(str(Fraction(number)))
