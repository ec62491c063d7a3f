"""Ed25519 keys that sign bundles, and the folder of public keys that are trusted.

signing key    one PEM file, PKCS #8, readable by its owner alone
trusted/*.pub  PEM files, SubjectPublicKeyInfo; a key's id is the sha256 of its 32 raw bytes, in hexadecimal
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from runtime.store.errors import KeyFileError
from runtime.store.files import write_atomically

KEY_FILE_CAP_BYTES = 4096
DEVELOPMENT_KEY = "development.key"
KEY_FOLDER = "keys"  # beside the store, in the state folder


class SigningKey:
    """A secret key. `create` makes one, `load` reads one; both raise KeyFileError."""

    def __init__(self, secret: Ed25519PrivateKey) -> None:
        self.secret = secret
        self.public = PublicKey(secret.public_key())

    @staticmethod
    def create(path: Path) -> SigningKey:
        """Makes a new key in `path` (0600), which must not exist yet."""
        secret = Ed25519PrivateKey.generate()
        data = secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        if path.exists():
            raise KeyFileError(f"{path} exists already, a key is never overwritten", next_step="name another file")
        write_atomically(path, data, mode=0o600)
        return SigningKey(secret)

    @staticmethod
    def load(path: Path) -> SigningKey:
        """Reads a key; others than its owner must not be able to read the file."""
        data = read_secret_file(path, "signing key")
        try:
            secret = load_pem_private_key(data, password=None)
        except (ValueError, TypeError) as error:
            raise KeyFileError(f"{path} holds no unencrypted private key in PEM form") from error
        if not isinstance(secret, Ed25519PrivateKey):
            raise KeyFileError(f"{path} holds a key of another kind, expected Ed25519")
        return SigningKey(secret)

    def sign(self, data: bytes) -> bytes:
        """Returns the 64-byte signature."""
        return self.secret.sign(data)


class PublicKey:
    """A public key; two are equal when their ids are."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.key_id = hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()

    @staticmethod
    def load(path: Path) -> PublicKey:
        """Reads a PEM file. Raises KeyFileError."""
        try:
            key = load_pem_public_key(_read(path, "public key"))
        except (ValueError, TypeError) as error:
            raise KeyFileError(f"{path} holds no public key in PEM form") from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyFileError(f"{path} holds a key of another kind, expected Ed25519")
        return PublicKey(key)

    def pem(self) -> bytes:
        """Returns the form that `load` reads."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Returns whether `signature` is this key's, of `data`."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class TrustedKeys:
    """The public keys that a bundle's signature is checked against, by id."""

    def __init__(self, keys: list[PublicKey]) -> None:
        self.by_id = {key.key_id: key for key in keys}

    @staticmethod
    def load(folder: Path) -> TrustedKeys:
        """Reads `folder`/*.pub; an absent folder trusts nobody. Raises KeyFileError for a file that is no key."""
        return TrustedKeys([PublicKey.load(path) for path in sorted(folder.glob("*.pub"))])

    @staticmethod
    def add(folder: Path, key: PublicKey, name: str = "") -> None:
        """Trusts `key` from now on. Doing it again is nothing new."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{name or key.key_id[:16]}.pub", key.pem(), mode=0o644)


def development_key(key_folder: Path, trusted_folder: Path) -> SigningKey:
    """Returns this machine's own signing key, made and trusted on first use.

    For bundles that are made where they are used; a fleet's key belongs on another machine.
    """
    path = key_folder / DEVELOPMENT_KEY
    key_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = SigningKey.load(path) if path.exists() else SigningKey.create(path)
    TrustedKeys.add(trusted_folder, key.public, "development")
    return key


def read_secret_file(path: Path, what: str) -> bytes:
    """Returns the content of a file that only its owner may be able to read. Raises KeyFileError."""
    data = _read(path, what)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyFileError(f"{what} {path} has mode {mode:o}, others may read it", next_step=f"chmod 600 {path}")
    return data


def _read(path: Path, what: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise KeyFileError(f"there is no {what} at {path}") from error
    except OSError as error:
        raise KeyFileError(f"{what} {path} cannot be read: {error.strerror}") from error
    try:
        return os.read(descriptor, KEY_FILE_CAP_BYTES)
    except OSError as error:
        raise KeyFileError(f"{what} {path} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
