"""Who this side is and whom it trusts: one folder, mode 0700.

    key.pem                 Ed25519 private key, mode 0600
    certificate.pem         self-signed; its SHA-256 is the fingerprint by which others pin this side
    trusted/<fingerprint>.pem    one certificate for each peer that may connect; removing the file revokes it
    trusted/<fingerprint>.replaces    the fingerprint that this peer gives up once it shows the new one (rotation.py)
    next/                   the key and certificate of a rotation that is prepared and not finished

A certificate says who a peer *is*; that it lies in `trusted` is the only thing that says it *may*. Trust is read at
every connection, so that a revocation needs no restart.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.transport.errors import IdentityError, NoIdentity

VALID_DAYS = 825
BACKDATED = datetime.timedelta(days=1)  # a car's clock may be behind until it has heard a time server
MAX_CERTIFICATE_BYTES = 16_384


@dataclass(frozen=True)
class Peer:
    """A certificate that is trusted. `fingerprint` is the SHA-256 of its DER bytes, 64 hex digits."""

    fingerprint: str
    name: str
    pem: str
    ends: datetime.datetime


@dataclass(frozen=True)
class Identity:
    """A folder of keys that was checked. Loading it again is never needed: trust is read from disk when it is asked."""

    folder: Path
    me: Peer

    @property
    def fingerprint(self) -> str:
        """SHA-256 of this side's own certificate, 64 hex digits: what the other side pins."""
        return self.me.fingerprint

    @property
    def certificate_pem(self) -> str:
        """This side's certificate: what the other side must `trust`. Not secret."""
        return self.me.pem

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """This side's secret key. It signs TLS handshakes, and what is told apart from them by its context."""
        return _secret(self.folder)

    @property
    def key_path(self) -> Path:
        return self.folder / "key.pem"

    @property
    def certificate_path(self) -> Path:
        return self.folder / "certificate.pem"

    @staticmethod
    def exists(folder: Path) -> bool:
        """Returns whether `folder` holds a key."""
        return (folder / "key.pem").exists()

    @classmethod
    def create(cls, folder: Path, name: str, *, valid_days: float = VALID_DAYS) -> Identity:
        """Makes a new key and certificate in `folder`. Raises IdentityError if there is one already."""
        if cls.exists(folder):
            raise IdentityError(
                f"{folder} holds a key already", next_step="remove it first; every peer must pair again"
            )
        try:
            make_key(folder, name, valid_days)
            (folder / "trusted").mkdir(exist_ok=True)
        except OSError as error:
            raise IdentityError(f"cannot write an identity into {folder}: {error.strerror}") from error
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """Reads and checks `folder`. Raises NoIdentity if it holds none, IdentityError if others can get at it."""
        if not cls.exists(folder):
            raise NoIdentity(f"{folder} holds no key")
        _end_rotation(folder)
        for path, forbidden in ((folder, 0o022), (folder / "key.pem", 0o077)):
            found = path.stat()
            if stat.S_IMODE(found.st_mode) & forbidden:
                raise IdentityError(
                    f"{path} has mode {stat.S_IMODE(found.st_mode):04o}: others than its owner can get at it"
                )
            if found.st_uid not in (os.geteuid(), 0):
                raise IdentityError(f"{path} belongs to uid {found.st_uid}, this process runs as {os.geteuid()}")
        try:
            me = read_certificate((folder / "certificate.pem").read_bytes())
        except (OSError, ValueError) as error:
            raise IdentityError(f"cannot read the identity in {folder}: {error}") from error
        if _public(me) != _secret(folder).public_key().public_bytes_raw():
            raise IdentityError(f"{folder}: key.pem is not the key of certificate.pem")
        return cls(folder, me)

    def sign(self, data: bytes) -> bytes:
        """Returns this side's signature of `data`, 64 bytes. Raises IdentityError if the key cannot be read."""
        return self.signing_key.sign(data)

    def trust(self, certificate_pem: str | bytes) -> Peer:
        """Lets the owner of `certificate_pem` connect from now on. Raises IdentityError if it is no such thing."""
        data = certificate_pem.encode() if isinstance(certificate_pem, str) else certificate_pem
        try:
            peer = read_certificate(data)
        except ValueError as error:
            raise IdentityError(f"not a certificate: {error}", next_step="give the peer's certificate.pem") from error
        try:
            (self.folder / "trusted").mkdir(exist_ok=True)
            write_whole(self.folder / "trusted" / f"{peer.fingerprint}.pem", peer.pem.encode(), 0o644)
        except OSError as error:
            raise IdentityError(f"cannot write into {self.folder / 'trusted'}: {error.strerror}") from error
        return peer

    def revoke(self, fingerprint: str) -> Peer:
        """Ends the trust in the one peer whose fingerprint begins so. Raises IdentityError for none and for several."""
        found = [peer for peer in self.trusted().values() if peer.fingerprint.startswith(fingerprint.lower())]
        if len(found) != 1 or len(fingerprint) < 8:
            raise IdentityError(
                f"{len(found)} trusted certificates begin with {fingerprint!r}",
                next_step="give at least 8 digits of exactly one fingerprint",
            )
        for ending in ("pem", "replaces"):
            (self.folder / "trusted" / f"{found[0].fingerprint}.{ending}").unlink(missing_ok=True)
        return found[0]

    def trusted(self) -> dict[str, Peer]:
        """Returns the peers that may connect now, by fingerprint. Raises IdentityError for a file that lies."""
        peers = {}
        for path in sorted((self.folder / "trusted").glob("*.pem")):
            try:
                peer = read_certificate(path.read_bytes())
            except (OSError, ValueError) as error:
                raise IdentityError(
                    f"{path} is not a certificate: {error}", next_step="remove it and pair again"
                ) from error
            if path.stem != peer.fingerprint:
                raise IdentityError(
                    f"{path} holds the certificate {peer.fingerprint}", next_step="remove it and pair again"
                )
            peers[peer.fingerprint] = peer
        return peers


def is_signed(peer: Peer, data: bytes, signature: bytes) -> bool:
    """Returns whether the owner of `peer`'s certificate signed `data`."""
    try:
        Ed25519PublicKey.from_public_bytes(_public(peer)).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def fingerprint(der: bytes) -> str:
    """Returns the SHA-256 of a certificate's DER bytes as 64 hex digits."""
    return hashlib.sha256(der).hexdigest()


def make_key(folder: Path, name: str, valid_days: float = VALID_DAYS) -> None:
    """Writes a new key and its certificate into `folder` (mode 0700). Raises OSError."""
    key = Ed25519PrivateKey.generate()
    pem = self_signed(key, name, datetime.timedelta(days=valid_days))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    write_whole(folder / "certificate.pem", pem, 0o644)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    write_whole(folder / "key.pem", key.private_bytes(serialization.Encoding.PEM, *form), 0o600)


def self_signed(key: Ed25519PrivateKey, name: str, valid: datetime.timedelta) -> bytes:
    """Returns a certificate of `key` for TLS in both roles, PEM, valid from yesterday for `valid`."""
    if not 0 < len(name) <= 64:
        raise IdentityError(f"a name has 1 to 64 characters, {name!r} has {len(name)}", next_step="choose another name")
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(key, algorithm=None)
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def read_certificate(data: bytes) -> Peer:
    """Returns the one certificate in PEM `data`. Raises ValueError if it is none, too long, or not Ed25519."""
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise ValueError(f"{len(data)} bytes, a certificate has at most {MAX_CERTIFICATE_BYTES}")
    certificate = x509.load_pem_x509_certificate(data)
    der = certificate.public_bytes(serialization.Encoding.DER)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    peer = Peer(
        fingerprint=fingerprint(der),
        name=str(names[0].value) if names else "",
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        ends=certificate.not_valid_after_utc,
    )
    if len(_public(peer)) != 32:
        raise ValueError("its key is not an Ed25519 key")
    return peer


def _secret(folder: Path) -> Ed25519PrivateKey:
    """Reads key.pem. Raises IdentityError if it is no Ed25519 key."""
    try:
        key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise IdentityError(f"cannot read the identity in {folder}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{folder}: key.pem is not the key of certificate.pem")
    return key


def _end_rotation(folder: Path) -> None:
    """Ends a rotation that was cut between its two renames: the key is the new one, the certificate still the old."""
    coming = folder / "next"
    if (coming / "certificate.pem").exists() and not (coming / "key.pem").exists():
        os.replace(coming / "certificate.pem", folder / "certificate.pem")
        coming.rmdir()


def _public(peer: Peer) -> bytes:
    key = x509.load_pem_x509_certificate(peer.pem.encode()).public_key()
    try:
        return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    except ValueError:  # a kind of key that has no raw form
        return b""


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Writes `path` wholly or not at all; never readable by others before its mode is set."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
