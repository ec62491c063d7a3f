"""One message of every kind, and one action of every kind: what the golden bytes in vectors/ are made of."""

from __future__ import annotations

from runtime.wire.actions import (
    Action,
    Ask,
    Button,
    Click,
    Done,
    Drag,
    Fail,
    Hold,
    Key,
    Move,
    Precondition,
    Release,
    Scroll,
    Type,
    Wait,
)
from runtime.wire.messages import (
    Act,
    ActResult,
    Bye,
    Credit,
    FramePart,
    Heartbeat,
    Hello,
    HelloAnswer,
    Interest,
    Keep,
    Kept,
    Message,
    Takeover,
)
from runtime.wire.tables import CloseReason, Encoding, Outcome, Refusal

HASH = bytes(range(16))
EPOCH = 1 << 40 | 7

ACTIONS: dict[str, Action] = {
    "move": Move(3, 4),
    "click": Click(640, 360),
    "click with everything": Click(65535, -1, Button.forward, 3, ("ctrl", "shift")),
    "drag": Drag(((1, 2), (300, 4)), Button.middle, ("alt",)),
    "scroll": Scroll(10, 20, 0, -3),
    "type": Type("naïve 漢字 🚗"),
    "key": Key("ctrl+shift+a"),
    "hold": Hold("shift"),
    "release": Release("shift"),
    "wait": Wait(250),
    "done": Done("42"),
    "fail": Fail("no such button"),
    "ask": Ask("Send the mail?"),
}
MESSAGES: dict[str, Message] = {
    "hello": Hello(1, "job-1", EPOCH, b"secret", "block-clicker", "blocks 1", ("zstd",), 1),
    "hello, shortest": Hello(1, "j", 1),
    "credit": Credit(2),
    "heartbeat": Heartbeat(123_456_789_012),
    "bye": Bye(CloseReason.yielded, "the driver is back"),
    "interest": Interest(0, 64, 640, 128),
    "keep": Keep(b"state before and after"),
    "kept": Kept(b"state before and after"),
    "kept, nothing": Kept(),
    "hello answer": HelloAnswer(1, 9, 1920, 1080, b"K" * 16, EPOCH, 41, Outcome.applied, ("zstd",)),
    "frame part, raw": FramePart(
        5, 2, 1, 77, 8, memoryview(b"\0\0\0\0" + HASH), Encoding.raw, memoryview(b"BGRxbgrx"), True
    ),
    "frame part, empty": FramePart(6, 1920, 1080, 78, 9, memoryview(b""), Encoding.raw, memoryview(b""), True),
    "act result": ActResult(42, Outcome.applied, Refusal.none, 1_000_000, 1_200_000),
    "act result, refused": ActResult(43, Outcome.refused, Refusal.changed_pixels, 1_000_000),
    "takeover": Takeover(True),
    "act with a precondition": Act("job-1", EPOCH, 43, 5, Click(640, 360), Precondition(600, 350, 80, 20, HASH)),
    **{f"act: {name}": Act("job-1", EPOCH, 42, 5, action) for name, action in ACTIONS.items()},
}
