"""The form of an encrypted file: a header that its devices can open, then chunks that each prove themselves.

    "IHSEAL1\\0" · u32 header bytes · header (MessagePack) · chunks of 256 KiB + 16 (the last may be shorter)

    header            [ephemeral public key, {device's id: file key wrapped for it (device_key.py)}]
    key of the chunks HKDF-SHA256(file key, salt: sha256 of everything before the chunks)
    chunk n           ChaCha20-Poly1305, nonce = n in 11 bytes, then 1 for the last chunk and 0 for all others;
                      the file's path in its bundle is its associated data

So a chunk that is changed, moved, left out, or of another file does not open, nor does a file that is cut short. (The
STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, CRYPTO 2015.) Whoever has a device's public key can encrypt for it:
who made a file is the manifest's signature to say.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from runtime.store.device_key import FILE_KEY_BYTES, WRAPPED_BYTES, DeviceKey, DevicePublicKey
from runtime.store.errors import BundleError

MAGIC = b"IHSEAL1\0"
CHUNK_BYTES, TAG_BYTES = 256 << 10, 16
HEADER_CAP_BYTES = 1 << 20


class _Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    sender: bytes
    wrapped: dict[str, bytes]


@dataclass(frozen=True)
class Opened:
    """What a file held, in memory alone, and the sha256 (hexadecimal) of the encrypted file that it was read from."""

    plain: bytes
    sha256: str


def seal(parts: Iterable[bytes], path: str, devices: Sequence[DevicePublicKey]) -> Iterator[bytes]:
    """Yields the envelope of what `parts` hold together, for `devices`. Raises KeyFileError."""
    file_key, ephemeral = secrets.token_bytes(FILE_KEY_BYTES), X25519PrivateKey.generate()
    wrapped = {device.key_id: device.wrap(file_key, ephemeral, path) for device in devices}
    header = msgspec.msgpack.encode(_Header(ephemeral.public_key().public_bytes_raw(), wrapped))
    lead = MAGIC + len(header).to_bytes(4, "little") + header
    yield lead
    cipher = _cipher(file_key, lead)
    for number, (chunk, is_last) in enumerate(_with_last(_cut(parts))):
        yield cipher.encrypt(_nonce(number, is_last), chunk, path.encode())


def unseal(stream: BinaryIO, path: str, key: DeviceKey, where: str) -> Opened:
    """Opens the envelope in `stream` with this device's key. Raises BundleError, which begins with `where`."""
    digest = hashlib.sha256()
    lead = _take(stream, len(MAGIC) + 4)
    size = int.from_bytes(lead[len(MAGIC) :], "little")
    if len(lead) < len(MAGIC) + 4 or lead[: len(MAGIC)] != MAGIC or size > HEADER_CAP_BYTES:
        raise BundleError(f"{where} is not an encrypted file of this version, its manifest says that it is one")
    lead += _take(stream, size)
    digest.update(lead)
    cipher = _cipher(_file_key(lead[len(MAGIC) + 4 :], path, key, where), lead)
    plain = io.BytesIO()
    for number, (chunk, is_last) in enumerate(_with_last(_chunks(stream))):
        digest.update(chunk)
        try:
            plain.write(cipher.decrypt(_nonce(number, is_last), chunk, path.encode()))
        except InvalidTag as error:
            raise BundleError(
                f"{where}: chunk {number} of its encryption does not open: it was changed, moved, or what follows it "
                "is missing",
                next_step="install it again",
            ) from error
    return Opened(plain.getvalue(), digest.hexdigest())


def _file_key(header: bytes, path: str, key: DeviceKey, where: str) -> bytes:
    try:
        found = msgspec.msgpack.decode(header, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{where}: the header of its encryption is damaged") from error
    wrapped = found.wrapped.get(key.public.key_id, b"")
    file_key = key.unwrap(wrapped, found.sender, path) if len(wrapped) == WRAPPED_BYTES else None
    if file_key is None:
        raise BundleError(
            f"{where}: its encryption has no key that this device ({key.public.key_id[:16]}) can open, its manifest "
            "says that it has"
        )
    return file_key


def _cipher(file_key: bytes, lead: bytes) -> ChaCha20Poly1305:
    salt = hashlib.sha256(lead).digest()
    return ChaCha20Poly1305(HKDF(SHA256(), 32, salt, b"idlehands chunks 1\0").derive(file_key))


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def _cut(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yields what `parts` hold in chunks of CHUNK_BYTES, the last shorter; one that is empty if there is nothing."""
    held = bytearray()
    is_empty = True
    for part in parts:
        held += part
        while len(held) >= CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES])
            del held[:CHUNK_BYTES]
            is_empty = False
    if held or is_empty:
        yield bytes(held)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Yields chunks as they were encrypted; at least one, so that a file without any does not open as an empty one."""
    yield _take(stream, CHUNK_BYTES + TAG_BYTES)
    while chunk := _take(stream, CHUNK_BYTES + TAG_BYTES):
        yield chunk


def _with_last(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yields (chunk, whether it is the last)."""
    held = next(chunks)
    for chunk in chunks:
        yield held, False
        held = chunk
    yield held, True


def _take(stream: BinaryIO, size: int) -> bytes:
    """Returns `size` bytes, fewer only at the end."""
    taken = bytearray()
    while len(taken) < size and (part := stream.read(size - len(taken))):
        taken += part
    return bytes(taken)
