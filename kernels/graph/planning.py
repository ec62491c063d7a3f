"""Planning that can be stopped: compiling a new set of shapes takes a third of a second, and the gate may close in it.

    with stoppable(lambda: not token.is_open()):
        run = model.start(feeds)                   # raises PlanningStopped; nothing of it is kept

It holds for the thread that says so, because the compiler has no business with gates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PlanningStopped(Exception):
    """A plan was given up half-way; starting again makes it from the beginning."""


class _Wish(threading.local):
    should_stop: Callable[[], bool] | None = None


_wish = _Wish()


@contextmanager
def stoppable(should_stop: Callable[[], bool]) -> Iterator[None]:
    """Has this thread's planning ask `should_stop` at every step: a node, a tensor, a block of weights, an op."""
    before, _wish.should_stop = _wish.should_stop, should_stop
    try:
        yield
    finally:
        _wish.should_stop = before


def check() -> None:
    """Raises PlanningStopped when this thread's planning is to stop."""
    if _wish.should_stop is not None and _wish.should_stop():
        raise PlanningStopped
