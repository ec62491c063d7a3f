"""The owner's consent: signed, versioned, revocable at once, and never put back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import signals as s
from firmware_bridge.clock import VirtualClock
from firmware_bridge.consent import Consent, ConsentError, sign, verify
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Quality
from firmware_bridge.sources.consent import ConsentSource
from firmware_bridge.sources.flags import FlagsSource
from firmware_bridge.sources.table import open_source
from firmware_bridge.sources.wall_clock import WallClock
from tests.firmware_bridge.parked import START

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
GIVEN = Consent(3, "VIN1", True, "ab" * 32, 1_000, 2_000)


def test_what_is_signed_is_verified() -> None:
    assert verify(sign(GIVEN, KEY), KEY.public_key(), "VIN1") == GIVEN


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_changes_what_was_consented_to(at: int, change: int) -> None:
    data = bytearray(sign(GIVEN, KEY))
    data[at % len(data)] ^= change
    try:
        assert verify(bytes(data), KEY.public_key()) == GIVEN  # white space between the parts
    except ConsentError:
        return


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged"),
        (b"[]", "damaged"),
        (b'{"document": {}, "signature": ""}', "must have exactly"),
        (b"x" * 20_000, "at most 16384 bytes"),
        (sign(GIVEN, OTHER), "not signed with the owner's key"),
        (sign(dataclasses.replace(GIVEN, vehicle="VIN2"), KEY), "for the vehicle 'VIN2'"),
        (sign(dataclasses.replace(GIVEN, version=True), KEY), "version must be int, got True"),
    ],
)
def test_wrong_consents(data: bytes, words: str) -> None:
    with pytest.raises(ConsentError, match=words):
        verify(data, KEY.public_key(), "VIN1")


@pytest.mark.parametrize(
    ("wall_s", "is_given", "expected"),
    [
        (999.9, True, False),
        (1000.0, True, True),
        (1999.9, True, True),
        (2000.0, True, False),
        (1500.0, False, False),
    ],
)
def test_in_force(wall_s: float, is_given: bool, expected: bool) -> None:
    assert dataclasses.replace(GIVEN, is_given=is_given).is_in_force(wall_s) is expected


class Owner:
    """The car's side of consent on a disk, and the owner who signs."""

    def __init__(self, folder: Path) -> None:
        self.path, self.seen = folder / "consent.json", folder / "seen.json"

    def source(self) -> ConsentSource:
        return ConsentSource("consent:", self.path, KEY.public_key(), self.seen, "VIN1", wall_s=lambda: 1500.0)

    def signs(self, version: int, is_given: bool = True, key: Ed25519PrivateKey = KEY) -> None:
        new = self.path.with_suffix(".new")
        new.write_bytes(sign(dataclasses.replace(GIVEN, version=version, is_given=is_given), key))
        os.replace(new, self.path)


def test_given_revoked_and_put_back(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    source = owner.source()

    def now() -> object:
        reading = source._look(START)
        return reading.value if reading.quality is Quality.GOOD else reading.quality

    assert now() is False  # no file
    owner.signs(3)
    assert now() is True
    assert source._look(START).unit == s.SIGNALS[s.CONSENT].unit
    owner.path.unlink()
    assert now() is False
    owner.signs(4, is_given=False)
    assert now() is False
    owner.signs(3)
    assert now() is Quality.INVALID
    assert "version 3, version 4 was seen before" in source.problem
    assert owner.source()._look(START).quality is Quality.INVALID  # also after a restart
    owner.signs(5, key=OTHER)
    assert now() is Quality.INVALID
    owner.signs(5)
    assert now() is True
    assert source.problem == ""


def test_a_version_that_cannot_be_stored_is_not_in_force(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.seen = tmp_path / "none" / "seen.json"
    source = ConsentSource("consent:", owner.path, KEY.public_key(), owner.seen, "", wall_s=lambda: 1500.0)
    owner.signs(3)
    assert source._look(START).quality is Quality.INVALID


def test_by_url(tmp_path: Path) -> None:
    pem = tmp_path / "owner.pem"
    pem.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    Owner(tmp_path).signs(3)
    url = f"consent:{tmp_path}/consent.json?key={pem}&seen={tmp_path}/seen.json"

    async def first() -> object:
        async for reading in open_source(url).readings(VirtualClock(START)):
            return reading.quality, reading.value
        return None

    assert asyncio.run(first()) == (Quality.GOOD, False)  # verified, and expired since long
    assert json.loads((tmp_path / "seen.json").read_text()) == {"version": 3}
    for wrong, words in [
        (f"consent:{tmp_path}/c?key={pem}", "needs seen=FILE"),
        (f"consent:{tmp_path}/c?seen=x", "needs key=FILE"),
        (f"consent:{tmp_path}/c?seen=x&key=/none", "cannot be read"),
    ]:
        with pytest.raises((SourceError, ConsentError), match=words):
            open_source(wrong)
    (tmp_path / "seen.json").write_text("{}")
    with pytest.raises(SourceError, match="is damaged"):
        open_source(url)


def test_flags(tmp_path: Path) -> None:
    source = FlagsSource("flags:", tmp_path)
    (tmp_path / s.METERED).write_text("false\n")
    (tmp_path / s.PAUSE).write_text("yes\n")
    (tmp_path / s.OTA).symlink_to(tmp_path / s.METERED)
    (tmp_path / s.CONSENT).write_text("true\n")

    def look(name: str) -> tuple[object, Quality]:
        reading = source._look(name, START)
        return reading.value, reading.quality

    assert look(s.METERED) == (False, Quality.GOOD)
    assert look(s.PAUSE) == (None, Quality.INVALID)
    assert look(s.OTA) == (None, Quality.INVALID)
    assert look(s.CRASH) == (None, Quality.GOOD)  # None is unknown, whatever the quality

    async def names() -> set[str]:
        found: set[str] = set()
        async for reading in open_source(f"flags:{tmp_path}").readings(VirtualClock(START)):
            found.add(reading.name)
            if len(found) == 5:
                break
        return found

    assert s.CONSENT not in asyncio.run(names())
    with pytest.raises(SourceError, match="there is no folder"):
        open_source(f"flags:{tmp_path}/none")


@pytest.mark.parametrize(("wall_s", "is_known"), [(0.0, False), (1_700_000_000.0, False), (1_790_000_000.0, True)])
def test_wall_clock(wall_s: float, is_known: bool) -> None:
    async def first() -> dict[str, object]:
        found: dict[str, object] = {}
        async for reading in WallClock("clock:", wall_s=lambda: wall_s).readings(VirtualClock(START)):
            found[reading.name] = reading.value
            if len(found) == 2:
                break
        return found

    found = asyncio.run(first())
    assert (found[s.MINUTE_OF_DAY] is not None) is is_known
    assert (found[s.DAY] is not None) is is_known
    if is_known:
        assert s.SIGNALS[s.MINUTE_OF_DAY].accepts(found[s.MINUTE_OF_DAY])  # type: ignore[arg-type]
