"""VeNCrypt against TigerVNC's Xvnc: encrypted, the server proved by its certificate, a password for nobody else."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.desktop.protocol import Step
from runtime.desktop.rfb.desktop import RfbDesktop
from runtime.desktop.rfb.handshake import Login
from runtime.desktop.rfb.link import RfbRefused
from runtime.wire.actions import Click
from tests.desktop.test_keyboard import wait_until
from tests.desktop.test_rfb import HELLO, INIT, PASSWORD, WHITE, Vnc, needs_xvnc

pytestmark = pytest.mark.desktop


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Returns the files of a new self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vnc")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return paths


@contextmanager
def xvnc(folder: Path, security: str) -> Iterator[tuple[Vnc, str]]:
    """Xvnc with one kind of security, and its certificate."""
    pem, key = certificate(folder, "server")
    vnc = Vnc(folder, security, "-X509Cert", str(pem), "-X509Key", str(key))
    try:
        yield vnc, pem.read_text()
    finally:
        vnc.close()


@needs_xvnc
@pytest.mark.parametrize("security", ["TLSNone", "TLSVnc", "X509None", "X509Vnc"])
def test_a_desktop_is_worked_inside_tls(tmp_path: Path, security: str) -> None:
    password = PASSWORD if security.endswith("Vnc") else None
    with xvnc(tmp_path, security) as (vnc, pem):
        desktop = RfbDesktop(vnc.address, Login(password, certificate=pem if security.startswith("X509") else ""))
        assert desktop._link._secured is not None
        for number in range(20):
            vnc.client.paint(0, 0, 100, 100, (number, 2, 3))
            wait_until(lambda n=number: desktop.capture(0).pixels[50, 50, :3].tolist() == [n, 2, 3])  # type: ignore[misc]
            desktop.apply(Click(33, 44), None, Step(1, 1, number))
        events: list[tuple[str, str, int, int]] = []

        def arrived() -> bool:
            events.extend(event for event in vnc.client.events() if event[0] == "release")
            return len(events) == 20

        wait_until(arrived)
        desktop.close()


@needs_xvnc
def test_a_server_with_another_certificate_is_nobody_s(tmp_path: Path) -> None:
    other, _ = certificate(tmp_path, "other")
    with (
        xvnc(tmp_path, "X509Vnc,TLSVnc,VncAuth,None") as (vnc, _),
        pytest.raises(RfbRefused, match="another certificate"),
    ):
        RfbDesktop(vnc.address, Login(PASSWORD, certificate=other.read_text()))


@needs_xvnc
def test_with_a_certificate_nothing_less_is_taken(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "pinned")[0].read_text()
    with xvnc(tmp_path, "VncAuth,None") as (vnc, _), pytest.raises(RfbRefused, match="VeNCrypt is needed"):
        RfbDesktop(vnc.address, Login(PASSWORD, certificate=pem))
    with xvnc(tmp_path, "TLSVnc,VncAuth") as (vnc, _), pytest.raises(RfbRefused, match="offers only TLSVnc"):
        RfbDesktop(vnc.address, Login(PASSWORD, certificate=pem))
    with pytest.raises(RfbRefused, match="security type 1"):
        plain(HELLO, pem)


@needs_xvnc
def test_a_wrong_password_inside_tls(tmp_path: Path) -> None:
    with xvnc(tmp_path, "X509Vnc") as (vnc, pem), pytest.raises(RfbRefused, match="refused"):
        RfbDesktop(vnc.address, Login("wrong", certificate=pem))


def plain(said: bytes, pem: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def say() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(said)

        thread = threading.Thread(target=say)
        thread.start()
        try:
            RfbDesktop(f"127.0.0.1:{server.getsockname()[1]}", Login(certificate=pem))
        finally:
            thread.join()


def test_user_and_password_go_to_a_proved_server_alone(tmp_path: Path) -> None:
    """X509Plain, which Xvnc leaves to PAM: a server of the test's own."""
    pem, key = certificate(tmp_path, "server")
    heard: list[bytes] = []

    def serve(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"RFB 003.008\n")
            peer.recv(12)
            peer.sendall(b"\1\x13")
            peer.recv(1)
            peer.sendall(b"\0\2")
            peer.recv(2)
            peer.sendall(b"\0\1\0\0\1\6")
            if peer.recv(4) != b"\0\0\1\6":
                return
            peer.sendall(b"\1")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem, key)
            with context.wrap_socket(peer, server_side=True) as secured:
                heard.append(secured.recv(64))
                secured.sendall(b"\0\0\0\0")
                secured.recv(1)
                secured.sendall(INIT + WHITE)
                while secured.recv(4096):
                    pass

    def attempt(login: Login) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=serve, args=(server,))
            thread.start()
            try:
                RfbDesktop(f"127.0.0.1:{server.getsockname()[1]}", login).close()
            finally:
                thread.join()

    attempt(Login("geheim", "ann", pem.read_text()))
    assert heard == [b"\0\0\0\3\0\0\0\6anngeheim"]
    with pytest.raises(RfbRefused, match=r"offers only X509Plain.*rfb_certificate"):
        attempt(Login("geheim", "ann"))
    assert len(heard) == 1
