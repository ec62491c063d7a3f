"""What is asked for but not said: to be read on the screen first. Values beside labels, n-th words, sums, orders."""

from __future__ import annotations

import re

from runtime.agent.blocks import TextBlock
from runtime.agent.geometry import same_line
from runtime.agent.instruction import Goal
from runtime.agent.reading import Screen

_SUM = re.compile(r"(-?\d+)([-+–—−*×xX/÷])(-?\d+)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_LIKENESS = 0.7
_SURE = 0.6  # a knob or a ring is read as 0, but not surely


def answer(screen: Screen, goal: Goal) -> str:
    """Returns what a goal's source comes to on this screen; "" when it is not to be seen."""
    name = goal.names[0] if goal.names else ""
    if goal.source == "value":
        return value_of(screen, name)
    if goal.source == "word":
        return nth_word(screen, int(name))
    if goal.source == "sum":
        return total(screen)
    return ""


def value_of(screen: Screen, name: str) -> str:
    """Returns what stands to the right of the label `name`: the rest of its line, else the next line beside it."""
    for found in screen.find(name):
        if found.score < _LIKENESS:
            break
        rest = found.text[len(name) :].lstrip(" :") if found.text.lower().startswith(name.lower()) else ""
        if rest:
            return rest
        beside = [
            line for line in screen.lines if same_line(line.box, found.box) and line.box.x >= found.line.box.right
        ]
        if beside:
            return screen.text(min(beside, key=lambda line: line.box.x)).strip("[]|")
    return ""


def running_text(screen: Screen) -> list[TextBlock]:
    """Returns the lines that are no labels: those of the tallest area with text, else all that no widget frames."""
    areas = [widget for widget in screen.of_kind("area", "panel") if widget.texts]
    if areas:
        tallest = max(areas, key=lambda widget: widget.box.area)
        return [line for line in screen.lines if tallest.box.holds(*line.box.centre) and line.box.w > 2 * line.box.h]
    framed = [widget.box for widget in screen.of_kind("button", "field", "chooser")]
    return [line for line in screen.lines if not any(box.holds(*line.box.centre) for box in framed)]


def nth_word(screen: Screen, place: int) -> str:
    """Returns the word at `place` of the running text (1 = first, -1 = last), without punctuation."""
    words = [word for line in running_text(screen) for word in _words(screen.text(line))]
    if not words or not (0 < place <= len(words) or place < 0):
        return ""
    return words[place - 1 if place > 0 else place]


def _words(text: str) -> list[str]:
    """Returns the words of a line; a recogniser may lose the space after a full stop or comma."""
    parts = re.sub(r"([.,;:!?])(?=\w)", r"\1 ", text).split()
    words = ["".join(character for character in part if character.isalnum() or character in "-'") for part in parts]
    return [word for word in words if word]


def total(screen: Screen) -> str:
    """Returns the result of the first "a + b" (or -, ×, ÷) on the screen."""
    for line in screen.lines:
        row = sorted(
            (other for other in screen.layout.texts if same_line(other.box, line.box)), key=lambda one: one.box.x
        )
        text = "".join("-" if 2 * other.box.h < other.box.w < 24 else screen.text(other) for other in row)
        result = result_of(text)
        if result:
            return result
    return ""


def result_of(text: str) -> str:
    """Returns the result of the first "a + b" (or -, ×, ÷) in a text, "" without one."""
    found = _SUM.search(text.replace(" ", ""))
    return _compute(int(found.group(1)), found.group(2), int(found.group(3))) if found else ""


def _compute(first: int, sign: str, second: int) -> str:
    if sign == "+":
        return str(first + second)
    if sign in "-–—−":
        return str(first - second)
    if sign in "*×xX":
        return str(first * second)
    return str(first // second) if second and first % second == 0 else str(round(first / second, 2)) if second else ""


def numbers(screen: Screen) -> list[tuple[float, TextBlock]]:
    """Returns the lines that are a number and nothing else, with their values, in reading order."""
    found = []
    for line in screen.lines:
        reading = screen.read(line)
        text = reading.text.replace("–", "-").replace("—", "-").replace(" ", "")
        if _NUMBER.fullmatch(text) and reading.certainty >= _SURE:
            found.append((float(text), line))
    return found


def first_number(text: str) -> float | None:
    """Returns the first number in a text ("$1,204.50" is 1204.5), None without one."""
    found = _NUMBER.search(text.replace(",", ""))
    return float(found.group()) if found else None
