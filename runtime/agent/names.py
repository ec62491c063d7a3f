"""What an element is called: what is written in it, or else the line that stands as its name beside it."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.agent.elements import Element
from runtime.agent.geometry import Box

_TICKS, _FIELDS = ("tick", "radio"), ("field", "area", "patch")  # kinds that may have a name beside them
_FRAMED = ("button", "field", "chooser")  # kinds whose text is their own
_TICK_GAP = 24  # pixels between a box to tick and its name
_HIGHEST_FIELD = 40  # pixels: a higher one's name is no farther away
_FARTHEST_NAME = 4  # heights left of a field


def name_of(index: int, elements: Sequence[Element]) -> str:
    """Returns what an element is called: what is written in it, or else its name beside it."""
    one = elements[index]
    named_by = names_at([index], elements)[0] if not one.text else -1
    return elements[named_by].text if named_by >= 0 else one.text


def names_at(places: Sequence[int], elements: Sequence[Element]) -> list[int]:
    """Returns for each of `places` that of the line that names it, -1 without one.

    A box or ring to tick is named by what is right of it; a field by what is left of it, else by what is nearest above
    or below.
    """
    lines = [
        (place, one.box)
        for place, one in enumerate(elements)
        if one.kind == "line" and one.text and not (one.parent >= 0 and elements[one.parent].kind in _FRAMED)
    ]
    found = []
    for place in places:
        one = elements[place]
        named_by = _name_of_tick if one.kind in _TICKS else _name_of_field if one.kind in _FIELDS else None
        found.append(-1 if named_by is None else named_by(one.box, lines))
    return found


def _name_of_tick(tick: Box, lines: Sequence[tuple[int, Box]]) -> int:
    y = tick.centre[1]
    beside = [
        (box.x, place) for place, box in lines if 0 <= box.x - tick.right <= _TICK_GAP and box.y <= y < box.bottom
    ]
    return min(beside)[1] if beside else -1


def _name_of_field(field: Box, lines: Sequence[tuple[int, Box]]) -> int:
    reach = min(field.h, _HIGHEST_FIELD)
    beside, near = [], []
    for place, box in lines:
        across, down = field.gap(box)
        if box.x < field.x and 2 * -down >= box.h and 0 <= across <= _FARTHEST_NAME * reach:
            beside.append((across, place))
        elif across < 0 <= down and 4 * down <= 3 * reach:
            near.append((down, box.y, place))
    return min(beside)[1] if beside else min(near)[2] if near else -1
