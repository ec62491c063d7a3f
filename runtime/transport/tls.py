"""Mutual TLS 1.3 over any Stream, each side pinned by the other through its certificate's fingerprint.

    session bytes ─► SSLObject ─► outgoing BIO ─► inner stream      (a TCP socket, a relay's pipe, memory in tests)
                  ◄─           ◄─ incoming BIO ◄─

TLS stands on a Stream, not on a socket, so that it runs end to end through a relay, and so that a refusal is *said*:
asyncio's own TLS drops the link without the alert that tells the peer which certificate was wrong.

No renegotiation, no session tickets, no early data: TLS 1.3 with tickets off. Trust anchors are exactly the
certificates in the identity's folder; after the handshake the peer's certificate must be one of them, byte for byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable

from runtime.transport.errors import (
    ExpiredCertificate,
    StreamBroken,
    TransportError,
    Unreachable,
    WrongCertificate,
)
from runtime.transport.identity import Identity, fingerprint
from runtime.transport.rotation import met
from runtime.transport.sockets import CLOSE_S, SocketServer
from runtime.transport.stream import RECEIVE_BYTES, Handler, Stream
from runtime.transport.tcp import dial_tcp, listen_tcp

HANDSHAKE_S = 5.0
MAX_STRANGERS = 16  # peers that have not yet proved who they are, at once
PROTOCOL = "idlehands/1"

log = logging.getLogger("idlehands.transport")


class TlsStream:
    """A `Stream` inside a `Stream`. Made by `secure`; `peer` is the fingerprint of the peer's certificate."""

    def __init__(self, inner: Stream, context: ssl.SSLContext, *, is_server: bool) -> None:
        self.peer = inner.peer
        self.peer_name = ""
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=is_server)
        self._sending = asyncio.Lock()  # a handshake reply and a message must not interleave their records
        self._closed = False
        self._working: asyncio.Future[None] | None = None

    async def handshake(self, trusted: dict[str, str]) -> None:
        """Completes the handshake and pins the peer. `trusted` maps fingerprints to names. Raises TransportError."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError as error:
                await self._flush()  # the alert that says why
                raise translate(error, self._inner.peer) from error
        await self._flush()
        found = fingerprint(self._tls.getpeercert(binary_form=True) or b"")
        if found not in trusted:
            raise WrongCertificate(f"{self._inner.peer} showed the certificate {found}, which is not trusted here")
        if self._tls.selected_alpn_protocol() != PROTOCOL:
            raise TransportError(f"{self._inner.peer} does not speak {PROTOCOL}", next_step="check the port")
        self.peer, self.peer_name = found, trusted[found]

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise StreamBroken(f"the link to {self.peer} is closed")
        try:
            rest = memoryview(data)
            while len(rest):
                rest = rest[self._tls.write(rest) :]  # OpenSSL takes one record at a time
        except ssl.SSLError as error:
            raise translate(error, self._inner.peer) from error
        await self._flush()

    async def receive(self) -> bytes:
        while not self._closed:
            try:
                data = self._tls.read(RECEIVE_BYTES)
            except ssl.SSLWantReadError:
                self._answer()
                await self._fill()
                continue
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise translate(error, self._inner.peer) from error
            return data + self._rest(RECEIVE_BYTES - len(data))
        return b""

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()  # leaves our close_notify in the BIO; the peer's is not waited for
        self._background(self._part)

    async def wait_closed(self) -> None:
        if self._working is not None:
            await self._working
        await self._inner.wait_closed()

    async def _part(self) -> None:
        with contextlib.suppress(TransportError, asyncio.TimeoutError):
            await asyncio.wait_for(self._flush(), CLOSE_S)
        self._inner.close()

    def _rest(self, space: int) -> bytes:
        """Returns what was decrypted behind the first record, so that a frame does not come in 16 KiB pieces."""
        pieces = []
        with contextlib.suppress(ssl.SSLError):  # want read, or an end that the next call will meet again
            while space > 0 and (piece := self._tls.read(space)):
                pieces.append(piece)
                space -= len(piece)
        return b"".join(pieces)

    def _answer(self) -> None:
        """Sends what reading has made TLS say (a key update). Not awaited: readers that wait can lock up both ends."""
        if self._outgoing.pending and not self._sending.locked():
            self._background(self._flush)

    def _background(self, work: Callable[[], Awaitable[None]]) -> None:
        async def quietly() -> None:
            with contextlib.suppress(TransportError):  # the next send or receive meets the same error
                await work()

        self._working = asyncio.ensure_future(quietly())

    async def _flush(self) -> None:
        async with self._sending:
            while self._outgoing.pending:
                await self._inner.send(self._outgoing.read())

    async def _fill(self) -> None:
        data = await self._inner.receive()
        if not data and not self._closed:
            raise StreamBroken(f"{self._inner.peer} ended the link without the goodbye of TLS")
        self._incoming.write(data)


async def secure(inner: Stream, identity: Identity, *, is_server: bool, only: str | None = None) -> TlsStream:
    """Returns TLS over `inner` with a peer that `identity` trusts (`only` this fingerprint, if one is given).

    Closes `inner` and raises WrongCertificate, ExpiredCertificate or another TransportError if that cannot be had
    within HANDSHAKE_S.
    """
    peers = {key: peer for key, peer in identity.trusted().items() if only in (None, key)}
    try:
        if not peers:
            raise WrongCertificate(f"{identity.folder} trusts nobody: no peer can be accepted")
        stream = TlsStream(
            inner, context(identity, "".join(peer.pem for peer in peers.values()), is_server), is_server=is_server
        )
        names = {key: peer.name for key, peer in peers.items()}
        await asyncio.wait_for(stream.handshake(names), HANDSHAKE_S)
        if replaced := met(identity, stream.peer):
            log.info("%s has a new certificate; %s is trusted no more", stream.peer_name, replaced[:16])
    except asyncio.TimeoutError as error:
        inner.close()
        raise Unreachable(f"{inner.peer} did not complete the TLS handshake within {HANDSHAKE_S:g} s") from error
    except BaseException:
        inner.close()
        raise
    return stream


def context(identity: Identity, trusted_pem: str, is_server: bool) -> ssl.SSLContext:
    """Returns the settings of one side: TLS 1.3 only, mutual, trust in exactly the certificates of `trusted_pem`."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False  # the fingerprint names the peer; a car has no name, a desktop's address may change
    made.verify_mode = ssl.CERT_REQUIRED
    # The peer's own certificate is the anchor. Without this OpenSSL looks for its issuer by name, finds any of the
    # self-signed ones that are called alike ("car"), and refuses all cars but one.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    made.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    if is_server:
        made.num_tickets = 0
    made.set_alpn_protocols([PROTOCOL])
    made.load_cert_chain(identity.certificate_path, identity.key_path)
    made.load_verify_locations(cadata=trusted_pem)
    return made


async def dial_tls(host: str, port: int, identity: Identity, timeout_s: float, only: str | None = None) -> TlsStream:
    """Connects to the desktop at `host`:`port`. Raises Unreachable, WrongCertificate, ExpiredCertificate."""
    return await secure(await dial_tcp(host, port, timeout_s), identity, is_server=False, only=only)


async def listen_tls(host: str, port: int, identity: Identity, handler: Handler) -> SocketServer:
    """Listens; `handler` sees only peers that have proved who they are. Others are told why and hung up on."""
    identity.trusted()  # a folder that lies is found now, not at the first connection
    strangers: list[Stream] = []  # the oldest first

    async def greet(inner: Stream) -> None:
        if len(strangers) >= MAX_STRANGERS:
            strangers[0].close()  # whoever is slow makes room: strangers that say nothing keep no honest peer out
        strangers.append(inner)
        try:
            stream = await secure(inner, identity, is_server=True)
        except TransportError as error:
            log.warning("refused %s: %s", inner.peer, error.message)
            return
        finally:
            strangers.remove(inner)
        log.info("%s is %s (%s)", inner.peer, stream.peer_name, stream.peer[:16])
        try:
            await handler(stream)
        finally:
            stream.close()
            await stream.wait_closed()

    return await listen_tcp(host, port, "tls", greet)


def translate(error: ssl.SSLError, peer: str) -> TransportError:
    """Returns the error that speaks to who must act, from what OpenSSL reported of our check or of the peer's alert."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
            return ExpiredCertificate(f"the certificate of {peer} is not valid now: {error.verify_message}")
        return WrongCertificate(f"the certificate of {peer} is not trusted here: {error.verify_message}")
    reason = (error.reason or str(error)).upper()
    if "CERTIFICATE_EXPIRED" in reason:
        return ExpiredCertificate(f"{peer} says that our certificate is not valid now")
    if "UNKNOWN_CA" in reason or "CERTIFICATE_REQUIRED" in reason or "BAD_CERTIFICATE" in reason or "UNKNOWN" in reason:
        return WrongCertificate(f"{peer} does not trust our certificate")
    if isinstance(error, ssl.SSLEOFError):
        return StreamBroken(f"{peer} ended the link without the goodbye of TLS")
    return TransportError(
        f"no TLS 1.3 session with {peer}: {reason.lower().replace('_', ' ')}", next_step="check address and version"
    )
