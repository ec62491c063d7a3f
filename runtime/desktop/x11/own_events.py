"""Which XTEST events on the server are ours: announced before they are sent, ticked off when they are heard.

The server keeps the order of one connection's events; releases come over another one and may overtake, and what
changes nothing (a release of what is not down) is left out. So an event is looked for among all that are announced, the
next one first, and what was not heard of within two seconds is forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kernels.gate.word import boottime_ns
from runtime.desktop.x11 import raw, xtest

_STALE_NS = 2_000_000_000
_KINDS = {
    xtest.KEY_PRESS: raw.KEY_PRESS,
    xtest.KEY_RELEASE: raw.KEY_RELEASE,
    xtest.BUTTON_PRESS: raw.BUTTON_PRESS,
    xtest.BUTTON_RELEASE: raw.BUTTON_RELEASE,
    xtest.MOTION: raw.MOTION,
}


class OwnEvents:
    """The events that we inject, in order, from their announcement until they are heard. Appending is thread-safe."""

    def __init__(self, clock: Callable[[], int] = boottime_ns) -> None:
        self._clock = clock
        self._expected: deque[tuple[int, int, int]] = deque()

    def announce(self, events: list[xtest.Event]) -> None:
        """These events are about to be sent."""
        due_ns = self._clock()
        for event in events:
            due_ns += event.delay_ms * 1_000_000
            self._expected.append((_KINDS[event.kind], event.detail, due_ns))

    def take(self, kind: int, detail: int) -> bool:
        """Returns whether an XTEST event (a raw event's kind and detail) is one of ours, and forgets it."""
        expected, oldest_ns = self._expected, self._clock() - _STALE_NS
        while expected and expected[0][2] < oldest_ns:
            expected.popleft()
        for index, (expected_kind, expected_detail, _) in enumerate(expected):
            if (expected_kind, expected_detail) == (kind, detail):
                del expected[index]
                return True
        return False
