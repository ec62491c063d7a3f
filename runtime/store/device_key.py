"""The X25519 key of one device, for which bundles may be encrypted, and how a file's key is wrapped for it.

    maker: ephemeral key × device's public key ──HKDF-SHA256──► key of the wrap ──ChaCha20-Poly1305──► file key, wrapped
    device: its secret key × ephemeral public key ──(the same)──► file key

The secret one lies in the state folder (keys/device.key, PKCS #8, 0600); its public half is told as a line of text:
device:<64 hexadecimal digits>-<the first 8 digits of its id>, so that a slip of the pen is no other device. The id
is the sha256 of the 32 raw bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from runtime.store.errors import KeyFileError
from runtime.store.files import disk_errors, write_atomically
from runtime.store.keys import read_secret_file

DEVICE_KEY = "device.key"
FILE_KEY_BYTES, WRAPPED_BYTES = 32, 32 + 16
_TEXT = re.compile(r"device:([0-9a-f]{64})-([0-9a-f]{8})\Z")
# A key of a wrap is used once, since no two files share an ephemeral key: one nonce is enough.
_NONCE = bytes(12)


@dataclass(frozen=True)
class DevicePublicKey:
    """Whom a file may be encrypted for. `raw` are the 32 bytes of RFC 7748."""

    raw: bytes

    @property
    def key_id(self) -> str:
        """sha256 of the raw key, hexadecimal: what a manifest names a device by."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def text(self) -> str:
        """The line that `parse` reads."""
        return f"device:{self.raw.hex()}-{self.key_id[:8]}"

    @staticmethod
    def parse(text: str) -> DevicePublicKey:
        """Reads the line that `idlehands model device-key` prints. Raises KeyFileError."""
        found = _TEXT.match(text.strip())
        key = DevicePublicKey(bytes.fromhex(found[1])) if found else None
        if found is None or key is None or key.key_id[:8] != found[2]:
            raise KeyFileError(
                f"{text.strip()[:100]!r} is no device's key: expected device:<64 digits>-<8 digits that check them>",
                next_step="copy the line that `idlehands model device-key` prints on the device",
            )
        return key

    def wrap(self, file_key: bytes, ephemeral: X25519PrivateKey, path: str) -> bytes:
        """Returns `file_key` for this device alone. Raises KeyFileError for a key that nobody can have."""
        try:
            shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(self.raw))
        except ValueError as error:  # a point of small order: the secret would be known to all
            raise KeyFileError(f"{self.text} is not a key of X25519 that can be encrypted for") from error
        sender = ephemeral.public_key().public_bytes_raw()
        return ChaCha20Poly1305(_wrap_key(shared, sender, self.raw)).encrypt(_NONCE, file_key, path.encode())


class DeviceKey:
    """The secret key of this device. Both ways to get one raise KeyFileError."""

    def __init__(self, secret: X25519PrivateKey) -> None:
        self._secret = secret
        self.public = DevicePublicKey(secret.public_key().public_bytes_raw())

    @staticmethod
    def load(path: Path) -> DeviceKey:
        """Reads a key; others than its owner must not be able to read the file."""
        try:
            secret = load_pem_private_key(read_secret_file(path, "device key"), password=None)
        except (ValueError, TypeError) as error:
            raise KeyFileError(f"{path} holds no unencrypted private key in PEM form") from error
        if not isinstance(secret, X25519PrivateKey):
            raise KeyFileError(f"{path} holds a key of another kind, expected X25519")
        return DeviceKey(secret)

    @staticmethod
    def load_or_create(path: Path) -> DeviceKey:
        """Returns the key in `path` (0600), made on first use: what was encrypted for a device needs it.

        Raises StoreUnusable too."""
        if path.exists():
            return DeviceKey.load(path)
        key = DeviceKey(X25519PrivateKey.generate())
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        pem = key._secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(path, pem, mode=0o600)
        return key

    def unwrap(self, wrapped: bytes, sender: bytes, path: str) -> bytes | None:
        """Returns the file key, or None if it was not wrapped for this device, by `sender`, for a file at `path`."""
        try:
            shared = self._secret.exchange(X25519PublicKey.from_public_bytes(sender))
            key = _wrap_key(shared, sender, self.public.raw)
            return ChaCha20Poly1305(key).decrypt(_NONCE, wrapped, path.encode())
        except (InvalidTag, ValueError):
            return None


def _wrap_key(shared: bytes, sender: bytes, receiver: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, b"idlehands wrap 1\0" + sender + receiver).derive(shared)
