"""What can go wrong between a car and a desktop before and below the session.

RuntimeFault
└── TransportError
    ├── BadAddress              a URL that no transport takes
    ├── AddressTaken            a listener cannot have the address
    ├── Unreachable             nobody answers there, or not in time
    ├── StreamBroken            the link was cut while it was used
    ├── WrongCertificate        the peer is not who was pinned, or does not know us
    ├── ExpiredCertificate      a certificate is past its end, or a clock is wrong
    └── IdentityError           a folder of keys that cannot be used
        └── NoIdentity          there is none yet
"""

from __future__ import annotations

from typing import ClassVar

from runtime.errors import RuntimeFault


class TransportError(RuntimeFault):
    """The way between car and desktop cannot be used."""


class BadAddress(TransportError):
    """The URL of a desktop has an unknown scheme or lacks a part."""

    next_step: ClassVar[str] = "write unix:/path/to/socket, tls://host:port or relay://host:port/TOKEN"


class AddressTaken(TransportError):
    """The address to listen on is in use by another process, or may not be used by this one."""

    next_step: ClassVar[str] = "stop the other process, or choose another address"


class Unreachable(TransportError):
    """Nobody answers at the address: the desktop connector is not running there, or the network does not lead there."""

    next_step: ClassVar[str] = "start `idlehands desktop` there, and check address, port and firewall"


class StreamBroken(TransportError):
    """The link was cut while it was used. The session ends; the desktop releases every key by itself."""

    next_step: ClassVar[str] = "connect again; the desktop's hello tells what became of the last action"


class WrongCertificate(TransportError):
    """The peer showed a certificate that is not among those this side trusts, or the peer does not trust ours."""

    next_step: ClassVar[str] = (
        "trust each other's certificate on both sides: `idlehands desktop trust`, or copy it into trusted/"
    )


class ExpiredCertificate(TransportError):
    """A certificate is not valid at this time: it ran out, or the clock of one side is wrong."""

    next_step: ClassVar[str] = "check both clocks; else create a new identity on that side and trust it on the other"


class IdentityError(TransportError):
    """The folder that holds this side's key and the certificates it trusts cannot be used."""

    next_step: ClassVar[str] = "make folder (0700) and key (0600) belong to this user alone, or create them anew"


class NoIdentity(IdentityError):
    """This side has no key and certificate yet."""

    next_step: ClassVar[str] = "start the daemon or `idlehands desktop` once: each makes its own"
