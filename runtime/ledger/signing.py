"""Ed25519 over a text of our own: every signature is of a context, which says what it is for, and of a sha256.

A key and a signature are written in hexadecimal: 64 and 128 digits.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def public_hex(key: Ed25519PrivateKey) -> str:
    """Returns the raw public key of `key`: how a receipt names who signed it."""
    return key.public_key().public_bytes_raw().hex()


def sign(key: Ed25519PrivateKey, context: bytes, digest: str) -> str:
    """Returns the signature of `digest` (a sha256 in hexadecimal) in `context`."""
    return key.sign(context + bytes.fromhex(digest)).hex()


def verifies(public: str, signature: str, context: bytes, digest: str) -> bool:
    """Returns whether `signature` is of the key `public`, of `digest` in `context`. False for any damaged text."""
    try:
        _public_key(public).verify(bytes.fromhex(signature), context + bytes.fromhex(digest))
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=4096)
def _public_key(public: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
