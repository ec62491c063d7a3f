"""From a URL to a link: one table of schemes, read by both sides.

    unix:/path/to/socket        on this machine; the file's mode says who may connect
    tls://host:port             mutual TLS 1.3 with pinned certificates; [::1] for IPv6
    relay://host:port/TOKEN     the same TLS, end to end through a relay where both sides can only dial out

A new kind of link is a row in SCHEMES; tests/transport/links.py runs the contract over every row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from runtime.transport.errors import BadAddress, NoIdentity
from runtime.transport.identity import Identity
from runtime.transport.rendezvous import dial_relay, listen_relay, parse_relay
from runtime.transport.stream import Handler, Server, Stream
from runtime.transport.tls import dial_tls, listen_tls
from runtime.transport.unix import dial_unix, listen_unix

DIAL_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Scheme:
    """How one kind of URL is dialled and listened on."""

    dial: Callable[[str, Identity | None, float], Awaitable[Stream]]
    listen: Callable[[str, Identity | None, Handler], Awaitable[Server]]
    shape: str


async def _dial_unix(url: str, identity: Identity | None, timeout_s: float) -> Stream:
    return await dial_unix(url.removeprefix("unix:"), timeout_s)


async def _listen_unix(url: str, identity: Identity | None, handler: Handler) -> Server:
    return await listen_unix(url.removeprefix("unix:"), handler)


async def _dial_tls(url: str, identity: Identity | None, timeout_s: float) -> Stream:
    return await dial_tls(*host_port(url), _needed(identity, url), timeout_s)


async def _listen_tls(url: str, identity: Identity | None, handler: Handler) -> Server:
    return await listen_tls(*host_port(url), _needed(identity, url), handler)


async def _dial_relay(url: str, identity: Identity | None, timeout_s: float) -> Stream:
    return await dial_relay(parse_relay(url), _needed(identity, url), timeout_s)


async def _listen_relay(url: str, identity: Identity | None, handler: Handler) -> Server:
    return await listen_relay(parse_relay(url), _needed(identity, url), handler)


SCHEMES: dict[str, Scheme] = {
    "unix": Scheme(_dial_unix, _listen_unix, "unix:/path/to/socket"),
    "tls": Scheme(_dial_tls, _listen_tls, "tls://host:port"),
    "relay": Scheme(_dial_relay, _listen_relay, "relay://host:port/TOKEN"),
}


async def dial(url: str, identity: Identity | None = None, *, timeout_s: float = DIAL_TIMEOUT_S) -> Stream:
    """Returns a link to the desktop at `url`. Raises a TransportError that says what to do.

    Over TLS the link is as yet one-sided: a desktop that refuses our certificate says so in the first `receive`.
    A session counts as begun when its hello is answered, not before.
    """
    return await _scheme(url).dial(url, identity, timeout_s)


async def listen(url: str, identity: Identity | None, handler: Handler) -> Server:
    """Listens at `url` and runs `handler(stream)` for each authenticated peer; closes the stream when it returns."""
    return await _scheme(url).listen(url, identity, handler)


def check_url(url: str) -> None:
    """Raises BadAddress if `url` could not be dialled; touches no network."""
    scheme = _scheme(url)
    if scheme is SCHEMES["tls"]:
        host_port(url)
    elif scheme is SCHEMES["relay"]:
        parse_relay(url)


def shown(url: str) -> str:
    """Returns `url` for logs and people: without a relay's token, which is a secret of the two sides."""
    return url.rpartition("/")[0] + "/…" if url.startswith("relay://") and url.count("/") > 2 else url


def host_port(url: str) -> tuple[str, int]:
    """Returns host and port of scheme://host:port. Raises BadAddress."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadAddress(f"{url!r}: {error}") from error
    if not host or port is None or parts.path or parts.query or parts.username:
        raise BadAddress(f"{url!r} is not of the form {parts.scheme}://host:port")
    return host, port


def _scheme(url: str) -> Scheme:
    name = url.partition(":")[0]
    if name not in SCHEMES or ":" not in url:
        shapes = " or ".join(scheme.shape for scheme in SCHEMES.values())
        raise BadAddress(f"{url!r} is no address of a desktop: expected {shapes}")
    return SCHEMES[name]


def _needed(identity: Identity | None, url: str) -> Identity:
    if identity is None:
        raise NoIdentity(f"{url} needs a key and a certificate, and this side has none")
    return identity
