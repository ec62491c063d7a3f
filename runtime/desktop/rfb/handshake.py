"""The beginning of an RFB connection: version 3.3, 3.7 or 3.8, who we are, who the server is, the pixel format.

    server: "RFB 003.008\\n" ─► ours ─► security types ─► our choice ─► … ─► result ─► ServerInit

    type                        encrypted    the server is proved    we are proved by
    VeNCrypt X509Plain          yes          by its certificate      user and password
    VeNCrypt X509Vnc, X509None  yes          by its certificate      password, nothing
    VeNCrypt TLSVnc, TLSNone    yes          no                      password, nothing
    VncAuth, None               no           no                      password, nothing

After RFC 6143 and the community's rfbproto (VeNCrypt). The first of these that server and login allow is taken. With a
certificate named, only types that prove the server are; a plain password goes to nobody else. VNC authentication is DES
with the password's bits mirrored, as its authors had it: in the clear it proves the password and protects nothing else.
"""

from __future__ import annotations

import ssl
import struct
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from runtime.desktop.rfb.link import Link, RfbRefused

_NONE, _VNC_AUTH, _VENCRYPT = 1, 2, 19
_TLS_NONE, _TLS_VNC, _X509_NONE, _X509_VNC, _X509_PLAIN = 257, 258, 260, 261, 262
_PROVED = (_X509_PLAIN, _X509_VNC, _X509_NONE)
_WITH_PASSWORD = {_VNC_AUTH, _TLS_VNC, _X509_VNC, _X509_PLAIN}
_NAMES = {257: "TLSNone", 258: "TLSVnc", 259: "TLSPlain", 260: "X509None", 261: "X509Vnc", 262: "X509Plain"}
# 32 bits, depth 24, little-endian, true colour, 255 each, red 16, green 8, blue 0: B, G, R, x in memory.
PIXEL_FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
_U8, _U32 = struct.Struct(">B"), struct.Struct(">I")
_INIT = struct.Struct(">HH16x")


@dataclass(frozen=True, slots=True)
class Screen:
    """What ServerInit says."""

    width: int
    height: int
    name: str


@dataclass(frozen=True)
class Login:
    """How we prove ourselves, and the certificate (PEM) by which the server must; empty: it need not."""

    password: str | None = field(default=None, repr=False)
    user: str = ""
    certificate: str = ""


def greet(link: Link, login: Login) -> Screen:
    """Speaks the handshake; shares the desktop with other viewers. Raises RfbRefused with the server's own reason."""
    minor = _version(link)
    if minor == 3:
        kind = link.unpack(_U32)[0]
        if kind == 0:
            raise RfbRefused(f"the VNC server at {link.name} refused: {link.text()}")
        if login.certificate or kind not in (_NONE, _VNC_AUTH):
            raise RfbRefused(f"the VNC server at {link.name} wants security type {kind}")
    else:
        (count,) = link.unpack(_U8)
        if count == 0:
            raise RfbRefused(f"the VNC server at {link.name} refused: {link.text()}")
        kind = _choose(link, link.read(count), login)
        link.send(bytes([kind]))
        if kind == _VENCRYPT:
            kind = _vencrypt(link, login)
    _prove(link, kind, login)
    if (kind != _NONE or minor == 8) and link.unpack(_U32) != (0,):
        reason = link.text() if minor == 8 else "wrong password, or too many attempts"
        raise RfbRefused(f"the VNC server at {link.name} refused: {reason}")
    link.send(b"\x01")  # shared
    width, height = link.unpack(_INIT)
    return Screen(width, height, link.text())


def response(challenge: bytes, password: str) -> bytes:
    """Returns the answer to a VNC authentication's challenge of 16 bytes."""
    key = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    encryptor = Cipher(TripleDES(mirrored * 3), modes.ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()


def _version(link: Link) -> int:
    """Agrees on a version. Returns its minor number: 3, 7 or 8."""
    banner = link.read(12)
    if not banner.startswith(b"RFB 003."):
        raise RfbRefused(f"{link.name} does not speak RFB 3: it says {banner!r}")
    offered = int(banner[8:11]) if banner[8:11].isdigit() else 3
    minor = 8 if offered >= 8 else 7 if offered == 7 else 3
    link.send(b"RFB 003.%03d\n" % minor)
    return minor


def _choose(link: Link, offered: bytes, login: Login) -> int:
    clear = [_VNC_AUTH, _NONE] if login.password is not None else [_NONE, _VNC_AUTH]
    wanted = [_VENCRYPT] if login.certificate else [_VENCRYPT, *clear]
    for kind in wanted:
        if kind in offered:
            return kind
    need = " and VeNCrypt is needed to prove the server by its certificate" if login.certificate else ""
    raise RfbRefused(f"the VNC server at {link.name} offers only the security types {sorted(offered)}{need}")


def _vencrypt(link: Link, login: Login) -> int:
    """Agrees on a subtype and goes on inside TLS. Returns the subtype."""
    major, minor = link.read(2)
    if (major, minor) < (0, 2):
        raise RfbRefused(f"the VNC server at {link.name} speaks VeNCrypt {major}.{minor}, 0.2 is needed")
    link.send(b"\0\2")
    if link.read(1) != b"\0":
        raise RfbRefused(f"the VNC server at {link.name} does not speak VeNCrypt 0.2")
    (count,) = link.unpack(_U8)
    offered = [link.unpack(_U32)[0] for _ in range(count)]
    kind = _choose_subtype(link, offered, login)
    link.send(_U32.pack(kind))
    if link.read(1) != b"\1":
        raise RfbRefused(f"the VNC server at {link.name} refused {_NAMES[kind]}")
    link.secure(tls_context(kind in _PROVED, login.certificate))
    return kind


def _choose_subtype(link: Link, offered: list[int], login: Login) -> int:
    wanted = [_X509_PLAIN] if login.certificate and login.user and login.password is not None else []
    pairs = [(_X509_VNC, _X509_NONE)] if login.certificate else [(_X509_VNC, _X509_NONE), (_TLS_VNC, _TLS_NONE)]
    for with_password, without in pairs:
        wanted += [with_password, without] if login.password is not None else [without, with_password]
    for kind in wanted:
        if kind in offered:
            return kind
    names = ", ".join(_NAMES.get(kind, str(kind)) for kind in offered)
    raise RfbRefused(
        f"the VNC server at {link.name} offers only {names} inside VeNCrypt",
        next_step="a user and password need desktop.rfb_user and desktop.rfb_certificate; else let it offer TLSVnc",
    )


def tls_context(has_certificate: bool, certificate: str) -> ssl.SSLContext:
    """Returns the TLS of a VeNCrypt subtype: pinned to `certificate` if one is given, anonymous if it has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate names the server; its address may be a tunnel's
    if has_certificate and certificate:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=certificate)
        return context
    context.verify_mode = ssl.CERT_NONE
    if not has_certificate:
        context.set_ciphers("ADH:AECDH:@SECLEVEL=0")  # Diffie-Hellman without certificates is no part of TLS 1.3
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def _prove(link: Link, kind: int, login: Login) -> None:
    if kind not in _WITH_PASSWORD:
        return
    if login.password is None:
        raise RfbRefused(f"the VNC server at {link.name} wants a password")
    if kind == _X509_PLAIN:
        user, password = login.user.encode(), login.password.encode()
        link.send(_U32.pack(len(user)) + _U32.pack(len(password)) + user + password)
    else:
        link.send(response(link.read(16), login.password))
