"""From the decider's numbers to one action: the likeliest kind, where, and what is typed.

kind ─► pointed: target box ─► cell ─► pixel (a drag: end box ─► cell ─► pixel)
   └──► type: letters of its own | [a few letters before] words of the instruction, or a form of them | … what was read
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.agent.action_kinds import KINDS, POINTED, action_at
from runtime.agent.elements import Element
from runtime.agent.geometry import Box
from runtime.agent.instruction_words import Word
from runtime.agent.lattice import lattice_of
from runtime.agent.names import name_of
from runtime.agent.text_forms import as_colour, as_keys, bare
from runtime.wire.actions import Action

SIDE = 7  # cells of a box's side; the middle one is its centre
CELLS = SIDE * SIDE
CENTRE = CELLS // 2
SLOTS = 12
SOURCES = ("instruction", "screen", "letters", "keys", "colour")  # append-only; the last two are forms of words
_MOST_WORDS_TYPED = 24
_COUNTED = frozenset({"double-click", "triple-click"})
_SAME_PLACE, _BESIDE = 5, 7  # pixels between two clicks that toolkits count as one row, and that they do not

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """What to do. `target` is the element it points at (-1: none), `label` what stands there or is typed."""

    kind: str
    action: Action
    confidence: float
    point: tuple[int, int] = (0, 0)
    end: tuple[int, int] = (0, 0)
    target: int = -1
    label: str = ""


@dataclass(frozen=True)
class Answer:
    """The network's outputs for one look, as chances: (kinds,), (sources,), (m,) three times, …; cells as logits."""

    kinds: Floats
    sources: Floats
    target: Floats
    end: Floats
    source: Floats
    cells: Floats  # (m, 2, CELLS)
    starts: Floats
    ends: Floats
    letters: Floats  # (SLOTS, letters)


def answer_of(outputs: Sequence[Floats], temperature: float = 1.0) -> Answer:
    """Returns the chances for outputs (1, 1, kinds + sources), (1, m, 3 + 2·CELLS), (1, n, 2), (1, SLOTS, letters)."""
    whole, boxes, words, letters = (output[0] for output in outputs)
    return Answer(
        kinds=softmax(whole[0, : len(KINDS)] / temperature),
        sources=softmax(whole[0, len(KINDS) :]),
        target=softmax(boxes[:, 0] / temperature),
        end=softmax(boxes[:, 1] / temperature),
        source=softmax(boxes[:, 2]),
        cells=boxes[:, 3:].reshape(-1, 2, CELLS),
        starts=softmax(words[:, 0]),
        ends=softmax(words[:, 1]),
        letters=letters,
    )


def random_answer(count: int, seed: int) -> Answer:
    """Returns an answer that clicks one of `count` elements by chance: the floor of every measurement."""
    target = np.random.default_rng(seed).dirichlet(np.ones(count)).astype(np.float32)
    kinds = np.zeros(len(KINDS), dtype=np.float32)
    kinds[KINDS.index("click")] = 1
    cells = np.zeros((count, 2, CELLS), dtype=np.float32)
    cells[:, :, CENTRE] = 1
    nothing = np.zeros(0, dtype=np.float32)
    return Answer(
        kinds=kinds,
        sources=np.eye(1, len(SOURCES), dtype=np.float32)[0],
        target=target,
        end=target,
        source=target,
        cells=cells,
        starts=nothing,
        ends=nothing,
        letters=np.zeros((SLOTS, 1), dtype=np.float32),
    )


def softmax(logits: Floats) -> Floats:
    if not logits.size:
        return logits
    raised = np.exp(logits - logits.max())
    chances: Floats = raised / raised.sum()
    return chances


def plan_of(
    answer: Answer,
    elements: list[Element],
    words: Sequence[Word],
    instruction: str,
    alphabet: str,
    kinds: Floats | None = None,
) -> Plan:
    """Returns the likeliest plan. `kinds` are the chances of kinds, when some are ruled out."""
    chances = answer.kinds if kinds is None else kinds
    order = np.argsort(-chances)
    for place in order[:8].tolist():
        kind, chance = KINDS[place], float(answer.kinds[place])
        if kind in POINTED:
            if elements:
                return _pointed(kind, chance, answer, elements)
        elif kind == "type":
            text, sure = typed_text(answer, elements, words, instruction, alphabet)
            if text:
                return Plan(kind, action_at(kind, 0, 0, text=text), chance * sure, label=text)
        else:
            return Plan(kind, action_at(kind, 0, 0), chance)
    return Plan("fail", action_at("fail", 0, 0), 0.0)


def _pointed(kind: str, chance: float, answer: Answer, elements: list[Element]) -> Plan:
    target, sure = _best(answer.target, elements)
    point = cell_point(elements[target].box, int(answer.cells[target, 0].argmax()))
    end, label = (0, 0), name_of(target, elements)
    if kind == "drag":
        last, sure_end = _best(answer.end, elements)
        end, sure = cell_point(elements[last].box, int(answer.cells[last, 1].argmax())), sure * sure_end
        corner, end = _through_grid(point, end, elements)
        action = action_at(kind, *point, end, corner=corner)
        return Plan(kind, action, chance * sure, point, end, target, label)
    return Plan(kind, action_at(kind, *point, end), chance * sure, point, end, target, label)


def apart(plan: Plan, elements: Sequence[Element], last: tuple[int, int] | None) -> Plan:
    """Returns the plan; a double- or triple-click begins beside the last click at the same place, if there is room.

    Toolkits count on: a triple-click right after a click is the second, third and fourth of a row. They begin anew at a
    press some pixels away: 4 are enough for Chromium, and by default more than 5 for GTK and Qt.
    """
    if plan.kind not in _COUNTED or last is None or plan.target < 0:
        return plan
    box, (x, y) = elements[plan.target].box, plan.point
    if max(abs(x - last[0]), abs(y - last[1])) > _SAME_PLACE:
        return plan
    places = [(x + side * _BESIDE, y) for side in (-1, 1) if box.holds(x + side * (_BESIDE + 1), y)]
    if not places:
        return plan
    point = max(places, key=lambda place: abs(place[0] - last[0]))
    return dataclasses.replace(plan, point=point, action=action_at(plan.kind, *point))


def _through_grid(
    start: tuple[int, int], end: tuple[int, int], elements: list[Element]
) -> tuple[tuple[int, int] | None, tuple[int, int]]:
    """Returns where a drag turns, and where it ends, that moves a thing in a grid to another place of it.

    It goes along its row, then along the column, a quarter past the middle of where it goes: a sortable grid shifts
    what is passed in the direction of the move once its middle is passed. Another drag stays as it is.
    """
    lattice = lattice_of(elements)
    in_grid = np.flatnonzero((lattice.columns > 1) & (lattice.rows > 1)).tolist()
    for first in (index for index in in_grid if elements[index].box.holds(*start)):
        for last in (index for index in in_grid if elements[index].box.holds(*end)):
            if first == last or lattice.group[first] != lattice.group[last]:
                continue
            box, (x, y) = elements[last].box, elements[last].box.centre
            across = np.sign(lattice.column[last] - lattice.column[first])
            down = np.sign(lattice.row[last] - lattice.row[first])
            x, y = (
                x + int(across) * box.w // 4 if across else start[0],
                y + int(down) * box.h // 4 if down else start[1],
            )
            return (x, start[1]), (x, y)
    return None, end


def _best(chances: Floats, elements: list[Element]) -> tuple[int, float]:
    """Returns the likeliest element and the chance of all whose centre lies in it or that lie around its centre."""
    allowed = np.array([one.kind != "computed" for one in elements])
    best = int(np.where(allowed, chances, -1).argmax())
    x, y = elements[best].box.centre
    near = [one.box.holds(x, y) or elements[best].box.holds(*one.box.centre) for one in elements]
    return best, float(chances[np.array(near)].sum().clip(0, 1))


def cell_point(box: Box, cell: int) -> tuple[int, int]:
    """Returns the pixel in the middle of a cell; of the middle cell, the box's own centre."""
    if cell == CENTRE:
        return box.centre
    row, column = divmod(cell, SIDE)
    return box.x + int((column + 0.5) * box.w / SIDE), box.y + int((row + 0.5) * box.h / SIDE)


def cell_at(box: Box, x: int, y: int) -> int:
    """Returns the cell of a box that holds a pixel of it."""
    column = min(SIDE - 1, max(0, int((x - box.x) * SIDE / max(1, box.w))))
    row = min(SIDE - 1, max(0, int((y - box.y) * SIDE / max(1, box.h))))
    return row * SIDE + column


def typed_text(
    answer: Answer, elements: list[Element], words: Sequence[Word], instruction: str, alphabet: str
) -> tuple[str, float]:
    """Returns what is typed and how sure that is."""
    own, sure_of_own = spelled(answer.letters, alphabet)
    for source in np.argsort(-answer.sources).tolist():
        name, chance = SOURCES[source], float(answer.sources[source])
        if name == "letters":
            text, sure = "", 1.0
        elif name == "screen":
            text, sure = _read_text(answer, elements)
        else:
            text, sure = _said_text(answer, words, instruction, name)
        if text or (name == "letters" and own):
            return own + text, chance * sure * sure_of_own
    return "", 0.0


def _read_text(answer: Answer, elements: list[Element]) -> tuple[str, float]:
    """Returns the text of the likeliest element that has one."""
    if not any(one.text for one in elements):
        return "", 0.0
    chances = np.where([one.text != "" for one in elements], answer.source, 0)
    text = elements[int(chances.argmax())].text
    same = np.array([one.text == text for one in elements])
    return bare(text), float(answer.source[same].sum().clip(0, 1))


def _said_text(answer: Answer, words: Sequence[Word], instruction: str, form: str) -> tuple[str, float]:
    """Returns the likeliest words of the instruction, or a form of them."""
    if not words:
        return "", 0.0
    start, end, sure = _span(answer.starts, answer.ends, [word.quoted for word in words])
    return in_form(instruction[words[start].start : words[end].end], form), sure


def in_form(text: str, form: str) -> str:
    """Returns words of the instruction as one of SOURCES types them."""
    return as_keys(text) if form == "keys" else as_colour(text) if form == "colour" else text


def _span(starts: Floats, ends: Floats, quoted: Sequence[bool]) -> tuple[int, int, float]:
    """Returns the likeliest first and last word, and how likely. What is quoted is typed as a whole."""
    count = len(starts)
    is_quoted = np.array(quoted, dtype=np.bool_)
    inside = is_quoted[1:] & is_quoted[:-1]
    starts, ends = starts.copy(), ends.copy()
    starts[1:][inside] = 0
    ends[:-1][inside] = 0
    together = np.triu(starts[:, None] * ends[None, :])
    together = together * (np.arange(count)[None, :] - np.arange(count)[:, None] < _MOST_WORDS_TYPED)
    start, end = divmod(int(together.argmax()), count)
    return start, end, float(together[start, end])


def spelled(letters: Floats, alphabet: str) -> tuple[str, float]:
    """Returns the letters of the slots up to the first empty one, and their joint chance: none, where it is empty."""
    text, sure = "", 1.0
    for row in letters:
        chances = softmax(row)
        best = int(chances.argmax())
        sure *= float(chances[best])
        if best == 0:
            break
        text += alphabet[best - 1]
    return text, sure
