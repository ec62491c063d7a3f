"""A new key for a side that others have pinned, without a moment in which they do not know it.

    this side    prepare ─► next/ and a statement, signed by the old key: "my next certificate is this"
    each peer    accept(statement) ─► both certificates are trusted
    this side    finish ─► the next key is the key
    each peer    sees the new certificate in a handshake ─► the old one is trusted no more

The statement is no secret and needs no safe way: only the owner of a certificate that is already trusted can make one.
A peer that has not accepted yet refuses the new certificate, and says so; it may accept at any later time.
"""

from __future__ import annotations

import os

import msgspec

from runtime.transport.errors import IdentityError
from runtime.transport.identity import Identity, Peer, is_signed, make_key, read_certificate, write_whole

MAX_STATEMENT_BYTES = 1 << 16
_PURPOSE = b"idlehands: the next certificate of "


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a side hands to its peers, as JSON."""

    old: str
    certificate: str
    signature: bytes


def prepare(identity: Identity) -> str:
    """Makes the next key of `identity` (or takes the one that is prepared already). Returns the statement."""
    coming = identity.folder / "next"
    try:
        if not (coming / "key.pem").exists():
            make_key(coming, identity.me.name)
        certificate = read_certificate((coming / "certificate.pem").read_bytes())
    except (OSError, ValueError) as error:
        raise IdentityError(f"cannot prepare the next key in {coming}: {error}") from error
    signature = identity.sign(_said(identity.fingerprint, certificate))
    return msgspec.json.encode(Statement(identity.fingerprint, certificate.pem, signature)).decode()


def finish(identity: Identity) -> Identity:
    """Makes the prepared key the key; returns the identity as it is now. Raises IdentityError if none is prepared.

    A crash in the middle leaves the key new and the certificate old: `Identity.load` ends what was begun.
    """
    coming = identity.folder / "next"
    if not (coming / "certificate.pem").exists():
        raise IdentityError(f"{coming} holds no key", next_step="prepare one first: idlehands pair rotate")
    try:
        for name in ("key.pem", "certificate.pem"):
            if (coming / name).exists():
                os.replace(coming / name, identity.folder / name)
        coming.rmdir()
    except OSError as error:
        raise IdentityError(f"cannot finish the rotation in {identity.folder}: {error.strerror}") from error
    return Identity.load(identity.folder)


def accept(identity: Identity, statement: bytes | str) -> tuple[Peer, Peer]:
    """Trusts the next certificate of a peer that is trusted; returns (the old, the new).

    Raises IdentityError unless the statement is signed by the key of a certificate that is trusted here now.
    """
    try:
        if len(statement) > MAX_STATEMENT_BYTES:
            raise ValueError(f"{len(statement)} bytes")
        said = msgspec.json.decode(statement, type=Statement)
        new = read_certificate(said.certificate.encode())
    except (msgspec.DecodeError, ValueError) as error:
        raise IdentityError(
            f"this is no rotation statement: {error}", next_step="give the peer's file whole"
        ) from error
    old = identity.trusted().get(said.old)
    if old is None:
        raise IdentityError(
            f"the statement is of {said.old[:16]}, which is not trusted here", next_step="pair with it: idlehands pair"
        )
    if not is_signed(old, _said(old.fingerprint, new), said.signature):
        raise IdentityError(
            f"the statement is not signed by the key of {old.name} ({old.fingerprint[:16]})",
            next_step="do not trust it; ask the peer for its file again",
        )
    write_whole(identity.folder / "trusted" / f"{new.fingerprint}.replaces", old.fingerprint.encode(), 0o644)
    return old, identity.trust(new.pem)


def met(identity: Identity, fingerprint: str) -> str:
    """A peer has shown the certificate `fingerprint`: what it replaces is trusted no more. Returns that, or ""."""
    note = identity.folder / "trusted" / f"{fingerprint}.replaces"
    try:
        old = note.read_text().strip()
    except FileNotFoundError:
        return ""
    if old in identity.trusted():
        identity.revoke(old)
    note.unlink(missing_ok=True)
    return old


def _said(old: str, new: Peer) -> bytes:
    return _PURPOSE + old.encode() + b" is " + new.pem.encode()
