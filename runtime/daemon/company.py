"""Which sessions' decisions are made together, and what that is taken to cost: for the lanes' schedule.

    a decision  =  what the agent does itself  +  the runs of its models
                   as often as there are sessions   once for all, at what together.py measured

What of a decision are its models' runs is seen while decisions are made alone. Sessions meet if they have one agent and
one bundle (a key).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from runtime.residency.together import Gain


@dataclass
class _Seen:
    """The decisions of a key that were made alone: how long in all, and in each model's runs."""

    busy_ns: int = 0
    ran_ns: dict[str, int] = field(default_factory=dict)


class Company:
    """`alone_ms(key)` is what one decision costs. At most `limit` meet. Safe to use from several threads."""

    def __init__(self, limit: int, alone_ms: Callable[[str], float]) -> None:
        self._limit, self._alone_ms = limit, alone_ms
        self._lock = threading.Lock()
        self._gains: dict[Hashable, dict[str, Gain]] = {}
        self._seen: dict[Hashable, _Seen] = {}

    def set(self, key: str, gains: Mapping[str, Gain]) -> None:
        """Tells what the models of a key cost together, by role; models that are not named are run one by one."""
        with self._lock:
            self._gains[key] = dict(gains)

    def note(self, key: str, busy_ns: int, ran_ns: Mapping[str, int]) -> None:
        """A decision was made alone."""
        with self._lock:
            seen = self._seen.setdefault(key, _Seen())
            seen.busy_ns += busy_ns
            for role, ns in ran_ns.items():
                seen.ran_ns[role] = seen.ran_ns.get(role, 0) + ns

    def most(self, key: Hashable) -> int:
        """Returns how many of a key's decisions are worth making at once: 1 until it is known."""
        with self._lock:
            return max((gain.best(self._limit) for gain in self._gains.get(key, {}).values()), default=1)

    def cost_ns(self, key: Hashable, count: int) -> int:
        """Returns how long `count` decisions of a key take together; no model's runs are taken to gain anything until
        one was seen."""
        alone_ns = self._alone_ms(str(key)) * 1e6
        with self._lock:
            seen, gains = self._seen.get(key), self._gains.get(key, {})
        if count == 1 or seen is None or not seen.busy_ns:
            return round(count * alone_ns)
        shares = {role: min(1.0, seen.ran_ns.get(role, 0) / seen.busy_ns) for role in gains}
        met = sum(share * _times(gains[role], min(count, self._limit), count) for role, share in shares.items())
        return round(alone_ns * (met + count * max(0.0, 1.0 - sum(shares.values()))))


def _times(gain: Gain, limit: int, count: int) -> float:
    """Returns what `count` runs cost, in runs alone, made so many at once as is best."""
    best = gain.best(limit)
    whole, rest = divmod(count, best)
    return whole * gain.times(best) + gain.times(rest) if rest else whole * gain.times(best)
