"""The form of encrypted files: what was sealed opens, and nothing else does, wherever it was touched."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.store.device_key import DeviceKey
from runtime.store.envelope import CHUNK_BYTES, MAGIC, TAG_BYTES, seal, unseal
from runtime.store.errors import BundleError

HERE, THERE, STRANGER = (DeviceKey(X25519PrivateKey.generate()) for _ in range(3))
PLAIN = random.Random(1).randbytes(3 * CHUNK_BYTES + 5000)
WHOLE = CHUNK_BYTES + TAG_BYTES


def sealed(plain: bytes = PLAIN, path: str = "m.onnx") -> bytes:
    return b"".join(seal([plain[:1000], plain[1000:]], path, [HERE.public, THERE.public]))


def opened(data: bytes, key: DeviceKey = HERE, path: str = "m.onnx") -> bytes:
    found = unseal(io.BytesIO(data), path, key, "m.onnx")
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    return found.plain


SEALED = sealed()
LEAD = len(SEALED) - len(PLAIN) - 4 * TAG_BYTES


def chunk(number: int) -> bytes:
    return SEALED[LEAD + number * WHOLE : LEAD + (number + 1) * WHOLE]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, len(PLAIN)])
def test_every_device_that_was_named_opens_it(size: int) -> None:
    data = sealed(PLAIN[:size])
    assert opened(data) == opened(data, THERE) == PLAIN[:size]
    assert size < 64 or PLAIN[:64] not in data


def test_the_same_file_is_never_encrypted_alike() -> None:
    assert chunk(0) != sealed()[LEAD : LEAD + WHOLE]


DAMAGES: dict[str, Callable[[], bytes]] = {
    "cut at a chunk's end": lambda: SEALED[: LEAD + 3 * WHOLE],
    "cut to its first chunk": lambda: SEALED[: LEAD + WHOLE],
    "cut within a chunk": lambda: SEALED[:-100],
    "cut to its last byte but one": lambda: SEALED[:-1],
    "cut to its header": lambda: SEALED[:LEAD],
    "two chunks swapped": lambda: SEALED[:LEAD] + chunk(1) + chunk(0) + chunk(2) + chunk(3),
    "a chunk left out": lambda: SEALED[:LEAD] + chunk(0) + chunk(2) + chunk(3),
    "a chunk twice": lambda: SEALED[:LEAD] + chunk(0) + chunk(0) + chunk(1) + chunk(2) + chunk(3),
    "the last first": lambda: SEALED[:LEAD] + chunk(3),
    "something behind it": lambda: SEALED + b"0",
    "the last chunk twice": lambda: SEALED + chunk(3),
    "chunks of another file": lambda: SEALED[:LEAD] + sealed()[LEAD:],
    "one chunk of another file": lambda: SEALED[: LEAD + WHOLE] + sealed()[LEAD + WHOLE :],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_cut_swapped_or_added_is_refused(damage: str) -> None:
    with pytest.raises(BundleError, match=r"m\.onnx: chunk \d of its encryption does not open"):
        opened(DAMAGES[damage]())


@pytest.mark.parametrize("at", [LEAD + number * WHOLE + inside for number in range(4) for inside in (0, 77, 4990)])
def test_a_flipped_bit_is_refused_and_its_chunk_named(at: int) -> None:
    data = bytearray(SEALED)
    data[at] ^= 1
    with pytest.raises(BundleError, match=f"chunk {(at - LEAD) // WHOLE} of its encryption"):
        opened(bytes(data))


SMALL = sealed(b"weights" * 9)


@settings(deadline=None)
@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(at: int, change: int) -> None:
    data = bytearray(SMALL)
    data[at] ^= change
    with pytest.raises(BundleError, match=r"m\.onnx"):
        opened(bytes(data))


@settings(deadline=None)
@given(st.integers(0, len(SMALL) - 1))
def test_no_byte_can_be_missing(size: int) -> None:
    with pytest.raises(BundleError, match=r"m\.onnx"):
        opened(SMALL[:size])


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    for hostile in (data, MAGIC + data, MAGIC + len(data).to_bytes(4, "little") + data):
        with pytest.raises(BundleError, match=r"m\.onnx"):
            opened(hostile)


def test_it_is_of_one_path_and_of_its_devices_alone() -> None:
    with pytest.raises(BundleError, match="no key that this device"):
        opened(SEALED, STRANGER)
    with pytest.raises(BundleError, match="no key that this device"):
        opened(SEALED, path="n.onnx")
