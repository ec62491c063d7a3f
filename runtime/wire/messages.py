"""Every message of a session, numbered in one table. Array-like MessagePack: [number, field, field, …].

    car ─► desktop      1 Hello   2 Credit   3 Act   4 Heartbeat   5 Bye   6 Interest   7 Keep
    desktop ─► car     33 HelloAnswer   34 FramePart   35 ActResult   36 Takeover   37 Kept   4 Heartbeat   5 Bye

Numbers and fields are append-only: a reader ignores fields that it does not know, and takes the default of a field that
an older writer did not send. Every field has a limit, so that no message makes its reader allocate more than its bytes.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from runtime.wire.actions import Action, Precondition
from runtime.wire.tables import OLDEST_VERSION, Encoding, Outcome

MESSAGE_CAP = 1 << 20  # bytes after the length; what a car takes
REQUEST_CAP = 1 << 16  # what a desktop takes: nothing that a car may say is longer
KEEP_CAP = 60_000  # bytes that a desktop keeps of a job: less than a request, so that one carries them
FEATURE_KEEP = "keep"  # of Hello and HelloAnswer: Keep and Kept are known; without both of them neither is sent
MAX_CREDIT = 8  # frames on their way at once
MAX_PIXELS = 36_000_000  # of a screen; 8K UHD has 33.2 million
MAX_TILES = 2048  # in one part

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Side = Annotated[int, Meta(ge=1, le=16_384)]  # of a screen, in pixels
Name = Annotated[str, Meta(max_length=128)]
Features = Annotated[tuple[Name, ...], Meta(max_length=32)]


class Hello(Struct, array_like=True, frozen=True, tag=1):
    """The first message: who comes, for which job, as its which owner.

    `token` proves the right to work this job on this desktop; `agent` and `model` are for the desktop's log.
    """

    version: Count
    job: Name
    owner_epoch: Count
    token: Annotated[bytes, Meta(max_length=512)] = b""
    agent: Name = ""
    model: Name = ""
    features: Features = ()
    oldest_version: Count = OLDEST_VERSION


class Credit(Struct, array_like=True, frozen=True, tag=2):
    """`frames` more frames may be sent. A slow car gives none, then gets the newest screen, not a queue of old ones."""

    frames: Annotated[int, Meta(ge=1, le=MAX_CREDIT)]


class Act(Struct, array_like=True, frozen=True, tag=3):
    """One action, decided on `frame`. At most once: an older owner_epoch and a seq heard before are refused."""

    job: Name
    owner_epoch: Count
    seq: Count
    frame: Count
    action: Action
    precondition: Precondition | None = None


class Heartbeat(Struct, array_like=True, frozen=True, tag=4):
    """`sent_ns` is the car's own clock; the desktop sends the same number back, which tells the round trip."""

    sent_ns: Count


class Bye(Struct, array_like=True, frozen=True, tag=5):
    """The end, and why (CloseReason). A desktop answers a car's bye with its own once every key and button is up."""

    reason: Count
    detail: Annotated[str, Meta(max_length=1024)] = ""


class Interest(Struct, array_like=True, frozen=True, tag=6):
    """The region that the car wants first when a frame needs several parts; w = h = 0 means none."""

    x: Annotated[int, Meta(ge=0, le=16_384)]
    y: Annotated[int, Meta(ge=0, le=16_384)]
    w: Annotated[int, Meta(ge=0, le=16_384)]
    h: Annotated[int, Meta(ge=0, le=16_384)]


class Keep(Struct, array_like=True, frozen=True, tag=7):
    """What the car's next owner must know of the job, sent before an action; it replaces what was kept before."""

    data: Annotated[bytes, Meta(max_length=KEEP_CAP)]


class HelloAnswer(Struct, array_like=True, frozen=True, tag=33):
    """The session is open. `tile_key` keys the hashes of this session's tiles and preconditions.

    `owner_epoch`, `last_seq` and `last_outcome` are what the desktop durably knows of this job: after a hand-over
    they, and not the checkpoint, say what became of the last action.
    """

    version: Count
    session: Count
    width: Side
    height: Side
    tile_key: Annotated[bytes, Meta(min_length=16, max_length=32)]
    owner_epoch: Count
    last_seq: Count = 0
    last_outcome: Outcome = Outcome.none
    features: Features = ()


class FramePart(Struct, array_like=True, frozen=True, tag=34):
    """Some changed tiles of one frame; `last` completes it. What `tiles` and `data` hold: records.py, layout.py.

    `captured_ns` is the desktop's CLOCK_BOOTTIME, `capture_us` what reading and hashing took.
    """

    frame: Count
    width: Side
    height: Side
    captured_ns: Count
    capture_us: Count
    tiles: Annotated[memoryview, Meta(max_length=MAX_TILES * 20)]
    encoding: Encoding
    data: memoryview
    last: bool


class ActResult(Struct, array_like=True, frozen=True, tag=35):
    """What became of an action; times in CLOCK_BOOTTIME ns of the desktop, 0 where there is none.

    `reason` is a Refusal; a number that the car does not know (a newer desktop) is still a refusal.
    """

    seq: Count
    outcome: Outcome
    reason: Count = 0
    received_ns: Count = 0
    applied_ns: Count = 0


class Takeover(Struct, array_like=True, frozen=True, tag=36):
    """A person took the desktop (`active`) or gave it back; in between every action is refused."""

    active: bool


class Kept(Struct, array_like=True, frozen=True, tag=37):
    """What the last Keep of this job left, empty if nothing; follows the answer to a hello that has the feature."""

    data: Annotated[bytes, Meta(max_length=KEEP_CAP)] = b""


FromCar = Hello | Credit | Act | Heartbeat | Bye | Interest | Keep
FromDesktop = HelloAnswer | FramePart | ActResult | Takeover | Kept | Heartbeat | Bye
Message = (
    Hello | Credit | Act | Heartbeat | Bye | Interest | Keep | HelloAnswer | FramePart | ActResult | Takeover | Kept
)

MESSAGES: dict[int, type[Message]] = {
    1: Hello,
    2: Credit,
    3: Act,
    4: Heartbeat,
    5: Bye,
    6: Interest,
    7: Keep,
    33: HelloAnswer,
    34: FramePart,
    35: ActResult,
    36: Takeover,
    37: Kept,
}
FROM_CAR: tuple[type[FromCar], ...] = (Hello, Credit, Act, Heartbeat, Bye, Interest, Keep)
FROM_DESKTOP: tuple[type[FromDesktop], ...] = (HelloAnswer, FramePart, ActResult, Takeover, Kept, Heartbeat, Bye)
