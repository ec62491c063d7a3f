"""Every number that a message carries besides its fields: outcomes, refusals, close reasons, encodings. Append-only.

Code, tests and PROTOCOL.md read these lists; a number that was once given is never given again.
"""

from __future__ import annotations

from enum import IntEnum

PROTOCOL_VERSION = 1
OLDEST_VERSION = 1


class Numbered(IntEnum):
    """A table of numbers, each with the sentence that PROTOCOL.md prints beside it."""

    meaning: str

    def __new__(cls, number: int, meaning: str = "") -> Numbered:
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member


class Outcome(Numbered):
    """What became of an action."""

    none = 0, "no action yet"
    applied = 1, "injected, wholly, once"
    refused = 2, "nothing was injected; the refusal says why"
    unknown = 3, "the desktop's side died in between: it may or may not have happened, look again"


class Refusal(Numbered):
    """Why the desktop did not do an action."""

    none = 0, "it was not refused"
    old_owner = 1, "a newer owner of the job is known; this car must stop"
    wrong_job = 2, "the session was opened for another job"
    repeated_seq = 3, "this seq, or a later one, was heard before"
    unknown_frame = 4, "it refers to a frame that was never sent"
    changed_pixels = 5, "the pixels of the precondition are not what they were"
    out_of_bounds = 6, "a coordinate or a region lies outside of the screen"
    taken_over = 7, "a person is using the desktop"
    not_an_input = 8, "wait, done, fail and ask are the car's own affair"
    bad_key = 9, "no such key or chord on this desktop"
    bad_text = 10, "a character that this desktop cannot type"
    not_held = 11, "release of a key that is not held"
    not_holdable = 12, "only modifiers may be held"
    limits_region = 13, "outside of the regions that the desktop's owner allows"
    limits_window = 14, "a window that the desktop's owner does not allow"
    limits_key = 15, "a key that the desktop's owner forbids"
    limits_text = 16, "a text that the desktop's owner forbids"
    limits_rate = 17, "faster than the desktop's owner allows"
    limits_hours = 18, "outside of the hours that the desktop's owner allows"
    needs_ask = 19, "consequential: a person must be asked first"
    busy = 20, "too many actions await their result"
    failed = 21, "the desktop could not inject it; nothing was pressed"


class CloseReason(Numbered):
    """Why a session ended. Said in `Bye` where the link still allows it, known to both sides in any case."""

    unspecified = 0, "no reason was given"
    job_over = 1, "the job is done, failed or asks"
    yielded = 2, "the car is needed"
    cancelled = 3, "the job was cancelled"
    shutting_down = 4, "this side is being stopped"
    silence = 5, "nothing was heard for a second"
    end_of_stream = 6, "the link ended without a bye"
    garbage = 7, "bytes that are no message of this protocol"
    too_long = 8, "a message above the cap"
    wrong_order = 9, "a message that may not come now"
    bad_version = 10, "no version that both sides speak"
    old_owner = 11, "a newer owner of the job is known"
    bad_token = 12, "the token does not open this desktop for this job"
    busy = 13, "another session works this desktop"
    superseded = 14, "a newer owner took the session over"
    stopped = 15, "a person stopped the session"
    hello_timeout = 16, "no hello in time"
    flood = 17, "more messages than a session may send"
    bad_frame = 18, "a frame that contradicts itself or the session"
    stalled = 19, "a message was begun and not ended in time"
    limits = 20, "the desktop's owner does not allow this session"
    desktop_lost = 21, "the screen itself went away"
    internal_error = 22, "a fault on this side; its log tells more"


class Encoding(Numbered):
    """How the tiles of a frame part are packed."""

    raw = 0, "pixels as they are"
    zstd_begin = 1, "planes; a new zstd stream begins here"
    zstd = 2, "planes; the session's zstd stream goes on"


def name_of(table: type[Numbered], number: int) -> str:
    """Returns the name of `number` in `table`, "number N" for one that a newer peer knows and we do not."""
    return next((member.name for member in table if member == number), f"number {number}")
