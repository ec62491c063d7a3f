"""The words of instructions: verbs, names of widgets, ordinals, colours. Lists only; `instruction.py` reads them."""

from __future__ import annotations

# Verb as it is written (without -ing) -> what is done.
VERBS = {
    **dict.fromkeys(
        ("click", "press", "hit", "push", "tap", "choose", "pick", "close", "check", "tick", "mark"), "click"
    ),
    **dict.fromkeys(("select",), "select"),
    **dict.fromkeys(("enter", "type", "write", "fill", "put", "input"), "type"),
    **dict.fromkeys(("focus",), "focus"),
    **dict.fromkeys(("expand", "open", "switch", "navigate", "browse", "unfold"), "look"),
    **dict.fromkeys(("find", "use", "look", "search", "locate", "go"), "seek"),
    **dict.fromkeys(("copy",), "copy"),
    **dict.fromkeys(("paste",), "paste"),
    **dict.fromkeys(("highlight",), "highlight"),
    **dict.fromkeys(("scroll",), "scroll"),
    **dict.fromkeys(("wait",), "wait"),
    **dict.fromkeys(("drag", "move"), "drag"),
    **dict.fromkeys(("solve", "calculate", "compute"), "solve"),
    **dict.fromkeys(("buy", "sell", "order", "book"), "itself"),
}
# Verbs that are likely to stand on a button themselves.
ITSELF = frozenset({"buy", "sell", "order", "book"})
# A verb begins a clause: only after one of these (or at the start) is such a word a verb.
BEFORE_A_VERB = frozenset({",", ".", ";", ":", "and", "then", "to", "by", "or", "please", "finally"})

# What a person calls a widget -> the kind of widget that looks so.
KINDS = {
    **dict.fromkeys(("button", "buttons"), "button"),
    **dict.fromkeys(("textbox", "textboxes", "field", "fields", "input", "inputs", "entry", "text"), "field"),
    **dict.fromkeys(("textarea", "textareas", "area", "editor"), "area"),
    **dict.fromkeys(("checkbox", "checkboxes"), "tick"),
    **dict.fromkeys(("radio", "radios"), "radio"),
    **dict.fromkeys(("link", "links"), "link"),
    **dict.fromkeys(("tab", "tabs"), "tab"),
    **dict.fromkeys(("list", "dropdown", "combobox", "listbox", "options"), "list"),
    **dict.fromkeys(("menu", "menus"), "menu"),
    **dict.fromkeys(("section", "sections"), "section"),
    **dict.fromkeys(("folder", "folders", "file", "files", "tree"), "folder"),
    **dict.fromkeys(("result", "results"), "result"),
    **dict.fromkeys(("slider", "sliders"), "slider"),
    **dict.fromkeys(("spinner", "spinners"), "spinner"),
    **dict.fromkeys(("icon", "icons"), "icon"),
    **dict.fromkeys(("dialog", "dialogue", "popup", "window"), "dialog"),
    **dict.fromkeys(("paragraph", "paragraphs"), "paragraph"),
    **dict.fromkeys(("circle", "ring"), "circle"),
}
# Words that say nothing about what is meant.
FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "on",
        "in",
        "into",
        "onto",
        "at",
        "of",
        "for",
        "with",
        "from",
        "as",
        "to",
        "your",
        "their",
        "its",
        "it",
        "them",
        "that",
        "this",
        "these",
        "those",
        "below",
        "above",
        "box",
        "element",
        "elements",
        "widget",
        "widgets",
        "item",
        "items",
        "labeled",
        "labelled",
        "named",
        "called",
        "saying",
        "titled",
        "option",
        "colored",
        "coloured",
        "value",
        "new",
        "using",
        "through",
        "between",
        "when",
        "done",
        "finished",
        "finish",
        "answer",
        "words",
        "word",
        "number",
        "text",
        "name",
        "so",
    ]
)
# What ends the list of names in a clause, when a widget's kind follows ("from the list", "with the slider").
TRAILERS = frozenset({"from", "with", "in", "into", "as", "using", "on", "of"})
EVERY = frozenset({"both", "all", "each", "every"})
# Ends of names such as "log in" and "sign up".
PARTICLES = frozenset({"in", "out", "on", "off", "up"})
NOTHING = frozenset({"nothing", "none"})
ORDINALS = {
    word: place
    for place, word in enumerate(
        [
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
            "tenth",
            "eleventh",
            "twelfth",
        ],
        start=1,
    )
} | {"last": -1}
MONTHS = {
    name: place
    for place, month in enumerate(
        (
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ),
        start=1,
    )
    for name in (month, month[:3])
}
NUMBERS = {
    word: number
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}
COLOURS = {  # name -> (red, green, blue); the sixteen of HTML 4 and what else people say
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "silver": (192, 192, 192),
    "red": (255, 0, 0),
    "maroon": (128, 0, 0),
    "orange": (255, 165, 0),
    "yellow": (255, 255, 0),
    "olive": (128, 128, 0),
    "lime": (0, 255, 0),
    "green": (0, 128, 0),
    "aqua": (0, 255, 255),
    "cyan": (0, 255, 255),
    "teal": (0, 128, 128),
    "blue": (0, 0, 255),
    "navy": (0, 0, 128),
    "magenta": (255, 0, 255),
    "fuchsia": (255, 0, 255),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "brown": (165, 42, 42),
}
