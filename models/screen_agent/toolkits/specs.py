"""Random windows of a toolkit: what stands in them, what is asked for in a person's words, and the goals of it.

window("qt-form", rng) ─► Window(spec for qt_app.py, instruction, goals)

goals   ("field", part, text) ("area", part, text) ("check", part, on) ("radio" | "combo" | "list", part, name)
        ("cell", part, "row,column", text) ("press" | "menu", part, name) ("key", -1, chord), in this order
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from models.screen_agent.toolkits import words

Goal = tuple[Any, ...]
KINDS = ("form", "keys", "editor", "terminal", "list", "menu", "table", "dialog")
TOOLKITS = ("tk", "qt", "gtk")
TASKS = tuple(f"{toolkit}-{kind}" for kind in KINDS for toolkit in TOOLKITS if kind != "table" or toolkit == "qt")


@dataclass
class Window:
    """`spec` is what the program draws; the episode is over when all of `goals` hold."""

    spec: dict[str, Any]
    instruction: str = ""
    goals: list[Goal] = field(default_factory=list)


def window(task: str, rng: random.Random, size: tuple[int, int]) -> Window:
    """Returns a random window of `task` on a screen of `size` pixels."""
    toolkit, kind = task.split("-")
    made = Window(_frame(toolkit, rng, size))
    says = _Drawing(made, toolkit, rng)
    parts = _KINDS[kind](says)
    text = _joined(parts, rng)
    made.instruction = text[0].upper() + text[1:] + "."
    kind_of_last, _, *rest = made.goals[-1]
    made.spec["last"] = f"{kind_of_last} {rest[-1]}"
    if kind in ("keys", "editor", "terminal") and made.spec["after"] == "replace":
        made.spec["after"] = "title"
    return made


def _frame(toolkit: str, rng: random.Random, size: tuple[int, int]) -> dict[str, Any]:
    dark = rng.random() < 0.2
    back = (
        _grey(rng, 35, 70) if dark else rng.choice(("#d9d9d9", "#f0f0f0", "#ececec", "#ffffff", _grey(rng, 205, 250)))
    )
    ink = "#eeeeee" if dark else rng.choice(("#000000", "#111111", "#202030"))
    colours = {
        "back": back,
        "ink": ink,
        "field": _grey(rng, 20, 50) if dark else "#ffffff",
        "text": ink,
        "button": _grey(rng, 70, 100) if dark else rng.choice(("#d9d9d9", "#e8e8e8", "#cfd8e6")),
        "label": ink,
        "accent": rng.choice(("#4a6984", "#3584e4", "#9a5a2a", "#2f7d4f")),
    }
    points = rng.choice((8, 9, 9, 10, 10, 11, 12, 13))
    return {
        "title": rng.choice(words.TITLES),
        "font": rng.choice(words.FONTS),
        "size": points,
        "colours": colours,
        "theme": rng.choice(words.THEMES[toolkit]),
        "pad": rng.randrange(2, 9),
        "parts": [],
        "menu": [],
        "chords": [],
        "x": rng.randrange(0, max(1, size[0] - 560)),
        "y": rng.randrange(10, max(11, size[1] - 460)),
        "sheet": _sheet(colours, rng) if toolkit == "qt" and rng.random() < 0.4 else "",
        "last": "",
        "said": rng.choice(words.SAID),
        "after": rng.choice(("replace", "add", "add", "title", "nothing")),
    }


def _sheet(colours: dict[str, str], rng: random.Random) -> str:
    """Returns a Qt style sheet of these colours."""
    round_, pad = rng.randrange(0, 7), rng.randrange(1, 6)
    return (
        f"QWidget {{ background: {colours['back']}; color: {colours['ink']}; }}"
        f"QPushButton {{ background: {colours['button']}; border: 1px solid #888; border-radius: {round_}px;"
        f" padding: {pad}px {pad + 8}px; }}"
        f"QLineEdit, QPlainTextEdit {{ background: {colours['field']}; color: {colours['text']};"
        f" border: 1px solid {rng.choice(('#888', '#aaa', '#555', colours['accent']))}; padding: {pad - 1}px; }}"
    )


def _grey(rng: random.Random, low: int, high: int) -> str:
    value = rng.randint(low, high)
    return "#" + "".join(f"{min(255, max(0, value + rng.randint(-6, 6))):02x}" for _ in range(3))


class _Drawing:
    """Adds parts and goals to a window, in words."""

    def __init__(self, made: Window, toolkit: str, rng: random.Random) -> None:
        self.made, self.toolkit, self.rng = made, toolkit, rng

    def part(self, kind: str, **fields: Any) -> int:
        self.made.spec["parts"].append({"kind": kind, **fields})
        return len(self.made.spec["parts"]) - 1

    def goal(self, *goal: Any) -> None:
        self.made.goals.append(goal)

    def quoted(self, text: str) -> str:
        return f'"{text}"' if self.rng.random() < 0.8 else text

    def field(self, label: str) -> int:
        rng = self.rng
        colon = rng.choice(("", "", ":"))
        value = "" if rng.random() < 0.85 else words.value(label, rng)
        variants = ("plain", "plain", "ttk", "spin") if self.toolkit == "tk" else ("plain", "plain", "hint")
        return self.part(
            "field",
            label=label + colon,
            value=value,
            variant=rng.choice(variants),
            width=rng.randrange(12, 30),
            border=rng.choice((1, 2)),
            relief=rng.choice(("sunken", "flat", "solid", "groove")),
        )

    def area(self, value: str, terminal: bool) -> int:
        rng = self.rng
        return self.part(
            "area",
            value=value,
            terminal=terminal,
            focus=rng.random() < 0.7,
            width=rng.randrange(36, 62),
            height=rng.randrange(5, 14),
        )

    def check(self, name: str) -> int:
        rng = self.rng
        return self.part(
            "check", name=name, on=rng.random() < 0.2, right=rng.random() < 0.6, variant=rng.choice(("plain", "ttk"))
        )

    def buttons(self, names: list[str]) -> int:
        return self.part("buttons", names=names, side=self.rng.choice("we"), variant=self.rng.choice(("plain", "ttk")))

    def finish(self) -> str:
        """Adds the row of buttons. Returns the words for the one that ends it."""
        rng = self.rng
        right, others = rng.choice(words.FINISH), rng.sample(words.LEAVE, rng.randrange(0, 3))
        names = [right, *others]
        rng.shuffle(names)
        self.goal("press", self.buttons(names), right)
        return self.press(right)

    def press(self, name: str) -> str:
        named = self.quoted(name)
        return self.rng.choice((f"press {named}", f"press {named}", f"click {named}", f"click the {named} button"))


def _form(draw: _Drawing) -> list[str]:
    rng, said = draw.rng, []
    labels = rng.sample(words.LABELS, rng.randrange(1, 5))
    asked = set(rng.sample(labels, rng.randrange(1, min(3, len(labels)) + 1)))
    for label in labels:
        place = draw.field(label)
        if label in asked:
            text = words.value(label, rng)
            draw.goal("field", place, text)
            told = draw.quoted(text)
            said.append(
                rng.choice(
                    (
                        f"enter {told} as {label}",
                        f"enter {told} as {label}",
                        f"set {label} to {told}",
                        f"type {told} into {draw.quoted(label)}",
                        f"fill in {label} with {told}",
                    )
                )
            )
    for name in rng.sample(words.OPTIONS, rng.choice((0, 1, 1, 2, 3))):
        place = draw.check(name)
        on = draw.made.spec["parts"][place]["on"]
        if rng.random() < 0.7:
            draw.goal("check", place, not on)
            told = draw.quoted(name)
            said.append(
                rng.choice((f"untick {told}", f"uncheck {told}", f"turn off {told}"))
                if on
                else rng.choice((f"tick {told}", f"tick {told}", f"check {told}", f"turn on {told}"))
            )
        else:
            draw.goal("check", place, on)
    if rng.random() < 0.35:
        kind = (
            "radio" if draw.toolkit == "gtk" else rng.choice(("radio", "combo"))
        )  # GTK tells no places of a list above
        names, group = rng.sample(words.CHOICES, rng.randrange(2, 5)), rng.choice(words.GROUPS)
        place = draw.part(
            kind,
            label=group,
            names=names,
            value=names[0],
            width=14,
            variant=rng.choice(("plain", "ttk")),
            side=rng.choice(("left", "top")),
        )
        right = rng.choice(names[1:])
        draw.goal(kind, place, right)
        told = draw.quoted(right)
        said.append(rng.choice((f"choose {told}", f"select {told} for {group}", f"set {group} to {told}")))
    return [*said, draw.finish()]


def _dialog(draw: _Drawing) -> list[str]:
    rng = draw.rng
    draw.part(
        "note",
        text=rng.choice(("Please enter it:", "What is it called?", "Which one?", "A value is needed.", "Continue?")),
    )
    said = []
    if rng.random() < 0.7:
        text = words.value("Title", rng)
        draw.goal("field", draw.field(""), text)
        told = draw.quoted(text)
        said.append(rng.choice((f"enter {told} into the text field", f"type {told} into the field", f"type {told}")))
    return [*said, draw.finish()]


def _keys(draw: _Drawing) -> list[str]:
    rng = draw.rng
    if rng.random() < 0.6:
        names = [*"123456789", *rng.sample(["0", ".", "=", "C", "+", "-", "*", "/", "%", "00"], rng.choice((3, 7)))]
        if rng.random() < 0.5:
            names = [*names[6:9], *names[3:6], *names[:3], *names[9:]]
        across = 3 if len(names) == 12 else 4
        if across == 4:
            names = [key for row in range(4) for key in (*names[3 * row : 3 * row + 3], *names[12 + row : 13 + row])]
    else:
        across = rng.choice((3, 4, 6))
        names = rng.sample(string.ascii_uppercase, across * rng.randrange(2, 4))
    rows = [names[first : first + across] for first in range(0, len(names), across)]
    place = draw.part("keys", rows=rows, gap=rng.randrange(0, 4), variant=rng.choice(("plain", "ttk")))
    asked = [rng.choice(names) for _ in range(rng.randrange(2, 6))]
    asked[-1] = rng.choice([name for name in names if name not in asked[:-1]])  # it is what ends it
    for name in asked:
        draw.goal("press", place, name)
    said = [f'"{name}"' for name in asked]
    if rng.random() < 0.6:
        return [f"press {', then '.join(said)}"]
    return [rng.choice(("press ", "click ", "push the buttons ")) + _joined(said, rng)]


def _editor(draw: _Drawing) -> list[str]:
    rng = draw.rng
    chord = rng.choice(("ctrl+s", "ctrl+s", "ctrl+enter"))
    text = words.sentence(rng)
    if rng.random() < 0.6:
        titles = rng.sample(list(words.MENUS), 3)
        draw.made.spec["menu"] = [[title, words.MENUS[title]] for title in titles]
    draw.goal("area", draw.area("", False), text)
    draw.goal("key", -1, chord)
    draw.made.spec["chords"] = [chord]
    named = chord.replace("ctrl", "Ctrl").replace("s", "S") if chord == "ctrl+s" else "Ctrl+Enter"
    told = draw.quoted(text)
    where = rng.choice(("into the text", "into the editor", "into the document", "in the window"))
    return [rng.choice((f"type {told} {where}", f"write {told} {where}", f"enter {told} {where}")), f"press {named}"]


def _terminal(draw: _Drawing) -> list[str]:
    rng = draw.rng
    text = (
        rng.choice(words.COMMANDS)
        if rng.random() < 0.5
        else f"{rng.choice(('echo', 'touch', 'mkdir', 'cat'))} {rng.choice(words.THINGS)}"
    )
    if rng.random() < 0.5:
        text += rng.choice((" > out.txt", " | sort", " -v", " >> log.txt", f" {rng.choice(words.THINGS)}.txt"))
    colours = draw.made.spec["colours"]
    if rng.random() < 0.7:
        colours.update(
            field=rng.choice(("#000000", "#101418", "#2e3436")), text=rng.choice(("#ffffff", "#d3d7cf", "#55ff55"))
        )
    draw.made.spec.update(
        font=rng.choice(("DejaVu Sans Mono", "Liberation Mono", "FreeMono")),
        sheet=_sheet(colours, rng) if draw.toolkit == "qt" else "",
    )
    draw.goal("area", draw.area(rng.choice(("$ ", "# ", "> ", "user@host:~$ ")), True), text)
    draw.goal("key", -1, "enter")
    told = f'"{text}"'
    return [
        rng.choice((f"type {told} into the terminal", f"enter {told} in the terminal", f"run {told}")),
        "press Enter",
    ]


def _list(draw: _Drawing) -> list[str]:
    rng = draw.rng
    names = rng.sample([*words.PLACES, *words.LAST, *words.FIRST], rng.randrange(4, 22))
    right = rng.choice(names)
    place = draw.part("list", names=names, height=rng.randrange(4, 9), width=rng.randrange(16, 30))
    draw.goal("list", place, right)
    return [f"{rng.choice(('select', 'choose', 'pick', 'mark'))} {draw.quoted(right)} in the list", draw.finish()]


def _menu(draw: _Drawing) -> list[str]:
    rng = draw.rng
    titles = rng.sample(list(words.MENUS), rng.randrange(2, 6))
    draw.made.spec["menu"] = [[title, words.MENUS[title]] for title in titles]
    draw.area(words.sentence(rng), False)
    title = rng.choice(titles)
    item = rng.choice(words.MENUS[title])
    draw.goal("menu", title, item)
    return [
        rng.choice(
            (
                f"choose {draw.quoted(item)} in the {title} menu",
                f"select {title} > {item}",
                f"open the menu {draw.quoted(title)} and click {draw.quoted(item)}",
            )
        )
    ]


def _table(draw: _Drawing) -> list[str]:
    rng = draw.rng
    columns = rng.randrange(2, 5)
    rows = [
        [rng.choice(words.THINGS), *(str(rng.randrange(10, 999)) for _ in range(columns - 1))]
        for _ in range(rng.randrange(3, 8))
    ]
    shown = [text for row in rows for text in row]
    down, across = rng.randrange(len(rows)), rng.randrange(1, columns)
    if shown.count(rows[down][across]) > 1:
        return _table(draw)
    heads = (
        rng.sample(("Item", "Stock", "Sold", "Price", "Year", "Spring", "Autumn"), columns)
        if rng.random() < 0.6
        else []
    )
    text = str(rng.randrange(10, 999))
    place = draw.part("table", rows=rows, heads=heads)
    draw.goal("cell", place, f"{down},{across}", text)
    said = [
        rng.choice((f"click the cell that shows {rows[down][across]}", f"select the cell with {rows[down][across]}")),
        f"type {text}",
        "press Enter",
    ]
    if rng.random() < 0.5:
        draw.goal("key", -1, "ctrl+s")
        draw.made.spec["chords"] = ["ctrl+s"]
        return [*said, "press Ctrl+S"]
    return [*said, draw.finish()]


_KINDS: dict[str, Callable[[_Drawing], list[str]]] = {
    "form": _form,
    "keys": _keys,
    "editor": _editor,
    "terminal": _terminal,
    "list": _list,
    "menu": _menu,
    "table": _table,
    "dialog": _dialog,
}


def _joined(parts: list[str], rng: random.Random) -> str:
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + rng.choice((" and ", " and ", ", then ", " and then ")) + parts[-1]
