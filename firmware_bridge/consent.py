"""The owner's consent: a document that the owner signed, with a version that only grows.

    {"document": {"version": 7, "vehicle": "5YJ3...", "is_given": true, "terms_sha256": "...",
                  "issued_s": 1790000000, "expires_s": 1821536000},
     "signature": "<base64 of the Ed25519 signature over the document's canonical JSON>"}

Revoking is a document of a higher version with is_given false, or removing the file: both count within a poll. The
highest version that was ever seen is stored, so that an older consent cannot be put back after it was revoked.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from firmware_bridge.errors import BridgeError

_TYPES = {"version": int, "vehicle": str, "is_given": bool, "terms_sha256": str, "issued_s": int, "expires_s": int}
_DOMAIN = b"idlehands consent v1\n"
_LONGEST_BYTES = 16_384


class ConsentError(BridgeError):
    """The consent is damaged, not signed by this car's owner, for another car, or older than one that was seen."""

    next_step: ClassVar[str] = "let the owner sign a consent of a higher version"


@dataclass(frozen=True, slots=True)
class Consent:
    """What the owner signed. `vehicle` is the VIN; times in s since 1970; `terms_sha256` names the text agreed to."""

    version: int
    vehicle: str
    is_given: bool
    terms_sha256: str
    issued_s: int
    expires_s: int

    def is_in_force(self, wall_s: float) -> bool:
        return self.is_given and self.issued_s <= wall_s < self.expires_s


def sign(consent: Consent, key: Ed25519PrivateKey) -> bytes:
    """Returns the file's bytes; the owner's application or key service does this, never the car."""
    document = dataclasses.asdict(consent)
    signature = key.sign(_DOMAIN + _canonical(document))
    signed = {"document": document, "signature": base64.b64encode(signature).decode()}
    return json.dumps(signed, indent=1).encode() + b"\n"


def verify(data: bytes, key: Ed25519PublicKey, vehicle: str = "") -> Consent:
    """Returns the consent in `data`. Raises ConsentError: damaged, another key, another vehicle (if one is given)."""
    if len(data) > _LONGEST_BYTES:
        raise ConsentError(f"a consent has at most {_LONGEST_BYTES} bytes, got {len(data)}")
    try:
        tree = json.loads(data)
        document = tree["document"]
        signature = base64.b64decode(tree["signature"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise ConsentError(f"the consent is damaged: {error!r}") from error
    if not isinstance(document, dict) or set(document) != set(_TYPES):
        raise ConsentError(f"the consent must have exactly {', '.join(_TYPES)}")
    for name, kind in _TYPES.items():
        if type(document[name]) is not kind:
            raise ConsentError(f"the consent's {name} must be {kind.__name__}, got {document[name]!r}")
    try:
        key.verify(signature, _DOMAIN + _canonical(document))
    except InvalidSignature as error:
        raise ConsentError("the consent is not signed with the owner's key") from error
    consent = Consent(**document)
    if vehicle and consent.vehicle != vehicle:
        raise ConsentError(f"the consent is for the vehicle {consent.vehicle!r}, this one is {vehicle!r}")
    return consent


def load_key(path: Path) -> Ed25519PublicKey:
    """Reads the owner's public key (PEM). Raises ConsentError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConsentError(f"the owner's key {path} cannot be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConsentError(f"the owner's key {path} must be an Ed25519 key")
    return key


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
