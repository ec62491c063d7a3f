"""Packed weights and plans on disk, named by the content that they were made from.

    <key>.weights    SHA-256 of the head, its length (u32), head (MessagePack), zeros to a page, packed weights. The
                     head says what the model's inputs and outputs are and where each packed weight lies; weights are
                     only ever appended to, so that plans stay valid
    <key>.<n>.plan   SHA-256, then MessagePack: one plan for one set of input shapes, named by their hash, and the
                     generation of weights that it was made for

The weights are mapped, so that all who use a model share one copy, and a load reads nothing that is in memory already.
They are not hashed, which would cost more than all the rest of a load: they are numbers, never places.

key = SHA-256 over the SHA-256 of the model's bytes, the variant, and this engine's own code. Files are written whole
and then renamed, so that a reader sees all of one or nothing; a file that does not check out is as good as none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import mmap
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from kernels.graph import _graph
from kernels.graph.emit import TILE_SLACK
from kernels.graph.plan import Plan, Port
from kernels.graph.views import Dims

DIGEST_BYTES = 32
PAGE_BYTES = 4096


class Spec(msgspec.Struct, frozen=True, array_like=True):
    """An input or output as the model declares it; None: any size."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What a cached model is known by. `packed`: name of a packed weight -> (offset, bytes)."""

    generation: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    weights_bytes: int
    packed: dict[str, tuple[int, int]]


@functools.cache
def engine_id() -> bytes:
    """Returns a digest of the code that packs and plans: another build's files are not read."""
    digest = hashlib.sha256(repr((_graph.KINDS, _graph.PARAM_NAMES)).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    library = os.stat(_graph.__file__)
    digest.update(f"{library.st_size} {library.st_mtime_ns}".encode())
    return digest.digest()


def cache_key(sha256: str, variant: str) -> str:
    """Returns the name under which the model whose bytes have this SHA-256 (hexadecimal) is cached."""
    digest = hashlib.sha256(bytes.fromhex(sha256))
    digest.update(engine_id() + variant.encode())
    return digest.hexdigest()[:40]


class Cache:
    """The cached files of one model. `folder` None: nothing is kept."""

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder = folder
        self.key = key

    def _path(self, suffix: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.key}.{suffix}"

    def weights(self) -> tuple[Head, mmap.mmap] | None:
        """Returns the head and the packed weights, mapped and present, or None."""
        if self.folder is None:
            return None
        try:
            with self._path("weights").open("rb", buffering=0) as file:
                prefix = file.read(DIGEST_BYTES + 4)
                size = int.from_bytes(prefix[DIGEST_BYTES:], "little")
                if len(prefix) < DIGEST_BYTES + 4 or size > os.fstat(file.fileno()).st_size:
                    return None
                content = file.read(size)
                if hashlib.sha256(content).digest() != prefix[:DIGEST_BYTES]:
                    return None
                head = msgspec.msgpack.decode(content, type=Head)
                begin = _page_after(len(prefix) + size)
                if os.fstat(file.fileno()).st_size < begin + head.weights_bytes + TILE_SLACK:
                    return None
                memory = _mapped(file.fileno(), begin, head.weights_bytes + TILE_SLACK)
        except (msgspec.MsgspecError, OSError, ValueError):
            return None
        return head, memory

    def plan(self, shapes: Mapping[str, Dims], generation: str) -> Plan | None:
        """Returns the plan for these input shapes on that generation of weights, or None."""
        content = self._read(plan_name(shapes))
        if content is None:
            return None
        try:
            made_for, plan = msgspec.msgpack.decode(content, type=tuple[str, Plan])
        except msgspec.MsgspecError:
            return None
        return plan if made_for == generation else None

    def keep(self, head: Head, weights: bytes) -> None:
        """Stores the packed weights with their head."""
        if self.folder is not None:
            content = msgspec.msgpack.encode(head)
            lead = hashlib.sha256(content).digest() + len(content).to_bytes(4, "little") + content
            self._write("weights", lead.ljust(_page_after(len(lead)), b"\0") + weights + bytes(TILE_SLACK))

    def keep_plan(self, shapes: Mapping[str, Dims], plan: Plan, generation: str) -> None:
        if self.folder is not None:
            payload = msgspec.msgpack.encode((generation, plan))
            self._write(plan_name(shapes), hashlib.sha256(payload).digest() + payload)

    def _read(self, suffix: str) -> bytes | None:
        if self.folder is None:
            return None
        try:
            content = self._path(suffix).read_bytes()
        except OSError:
            return None
        payload = content[DIGEST_BYTES:]
        return payload if hashlib.sha256(payload).digest() == content[:DIGEST_BYTES] else None

    def _write(self, suffix: str, content: bytes) -> None:
        """Writes a whole file under a name of its own and renames it; a cache that cannot be written is no error."""
        assert self.folder is not None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=f".{self.key}", delete=False) as file:
                try:
                    file.write(content)
                    file.flush()
                    os.replace(file.name, self._path(suffix))
                except OSError:
                    os.unlink(file.name)
        except OSError:
            return


def plan_name(shapes: Mapping[str, Dims]) -> str:
    text = repr(sorted((name, tuple(dims)) for name, dims in shapes.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16] + ".plan"


def _page_after(offset: int) -> int:
    return -(-offset // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY


def _mapped(descriptor: int, offset: int, size: int) -> mmap.mmap:
    """Returns a part of a file, read-only, all of its pages present: a fault would cost more than the time between two
    looks at the gate. No weights: memory of nothing."""
    if not size:
        return huge_memory(0)
    return mmap.mmap(
        descriptor, size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0), prot=mmap.PROT_READ, offset=offset
    )


def huge_memory(size: int) -> mmap.mmap:
    """Returns zeroed private memory of at least `size` bytes, on huge pages where it is large and the system has them.

    Every page is touched here: a fault on a huge page costs more than the time between two looks at the gate.
    """
    memory = mmap.mmap(-1, max(size, 1) + PAGE_BYTES)
    if size >= 1 << 20 and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without transparent huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    pages = memoryview(memory)[::PAGE_BYTES]
    pages[:] = bytes(len(pages))
    return memory


__all__ = ["Cache", "Head", "Port", "Spec", "cache_key", "engine_id", "huge_memory", "plan_name"]
