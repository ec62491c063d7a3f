"""The KUKSA source: subscribes to a KUKSA databroker over gRPC `kuksa.val.v2`; it only ever lists and subscribes.

    kuksa:127.0.0.1:55555                                   plain text: only to this machine, or unix:/run/kuksa.sock
    kuksa:broker.car:55555?ca=FILE&token=FILE               TLS, and the broker's JWT

The broker cannot tell a stale value from a fresh one (its design says so): our age limits do, by the time that the
provider put on the value. A provider that speaks only when a value changes must be told to repeat it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
from kuksa.val.v2 import val_pb2, val_pb2_grpc

from firmware_bridge.clock import Clock
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Reading, Value
from firmware_bridge.signals import CONSENT, SIGNALS
from firmware_bridge.sources.table import SourceUrl

_LOCAL = ("127.0.0.1:", "localhost:", "[::1]:", "unix:")
# VSS' words for units -> ours; one that is not here makes the reading invalid, never a number of another scale.
_UNITS = {"": "", "percent": "%", "celsius": "°C", "km/h": "km/h", "V": "V", "W": "W", "Wh": "Wh", "min": "min"}
_SCALARS = {"string", "bool", "int32", "int64", "uint32", "uint64", "float", "double"}


def open_kuksa(url: SourceUrl) -> KuksaSource:
    """Returns the source of `kuksa:HOST:PORT?ca=FILE&token=FILE`."""
    url.check_options("ca", "token")
    if not url.path or (":" not in url.path):
        raise SourceError(f"source {url.text}: expected kuksa:HOST:PORT")
    if "ca" not in url.options and not url.path.startswith(_LOCAL):
        raise SourceError(
            f"source {url.text} would be read in plain text from another machine", next_step="give its CA: ?ca=FILE"
        )
    files = {name: _read(url, name) for name in ("ca", "token") if name in url.options}
    return KuksaSource(url.text, url.path, files.get("ca"), files.get("token"))


class KuksaSource:
    """One subscription to every signal of our table that the broker has."""

    def __init__(
        self,
        url: str,
        address: str,
        ca: bytes | None = None,
        token: bytes | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.url = url
        self._address = address
        self._ca = ca
        self._metadata = (("authorization", f"Bearer {token.decode('ascii').strip()}"),) if token else ()
        self._wall_ns = wall_ns

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        """Yields what the broker publishes. Raises SourceError: not reached, refused, or the stream ended."""
        async with self._channel() as channel:
            stub = val_pb2_grpc.VALStub(channel)
            try:
                units = await self._units(stub)
                request = val_pb2.SubscribeRequest(signal_paths=sorted(units))
                async for response in stub.Subscribe(request, metadata=self._metadata):
                    for name, datapoint in response.entries.items():
                        if name in units:
                            yield Reading(name, _value(name, datapoint), units[name], self._time_ns(datapoint, clock))
            except grpc.aio.AioRpcError as error:
                code, details = error.code(), error.details()
                raise SourceError(f"source {self.url} broke: {code.name.lower()}: {details}") from error
        raise SourceError(f"source {self.url} broke: the broker ended the subscription")

    async def _units(self, stub: Any) -> dict[str, str]:
        listed = await stub.ListMetadata(val_pb2.ListMetadataRequest(root="Vehicle"), metadata=self._metadata)
        units: dict[str, str] = {}
        for each in listed.metadata:
            if each.path in SIGNALS and not SIGNALS[each.path].is_derived and each.path != CONSENT:
                units[each.path] = _UNITS.get(each.unit, each.unit)
        if not units:
            raise SourceError(f"source {self.url}: the broker has no signal that the gate knows")
        return units

    def _channel(self) -> Any:
        if self._ca is None:
            return grpc.aio.insecure_channel(self._address)
        return grpc.aio.secure_channel(self._address, grpc.ssl_channel_credentials(self._ca))

    def _time_ns(self, datapoint: Any, clock: Clock) -> int:
        """Returns the provider's time on `clock`; without one the value is as old as can be."""
        if not datapoint.HasField("timestamp"):
            return 0
        stamp_ns = datapoint.timestamp.seconds * 1_000_000_000 + datapoint.timestamp.nanos
        return clock.now_ns() - (self._wall_ns() - int(stamp_ns))


def _value(name: str, datapoint: Any) -> Value:
    if not datapoint.HasField("value"):
        return None
    kind = datapoint.value.WhichOneof("typed_value")
    if kind not in _SCALARS:
        return None
    value: bool | float | str = getattr(datapoint.value, kind)
    return float(value) if SIGNALS[name].kind is float and not isinstance(value, bool | str) else value


def _read(url: SourceUrl, option: str) -> bytes:
    try:
        return Path(url.options[option]).read_bytes()
    except OSError as error:
        raise SourceError(f"source {url.text}: {option} cannot be read: {error.strerror}") from error
