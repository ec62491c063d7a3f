"""A bundle in one file (.ihb): a plain ustar archive whose members are, in this order and nothing else,

    manifest.json   manifest.sig (when signed)   the manifest's files, in its order

`tar tf` lists it; reading it here is strict and never unpacks by name. The manifest comes first and is checked before
the next byte is looked at, and from then on it alone says what follows: so there is no path to escape by, no link, no
duplicate, no bomb, and no header whose size is believed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from runtime.store.errors import BundleError
from runtime.store.files import COPY_BYTES

BLOCK = 512
_SPACE = b" " * 8


def header(name: str, size: int) -> bytes:
    """Returns the ustar header of a plain file: mode 0644, owner 0, time 0, so that equal bundles are equal files."""
    fields = (
        name.encode("ascii").ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + _size(size)
        + b"00000000000\0"
        + _SPACE
        + b"0"
        + b"\0" * 100
        + b"ustar\x0000"
        + b"\0" * 247
    )
    block = fields.ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _size(size: int) -> bytes:
    """Eleven octal digits hold 8 GiB; above that, the base-256 form that GNU and bsdtar read as well."""
    return b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")


def padding(size: int) -> int:
    """Returns the zero bytes that follow a member of `size` bytes."""
    return -size % BLOCK


def write_member(out: BinaryIO, name: str, size: int, parts: Iterator[bytes]) -> None:
    """Appends one member. Raises BundleError if `parts` has not `size` bytes: the file changed while it was read."""
    out.write(header(name, size))
    written = 0
    for part in parts:
        out.write(part)
        written += len(part)
    if written != size:
        raise BundleError(
            f"{name} has {written} bytes, a moment ago it had {size}; it must not change while it is packed"
        )
    out.write(b"\0" * padding(size))


def write_end(out: BinaryIO) -> None:
    """Ends the archive."""
    out.write(b"\0" * (2 * BLOCK))


class MemberReader:
    """Reads members one after another. Every method raises BundleError for what `write_member` does not make."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._stream, self._where = stream, where

    def expect(self, name: str, size: int) -> None:
        """Reads the header of the very member `name`, of the very `size`."""
        block = self._read(BLOCK)
        if block != header(name, size):
            raise BundleError(f"{self._where}: after what was read, expected the member {name} of {size} bytes")

    def expect_small(self, name: str, cap: int) -> bytes:
        """Reads the member `name`, of at most `cap` bytes, whole."""
        block = self._read(BLOCK)
        digits = block[124:135]
        size = int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else -1
        if not 0 <= size <= cap or block != header(name, size):
            raise BundleError(f"{self._where} is no bundle: expected the member {name} of at most {cap} bytes")
        data = self._read(size)
        self.skip_padding(size)
        return data

    def parts(self, size: int) -> Iterator[bytes]:
        """Yields the bytes of the member whose header was read."""
        left = size
        while left:
            part = self._read(min(left, COPY_BYTES))
            left -= len(part)
            yield part
        self.skip_padding(size)

    def skip_padding(self, size: int) -> None:
        if any(self._read(padding(size))):
            raise BundleError(f"{self._where}: there are bytes between two members")

    def expect_end(self) -> None:
        """Reads the end: two blocks of zeros (and the further ones that tar adds), nothing after it."""
        if any(self._read(2 * BLOCK)):
            raise BundleError(f"{self._where}: there are more members than its manifest names")
        rest = self._stream.read(64 * BLOCK)
        if any(rest) or self._stream.read(1):
            raise BundleError(f"{self._where}: there are bytes after its end")

    def at_start(self) -> None:
        """Goes back to the first member."""
        self._stream.seek(0, os.SEEK_SET)

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise BundleError(f"{self._where} is cut off")
        return data
