"""Picks a date in a calendar that pops up: turns to the month, then clicks the day where the grid must have it.

field ─click─► [◄  December 2016  ►]      the month is read, the days are not: their place follows from the
                Su Mo Tu We Th Fr Sa       weekday of the first, so that the smallest print is no trouble
                             1  2  3
"""

from __future__ import annotations

import calendar
import datetime
import re
from dataclasses import dataclass

from runtime.agent.acts import Act, click
from runtime.agent.blocks import TextBlock
from runtime.agent.geometry import Box, same_line
from runtime.agent.matching import similarity
from runtime.agent.memory import Memory
from runtime.agent.reading import Screen
from runtime.wire.actions import Click, Wait

_DATE = re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{4})$")
_ISO = re.compile(r"^(\d{4})-(\d{1,2})-(\d{1,2})$")
_MONTH = re.compile(r"^([^\W\d]{3,9})[\s,.]*(\d{4})$")
_WEEKDAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")  # calendar.MONDAY is 0
_LIKENESS = 0.75
_SAME_ROW = 5  # pixels
_MOST_TURNS = 60
_LOOKS = 20
_PAUSE_MS = 40


@dataclass(frozen=True)
class Month:
    """A calendar on the screen: which month it shows, the line that says so, and where its columns and rows are.

    `first_weekday` is that of the first column (0 = Monday), `starts_at` the column of the first of the month.
    """

    year: int
    month: int
    title: TextBlock
    columns: tuple[int, ...]
    rows: tuple[int, ...]
    first_weekday: int
    starts_at: int


def parse_date(text: str) -> datetime.date | None:
    """Returns the date of "12/31/2016" (month first) or "2016-12-31"; None for anything else."""
    american, iso = _DATE.match(text), _ISO.match(text)
    try:
        if american:
            return datetime.date(int(american.group(3)), int(american.group(1)), int(american.group(2)))
        return datetime.date(*(int(part) for part in iso.groups())) if iso else None
    except ValueError:
        return None


def pick_date(screen: Screen, date: datetime.date, memory: Memory) -> Act | None:
    """Returns the next click on the way to `date`; None when there is no calendar, or the day was clicked."""
    if memory.phase == 2 or memory.passed > _MOST_TURNS:
        return None
    shown = find_month(screen)
    if shown is None:
        fields = [widget for widget in screen.of_kind("field") if not widget.texts] or screen.of_kind("field")
        if memory.phase == 0 and fields:
            memory.phase = 1
            return click(fields[0].box, 0.8)
        memory.waited += 1
        return Act(Wait(_PAUSE_MS)) if memory.phase == 1 and memory.waited < _LOOKS else None
    memory.phase = 1
    months = (date.year - _year(shown, date.year)) * 12 + date.month - shown.month
    if months:
        memory.passed += 1
        arrow = _arrow(screen, shown.title.box, forward=months > 0)
        return None if arrow is None else Act(Click(*arrow.centre), shown.title.box, 0.8)
    memory.phase = 2
    x, y = place_of(shown, date)
    return Act(Click(x, y), shown.title.box, 0.9)


def _year(shown: Month, wanted: int) -> int:
    """Returns the year that is shown. The grid checks the small print: a misread year begins its month elsewhere."""
    one_off = [
        year for year in range(1900, 2100) if sum(a != b for a, b in zip(str(year), str(shown.year), strict=True)) == 1
    ]
    for year in (shown.year, wanted, *one_off):
        if (datetime.date(year, shown.month, 1).weekday() - shown.first_weekday) % 7 == shown.starts_at:
            return year
    return shown.year


def find_month(screen: Screen) -> Month | None:
    """Returns the calendar on the screen, if a month's title stands above a row of weekdays and a grid."""
    for title in screen.lines:
        said = _MONTH.match(screen.text(title))
        if said is None:
            continue
        likeness = [similarity(name, said.group(1)) for name in calendar.month_name[1:]]
        if max(likeness) < _LIKENESS:
            continue
        below = [line for line in screen.lines if line.box.y > title.box.bottom]
        for line in below:
            row = [other for other in below if same_line(other.box, line.box)]
            names = [screen.text(other).lower()[:2] for other in row]
            if len(row) != 7 or sum(name in _WEEKDAYS for name in names) < 5:
                continue
            columns = tuple(other.box.centre[0] for other in row)
            cells = _cells(screen, row[0].box.bottom, columns)
            rows = _rows(cells)
            known = next(place for place, name in enumerate(names) if name in _WEEKDAYS)
            first = (_WEEKDAYS.index(names[known]) - known) % 7
            if rows:
                month = likeness.index(max(likeness)) + 1
                leftmost = min(cell.centre[0] for cell in cells if abs(cell.centre[1] - rows[0]) <= _SAME_ROW)
                starts_at = min(range(7), key=lambda column: abs(columns[column] - leftmost))
                return Month(int(said.group(2)), month, title, columns, rows, first, starts_at)
    return None


def place_of(month: Month, date: datetime.date) -> tuple[int, int]:
    """Returns the pixel at which the grid of `month` has a date of that month."""
    offset = (date.replace(day=1).weekday() - month.first_weekday) % 7
    row, column = divmod(offset + date.day - 1, 7)
    if row < len(month.rows):
        return month.columns[column], month.rows[row]
    pitch = month.rows[-1] - month.rows[-2] if len(month.rows) > 1 else 0
    return month.columns[column], month.rows[-1] + pitch * (row - len(month.rows) + 1)


def _cells(screen: Screen, top: int, columns: tuple[int, ...]) -> list[Box]:
    """Returns the grid's cells: the boxes, else the lines, below `top` and between the columns."""
    pitch = (columns[-1] - columns[0]) // 6
    boxes = [shape.box for shape in screen.layout.shapes if shape.kind == "box"]
    for candidates in (boxes, [line.box for line in screen.lines]):
        cells = [
            box
            for box in candidates
            if box.y >= top - 2 and box.w <= 2 * pitch and box.h <= 2 * pitch
            if columns[0] - pitch < box.centre[0] < columns[-1] + pitch
        ]
        if len(cells) >= 20:
            return cells
    return []


def _rows(cells: list[Box]) -> tuple[int, ...]:
    """Returns the middles of the rows in which the cells stand, at most six."""
    rows: list[int] = []
    for y in sorted(cell.centre[1] for cell in cells):
        if not rows or y - rows[-1] > _SAME_ROW:
            rows.append(y)
    return tuple(rows[:6]) if len(rows) >= 4 else ()


def _arrow(screen: Screen, title: Box, forward: bool) -> Box | None:
    """Returns what stands farthest to the right (or left) of the title in its line: what turns the month."""
    things = [shape.box for shape in screen.layout.shapes if shape.kind != "figure" and shape.box.w < title.w]
    things += [text.box for text in screen.layout.texts]
    side = [
        box
        for box in things
        if same_line(box, title) and (box.x >= title.right if forward else box.right <= title.x)
        if abs(box.centre[0] - title.centre[0]) <= 2 * title.w and max(box.w, box.h) >= 5
    ]
    return max(side, key=lambda box: box.area, default=None)
