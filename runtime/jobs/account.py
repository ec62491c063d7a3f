"""One decision as two digests: what it was made of, and what it was. For jobs that may be checked.

    asked   SHA-256 of [bundle, instruction, state before, width, height, B G R of every pixel]
    said    SHA-256 of [action, state after]

An agent is a pure function, so whoever is asked the same must say the same: two cars are compared without a pixel, a
word or a place leaving either of them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:  # the daemon reads accounts too, and must not bring the worker's numpy
    from runtime.agent.protocol import Decision
    from runtime.desktop.frame import Frame

DIGEST_CHARACTERS = 32
ACCOUNT = "account"  # the kind of the event that tells one


class Account(NamedTuple):
    """What a car says of one decision: two digests in hexadecimal."""

    asked: str
    said: str


def account_of(view: Frame, instruction: str, state: bytes, decided: Decision, bundle: bytes = b"") -> Account:
    """Returns the account of a decision. It reads every pixel: 5 ms for a large screen."""
    asked = hashlib.sha256(msgspec.msgpack.encode((bundle, instruction, state, view.width, view.height)))
    asked.update(view.pixels[..., :3].tobytes())  # the fourth byte of a pixel has no meaning
    said = hashlib.sha256(msgspec.msgpack.encode((decided.action, decided.state)))
    return Account(asked.hexdigest()[:DIGEST_CHARACTERS], said.hexdigest()[:DIGEST_CHARACTERS])
