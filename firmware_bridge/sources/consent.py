"""The consent source: verifies the owner's signed consent, again whenever the file changes, and says so every second.

    consent:/var/lib/idlehands-bridge/consent.json?key=/etc/idlehands/owner.pem&seen=FILE&vehicle=VIN

A consent that is absent, expired or revoked is *not given*; one that is damaged, forged or put back from before is
invalid. Both close; `idlehands why` tells them apart.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firmware_bridge import files, signals
from firmware_bridge.clock import Clock
from firmware_bridge.consent import Consent, ConsentError, load_key, verify
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Quality, Reading
from firmware_bridge.sources.table import SourceUrl

_EVERY_NS = 250_000_000


def open_consent(url: SourceUrl) -> ConsentSource:
    """Returns the source of `consent:FILE?key=FILE&seen=FILE&vehicle=VIN`."""
    url.check_options("key", "seen", "vehicle")
    for option in ("key", "seen"):
        if option not in url.options:
            raise SourceError(f"source {url.text} needs {option}=FILE")
    key = load_key(Path(url.options["key"]))
    return ConsentSource(url.text, Path(url.path), key, Path(url.options["seen"]), url.options.get("vehicle", ""))


class ConsentSource:
    """Polls the file by its stat: reading and verifying happen only when it changed."""

    def __init__(
        self,
        url: str,
        path: Path,
        key: Ed25519PublicKey,
        seen: Path,
        vehicle: str,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self.problem = ""
        self._path = path
        self._key = key
        self._seen_path = seen
        self._vehicle = vehicle
        self._wall_s = wall_s
        self._seen_version = _read_seen(seen)
        self._stat: tuple[int, ...] | None = None
        self._consent: Consent | None = None

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        while True:
            now_ns = clock.now_ns()
            yield self._look(now_ns)
            await clock.sleep_until(now_ns + _EVERY_NS)

    def _look(self, now_ns: int) -> Reading:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self._stat, self._consent, self.problem = None, None, ""
            return Reading(signals.CONSENT, False, "", now_ns)
        except OSError as error:
            self.problem = f"{self._path} cannot be read: {error.strerror}"
            return Reading(signals.CONSENT, None, "", now_ns)
        stat = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        if stat != self._stat:
            self._stat, self._consent = stat, None
            try:
                self._consent = self._verified(self._path.read_bytes())
                self.problem = ""
            except (ConsentError, OSError) as error:
                self.problem = str(error)
        if self._consent is None:
            return Reading(signals.CONSENT, None, "", now_ns, Quality.INVALID)
        return Reading(signals.CONSENT, self._consent.is_in_force(self._wall_s()), "", now_ns)

    def _verified(self, data: bytes) -> Consent:
        consent = verify(data, self._key, self._vehicle)
        if consent.version < self._seen_version:
            raise ConsentError(
                f"the consent has version {consent.version}, version {self._seen_version} was seen before"
            )
        if consent.version > self._seen_version:
            files.replace(self._seen_path, json.dumps({"version": consent.version}).encode(), is_durable=True)
            self._seen_version = consent.version
        return consent


def _read_seen(path: Path) -> int:
    try:
        version = json.loads(path.read_bytes())["version"]
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{path} is damaged: {error!r}", next_step="remove it, and let the owner sign anew"
        ) from error
    if type(version) is not int or version < 0:
        raise SourceError(f"{path} has the impossible version {version!r}")
    return version
