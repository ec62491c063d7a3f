"""Who is who at a fleet: an authority that issues each car, submitter and operator an identity of its own.

    authority/   operator.nk account.nk system.nk books.key ca.pem ca.key server.pem server.key revoked.json … secret
    NAME/        ca.pem cert.pem key.pem user.creds fleet.pub                                            given to NAME

TLS 1.3 both ways: the server knows every client's certificate by the authority's CA. Above it a user JWT, signed by the
account's nkey, says what NAME may publish and hear (NATS decentralised authentication): the server needs no list of
four million cars. Every NAME hears only its own inbox. A revoked NAME is refused from the server's next reload on.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nkeys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from runtime.fleet.errors import CredentialsError
from runtime.fleet.streams import (
    HOLD,
    HOLDS,
    JOB,
    JOBS,
    LANES,
    OFFER,
    OFFERS,
    PROGRESS,
    PROOF,
    RECEIPT,
    RESULT,
    RESULTS,
    SAMPLE,
    inbox_of,
)
from runtime.ledger.signing import public_hex

VALID_DAYS = 825
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_READ = (f"$JS.API.DIRECT.GET.{JOBS}.>", f"$JS.API.DIRECT.GET.{HOLDS}.>", f"$JS.API.STREAM.INFO.{JOBS}")
_CHANGE = (f"{JOB}*", f"{HOLD}*", f"{OFFER}>", f"$JS.API.STREAM.MSG.DELETE.{HOLDS}", f"$JS.ACK.{OFFERS}.>")
_SELF = "NAME"  # as one token of a subject: whose credentials they are
# Role -> (may publish, may hear besides its own inbox). Nobody but the operator may make or purge a stream.
ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "car": (
        (
            *_READ,
            *_CHANGE,
            f"$JS.API.CONSUMER.MSG.NEXT.{OFFERS}.>",
            f"{PROGRESS}>",
            f"{PROOF}{_SELF}.*",
            f"{RECEIPT}{_SELF}",
            f"{SAMPLE}*",
            f"{RESULT}*.*",
        ),
        (LANES,),
    ),
    "submitter": (
        (
            *_READ,
            *_CHANGE,
            LANES,
            f"$JS.API.DIRECT.GET.{JOBS}",
            f"$JS.API.CONSUMER.CREATE.{OFFERS}.>",
            f"$JS.API.DIRECT.GET.{RESULTS}",
        ),
        (f"{PROGRESS}>",),
    ),
    "operator": ((">",), (">",)),
}


class Authority:
    """The authority of one fleet, in `folder`; made on first use, mode 0700. `hosts` are the server's names."""

    def __init__(self, folder: Path, hosts: Sequence[str] = ("127.0.0.1", "localhost")) -> None:
        self.folder = folder
        self._own = folder / "authority"
        try:
            self._own.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._operator = self._nkey("operator", nkeys.PREFIX_BYTE_OPERATOR)
            self._account = self._nkey("account", nkeys.PREFIX_BYTE_ACCOUNT)
            self._system = self._nkey("system", nkeys.PREFIX_BYTE_ACCOUNT)
            if not (self._own / "server.pem").exists():
                self._make_certificates(hosts)
        except OSError as error:
            raise CredentialsError(f"the authority in {folder} cannot be used: {error}") from error

    def server_settings(self) -> dict[str, Any]:
        """Returns what nats.conf needs: mutual TLS, the operator, and the account with who is revoked."""
        account, system = _public(self._account), _public(self._system)
        limits = dict.fromkeys(
            ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams",
             "consumer"), -1,
        )  # fmt: skip
        form = {
            "limits": {**limits, "wildcards": True},
            "revocations": self._quarantined() | self._revoked(),
            "type": "account",
        }
        none = {"limits": {**limits, "wildcards": True, "disk_storage": 0, "mem_storage": 0}, "type": "account"}
        return {
            "tls": {
                "cert_file": str(self._own / "server.pem"),
                "key_file": str(self._own / "server.key"),
                "ca_file": str(self._own / "ca.pem"),
                "verify": True,
                "min_version": "1.3",
            },
            "operator": self._operator_jwt(),
            "resolver": "MEMORY",
            "system_account": system,
            "resolver_preload": {
                account: _jwt(self._operator, account, "fleet", form),
                system: _jwt(self._operator, system, "system", none),
            },
        }

    def enroll(self, name: str, role: str) -> Path:
        """Returns the folder of `name`'s credentials, made if it is new. Raises CredentialsError."""
        if not _NAME.fullmatch(name) or name == "authority":
            raise CredentialsError(
                f"{name!r} cannot be a name at a fleet", next_step="letters, digits, - and _, at most 64"
            )
        target = self.folder / name
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(target / "fleet.pub", public_hex(self.books_key()).encode())
        if (target / "user.creds").exists():
            return target
        user = nkeys.from_seed(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
        publish, hear = ROLES[role]
        inbox = () if role == "operator" else (f"{inbox_of(name)}.>",)
        form = {
            "pub": {"allow": [_own_subject(subject, name) for subject in publish]},
            "sub": {"allow": [*hear, *inbox]},
            "subs": -1,
            "data": -1,
            "payload": -1,
            "type": "user",
        }
        token = _jwt(self._account, _public(user), name, form)
        _write(target / "user.pub", _public(user).encode())
        (target / "ca.pem").write_bytes((self._own / "ca.pem").read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        _write(target / "cert.pem", self._sign(name, key, ()))
        _write(target / "key.pem", _pem(key))
        _write(target / "user.creds", _CREDS.format(token=token, seed=user.seed.decode()).encode())  # the last: whole
        return target

    def books_key(self) -> ed25519.Ed25519PrivateKey:
        """Returns the key that counter-signs receipts, made on first use; NAME/fleet.pub tells who it is."""
        path = self._own / "books.key"
        if not path.exists():
            _write(path, ed25519.Ed25519PrivateKey.generate().private_bytes_raw())
        return ed25519.Ed25519PrivateKey.from_private_bytes(path.read_bytes())

    def revoke(self, name: str) -> None:
        """Refuses every credential of `name` that was issued until now, once the server has read its settings again."""
        path = self.folder / name / "user.pub"
        if not path.exists():
            raise CredentialsError(f"nobody was enrolled here as {name!r}", next_step="list the authority's folder")
        revoked = self._revoked() | {path.read_text(): int(time.time()) + 1}
        _write(self._own / "revoked.json", json.dumps(revoked).encode())

    def quarantine(self, names: Iterable[str]) -> bool:
        """Has exactly these refused, besides who is revoked. Returns whether that changes the server's settings."""
        paths = (self.folder / name / "user.pub" for name in sorted(names) if _NAME.fullmatch(name))
        keys = [path.read_text() for path in paths if path.exists()]
        known = self._quarantined()
        if sorted(known) == sorted(keys):
            return False
        kept = {key: known.get(key, int(time.time()) + 1) for key in keys}
        _write(self._own / "quarantined.json", json.dumps(kept).encode())
        return True

    def _operator_jwt(self) -> str:
        """Returns the operator's own JWT, made once: a server does not take another on a reload."""
        path = self._own / "operator.jwt"
        if not path.exists():
            _write(path, _jwt(self._operator, _public(self._operator), "idlehands", {"type": "operator"}).encode())
        return path.read_text()

    def _revoked(self) -> dict[str, int]:
        path = self._own / "revoked.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _quarantined(self) -> dict[str, int]:
        path = self._own / "quarantined.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _nkey(self, name: str, prefix: int) -> Any:
        path = self._own / f"{name}.nk"
        if not path.exists():
            _write(path, bytes(nkeys.encode_seed(os.urandom(32), prefix)))
        return nkeys.from_seed(bytearray(path.read_bytes()))

    def _make_certificates(self, hosts: Sequence[str]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idlehands fleet")])
        certificate = (
            _builder(subject, subject, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_USAGE_CA, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(self._own / "ca.key", _pem(key))
        _write(self._own / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))
        server = ec.generate_private_key(ec.SECP256R1())
        _write(self._own / "server.key", _pem(server))
        _write(self._own / "server.pem", self._sign("server", server, hosts))

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, hosts: Sequence[str]) -> bytes:
        ca = x509.load_pem_x509_certificate((self._own / "ca.pem").read_bytes())
        ca_key = serialization.load_pem_private_key((self._own / "ca.key").read_bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        builder = (
            _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), ca.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


_CREDS = """-----BEGIN NATS USER JWT-----
{token}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""
_USAGE_CA = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


def _own_subject(subject: str, name: str) -> str:
    return ".".join(name if part == _SELF else part for part in subject.split("."))


def _jwt(signer: Any, subject: str, name: str, form: dict[str, Any]) -> str:
    """Returns a NATS JWT (version 2, alg ed25519-nkey) about `subject`, signed by `signer`."""
    claims = {
        "iat": int(time.time()),
        "iss": _public(signer),
        "name": name,
        "nats": {**form, "version": 2},
        "sub": subject,
    }
    digest = hashlib.new("sha512_256", json.dumps(claims).encode()).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, claims]
    body = ".".join(_b64(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{body}.{_b64(signer.sign(body.encode()))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _public(pair: Any) -> str:
    return bytes(pair.public_key).decode()


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # a car's clock may be behind
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)
    os.replace(fresh, path)
