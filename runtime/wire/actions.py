"""What an agent can do: the vocabulary common to today's computer-use models, as MessagePack arrays.

    number  action               on the wire                             done by
      1     move                 [1, x, y]                               the desktop
      2     click                [2, x, y, button, count, [modifier…]]   the desktop
      3     drag                 [3, [[x, y]…], button, [modifier…]]     the desktop
      4     scroll               [4, x, y, dx, dy]                       the desktop
      5     type                 [5, text]                               the desktop
      6     key                  [6, chord]                              the desktop
      7     hold                 [7, key]                                the desktop
      8     release              [8, key]                                the desktop
      9     wait                 [9, ms]                                 the car
     10     done                 [10, answer]                            the car
     11     fail                 [11, reason]                            the car
     12     ask                  [12, question]                          the car: a question for a person

Coordinates are integer pixels of the frame that the action was decided on, (0, 0) top left. Numbers and fields are
append-only. Limits hold where a message is decoded, not where an action is built; both ends decode.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Struct

MAX_PATH = 1024
MAX_TEXT = 4096
MAX_CHORD = 64
MAX_MODIFIERS = 8

# Wide enough for any wall of screens, and for a target just off one: the desktop refuses that as out_of_bounds.
Pixel = Annotated[int, Meta(ge=-65536, le=65535)]
Notches = Annotated[int, Meta(ge=-1000, le=1000)]
Chord = Annotated[str, Meta(min_length=1, max_length=MAX_CHORD)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Modifiers = Annotated[tuple[Chord, ...], Meta(max_length=MAX_MODIFIERS)]
Path = Annotated[tuple[tuple[Pixel, Pixel], ...], Meta(min_length=1, max_length=MAX_PATH)]


class Button(IntEnum):
    """Pointer buttons by their X11 numbers; 4 to 7 are the wheel and are spoken as `Scroll`."""

    left = 1
    middle = 2
    right = 3
    back = 8
    forward = 9


LEFT, MIDDLE, RIGHT = Button.left, Button.middle, Button.right


class Move(Struct, array_like=True, frozen=True, tag=1):
    """Moves the pointer."""

    x: Pixel
    y: Pixel


class Click(Struct, array_like=True, frozen=True, tag=2):
    """Presses and releases `button` `count` times at (x, y) while `modifiers` ("ctrl", "shift", …) are down."""

    x: Pixel
    y: Pixel
    button: Button = Button.left
    count: Annotated[int, Meta(ge=1, le=4)] = 1
    modifiers: Modifiers = ()


class Drag(Struct, array_like=True, frozen=True, tag=3):
    """Presses `button` at the first point, follows `path`, releases at the last."""

    path: Path
    button: Button = Button.left
    modifiers: Modifiers = ()


class Scroll(Struct, array_like=True, frozen=True, tag=4):
    """Turns the wheel at (x, y): `dx` notches to the right, `dy` notches down."""

    x: Pixel
    y: Pixel
    dx: Notches
    dy: Notches


class Type(Struct, array_like=True, frozen=True, tag=5):
    """Types `text`: press and release of each key in one flush, so that no key repeats by itself."""

    text: Text


class Key(Struct, array_like=True, frozen=True, tag=6):
    """Presses and releases a chord such as "enter" or "ctrl+shift+a"."""

    chord: Chord


class Hold(Struct, array_like=True, frozen=True, tag=7):
    """Presses a modifier and leaves it down until `Release`, a second of silence, or the end of the session."""

    key: Chord


class Release(Struct, array_like=True, frozen=True, tag=8):
    """Releases what `Hold` pressed."""

    key: Chord


class Wait(Struct, array_like=True, frozen=True, tag=9):
    """Lets `ms` milliseconds pass, or less if the screen comes to rest before."""

    ms: Annotated[int, Meta(ge=0, le=60_000)]


class Done(Struct, array_like=True, frozen=True, tag=10):
    """The instruction is carried out; `answer` is what it asked for, if it asked."""

    answer: Text = ""


class Fail(Struct, array_like=True, frozen=True, tag=11):
    """The instruction cannot be carried out."""

    reason: Text


class Ask(Struct, array_like=True, frozen=True, tag=12):
    """Only a person can decide this."""

    question: Text


Input = Move | Click | Drag | Scroll | Type | Key | Hold | Release
Action = Move | Click | Drag | Scroll | Type | Key | Hold | Release | Wait | Done | Fail | Ask
INPUTS: tuple[type[Input], ...] = (Move, Click, Drag, Scroll, Type, Key, Hold, Release)
ACTIONS: tuple[type[Action], ...] = (*INPUTS, Wait, Done, Fail, Ask)


class Precondition(Struct, array_like=True, frozen=True):
    """A region and the keyed hash that its pixels had when the action was decided; other pixels refuse the action."""

    x: Pixel
    y: Pixel
    w: Annotated[int, Meta(ge=1, le=65535)]
    h: Annotated[int, Meta(ge=1, le=65535)]
    hash: Annotated[bytes, Meta(min_length=16, max_length=16)]


def position(action: Action) -> tuple[int, int] | None:
    """Returns the pixel at which `action` happens (the last one of a drag), None for one that has no place."""
    if isinstance(action, Move | Click | Scroll):
        return action.x, action.y
    if isinstance(action, Drag):
        return action.path[-1]
    return None


def describe(action: Action) -> str:
    """Returns one short line for logs and live views. Typed text is counted, never shown: it may be a secret."""
    if isinstance(action, Click):
        times = {1: "click", 2: "double-click", 3: "triple-click"}.get(action.count, f"{action.count} clicks")
        held = "".join(f"{modifier}+" for modifier in action.modifiers)
        button = "" if action.button == Button.left else f" {Button(action.button).name}"
        return f"{held}{times}{button} at {action.x},{action.y}"
    if isinstance(action, Move):
        return f"move to {action.x},{action.y}"
    if isinstance(action, Drag):
        (x, y), (to_x, to_y) = action.path[0], action.path[-1]
        return f"drag {x},{y} to {to_x},{to_y}"
    if isinstance(action, Scroll):
        return f"scroll {action.dx},{action.dy} at {action.x},{action.y}"
    if isinstance(action, Type):
        return f"type {len(action.text)} characters"
    if isinstance(action, Key):
        return f"key {action.chord}"
    if isinstance(action, Hold | Release):
        return f"{type(action).__name__.lower()} {action.key}"
    if isinstance(action, Wait):
        return f"wait {action.ms} ms"
    if isinstance(action, Done):
        return "done"
    return f"fail: {action.reason}" if isinstance(action, Fail) else f"ask: {action.question}"
