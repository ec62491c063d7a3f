"""What the desktop's side must never forget: the highest owner_epoch of every job, and what became of its last action.

A file `journal` in the state folder, mapped; little-endian; a header and 1024 slots of 64 bytes:

    header  0 u32 magic "IHDJ"   4 u32 version   8 u64 journal id (random)   16 u64 uses (a counter)
            24 u64 boot id hash   32 u64 closed (1: nothing since is missing on the disk)
    slot    0 16 bytes, hash of the job's name   16 u64 owner_epoch   24 u64 word   32 u64 last use   40 u32 check
    word    bits 0-39 seq · 40-47 outcome · 48-55 refusal · 56 in progress

The word is one aligned store, so that a `kill -9` finds an action either in progress or settled, never between. Stores
into the mapping outlive the process without any fsync; only where an owner_epoch advances the page is written to the
disk, because a fence must also outlive the machine. After a power failure the words on the disk may be old: then every
job's seq is moved ahead by `LOST_SEQS` with the outcome unknown, so that no seq that may have been used is used again.
The 1024 jobs used last are remembered.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from runtime.desktop.errors import StateFolderError
from runtime.desktop.protocol import Mark, Phase, Step
from runtime.wire.tables import Outcome, Refusal

JOURNAL_FILE, LOCK_FILE = "journal", "lock"
SLOTS = 1024
SEQ_MAX = (1 << 40) - 1
LOST_SEQS = 1 << 20
_MAGIC, _VERSION = 0x4A444849, 1
_HEAD = struct.Struct("<IIQQQQ")
_SLOT_BYTES, _SLOTS_AT = 64, 64
_SIZE = _SLOTS_AT + SLOTS * _SLOT_BYTES
_JOB = struct.Struct("<16sQQQI")
_U64 = struct.Struct("<Q")
_USES_AT, _BOOT_AT, _CLOSED_AT = 16, 24, 32  # in the header
_WORD_AT, _USE_AT = 24, 32  # in a slot
_IN_PROGRESS = 1 << 56
_OUTCOMES = {int(outcome): outcome for outcome in Outcome}
_REFUSALS = {int(refusal): refusal for refusal in Refusal}


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of one job. `is_in_progress`: its last action was begun and not settled."""

    owner_epoch: int = 0
    last_seq: int = 0
    last_outcome: Outcome = Outcome.none
    last_refusal: Refusal = Refusal.none
    is_in_progress: bool = False


class Journal:
    """The journal in `folder`, held by this process alone until `close`.

    Raises StateFolderError if the folder cannot be written, is held by another connector, or holds a damaged journal.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._lock = _hold(self.folder)
        try:
            self._map, is_new = _map(self.folder / JOURNAL_FILE)
            boot = _boot_hash()
            if is_new:
                _HEAD.pack_into(self._map, 0, _MAGIC, _VERSION, _random_id(), 0, boot, 1)
            magic, version, self.journal_id, self._uses, last_boot, was_closed = _HEAD.unpack_from(self._map, 0)
            if (magic, version) != (_MAGIC, _VERSION):
                raise StateFolderError(
                    f"{self.folder / JOURNAL_FILE} begins with {magic:#010x} and version {version}, "
                    f"expected {_MAGIC:#010x} and {_VERSION}"
                )
            self._slots = self._read_slots()
            if last_boot != boot and not was_closed:
                self._move_ahead()
            _U64.pack_into(self._map, _BOOT_AT, boot)
            _U64.pack_into(self._map, _CLOSED_AT, 0)
            self._map.flush()
        except BaseException:
            os.close(self._lock)
            raise

    def record(self, job: str) -> JobRecord:
        """Returns what is known of `job` (zeros for one that was never here)."""
        slot = self._slots.get(job_hash(job))
        if slot is None:
            return JobRecord()
        _, epoch, word, _, _ = _JOB.unpack_from(self._map, slot)
        return _decode(epoch, word)

    def advance(self, job: str, owner_epoch: int) -> None:
        """Makes `owner_epoch` the one that may act for `job`; on disk when this returns, if it is higher than before.

        Raises ValueError if it is lower: the caller has to refuse that owner.
        """
        known = self.record(job).owner_epoch
        if owner_epoch < known:
            raise ValueError(f"owner_epoch {owner_epoch} of job {job!r} is older than {known}")
        name = job_hash(job)
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = self._free_slot()
            self._write_slot(slot, name, owner_epoch, 0)
        elif owner_epoch > known:
            _, _, word, _, _ = _JOB.unpack_from(self._map, slot)
            self._write_slot(slot, name, owner_epoch, word)
        else:
            self._touch(slot)
            return
        self._map.flush()

    def begin(self, job: str, seq: int) -> Step:
        """Notes, before anything is injected, that `seq` of `job` is in progress. Returns its name for the desktop.

        Raises ValueError unless `seq` is above every seq of this job before.
        """
        slot = self._slots[job_hash(job)]
        known = self.record(job)
        if not known.last_seq < seq <= SEQ_MAX:
            raise ValueError(f"seq {seq} of job {job!r} comes after {known.last_seq}")
        _U64.pack_into(self._map, slot + _WORD_AT, seq | Outcome.unknown << 40 | _IN_PROGRESS)
        return self.step(job, seq)

    def finish(self, job: str, seq: int, outcome: Outcome, refusal: Refusal = Refusal.none) -> None:
        """Notes what became of `seq`."""
        _U64.pack_into(self._map, self._slots[job_hash(job)] + _WORD_AT, seq | outcome << 40 | refusal << 48)

    def step(self, job: str, seq: int) -> Step:
        """Returns the name that the desktop is given for `seq` of `job`."""
        return Step(self.journal_id, _U64.unpack_from(job_hash(job))[0], seq)

    def settle(self, mark: Mark | None) -> int:
        """Settles every action that a connector before us left in progress; `mark` is what the desktop remembers.

        The desktop has its last event: applied. It has its first one only: unknown. It knows of an action before it:
        the connector died before it sent anything, refused. It knows nothing of us (another X server): unknown.
        Returns how many were settled.
        """
        settled = 0
        for name, slot in self._slots.items():
            _, _, word, _, _ = _JOB.unpack_from(self._map, slot)
            if not word & _IN_PROGRESS:
                continue
            seq = word & SEQ_MAX
            step = Step(self.journal_id, _U64.unpack_from(name)[0], seq)
            outcome, refusal = Outcome.refused, Refusal.failed
            if mark is None or mark.step.journal != self.journal_id:
                outcome, refusal = Outcome.unknown, Refusal.none
            elif mark.step == step:
                outcome = Outcome.applied if mark.phase is Phase.ENDED else Outcome.unknown
                refusal = Refusal.none
            _U64.pack_into(self._map, slot + _WORD_AT, seq | outcome << 40 | refusal << 48)
            settled += 1
        return settled

    def close(self) -> None:
        """Writes everything to the disk and lets the folder go."""
        _U64.pack_into(self._map, _CLOSED_AT, 1)
        self._map.flush()
        self._map.close()
        os.close(self._lock)

    def _read_slots(self) -> dict[bytes, int]:
        """Returns job hash -> offset of the slots in use. One torn by a power failure has a wrong check: free."""
        found = {}
        for slot in range(_SLOTS_AT, _SIZE, _SLOT_BYTES):
            name, epoch, _, _, check = _JOB.unpack_from(self._map, slot)
            if check == _check(name, epoch):
                found[name] = slot
        return found

    def _move_ahead(self) -> None:
        """After a power failure: which seqs were used after the last write to the disk is not known."""
        for slot in self._slots.values():
            word = _U64.unpack_from(self._map, slot + _WORD_AT)[0]
            seq = min((word & SEQ_MAX) + LOST_SEQS, SEQ_MAX)
            _U64.pack_into(self._map, slot + _WORD_AT, seq | Outcome.unknown << 40)

    def _write_slot(self, slot: int, name: bytes, owner_epoch: int, word: int) -> None:
        self._uses += 1
        _JOB.pack_into(self._map, slot, name, owner_epoch, word, self._uses, _check(name, owner_epoch))
        _U64.pack_into(self._map, _USES_AT, self._uses)

    def _touch(self, slot: int) -> None:
        self._uses += 1
        _U64.pack_into(self._map, slot + _USE_AT, self._uses)
        _U64.pack_into(self._map, _USES_AT, self._uses)

    def _free_slot(self) -> int:
        """Returns an unused slot, else the one whose job was used least recently."""
        used = set(self._slots.values())
        for slot in range(_SLOTS_AT, _SIZE, _SLOT_BYTES):
            if slot not in used:
                return slot
        oldest = min(self._slots, key=lambda name: _U64.unpack_from(self._map, self._slots[name] + _USE_AT)[0])
        return self._slots.pop(oldest)


def job_hash(job: str) -> bytes:
    """Returns the 16 bytes that stand for the name of `job` in the journal and in the desktop's mark."""
    return hashlib.blake2b(job.encode(), digest_size=16).digest()


def _decode(owner_epoch: int, word: int) -> JobRecord:
    return JobRecord(
        owner_epoch=owner_epoch,
        last_seq=word & SEQ_MAX,
        last_outcome=_OUTCOMES[word >> 40 & 0xFF],
        last_refusal=_REFUSALS[word >> 48 & 0xFF],
        is_in_progress=bool(word & _IN_PROGRESS),
    )


def _check(name: bytes, owner_epoch: int) -> int:
    return zlib.crc32(name + _U64.pack(owner_epoch))


def _random_id() -> int:
    return int.from_bytes(os.urandom(8), "little") | 1


def _boot_hash() -> int:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    return int.from_bytes(hashlib.blake2b(boot_id, digest_size=8).digest(), "little")


def _hold(folder: Path) -> int:
    """Creates `folder` (mode 0700) if need be and locks it. Returns the lock's descriptor."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateFolderError(f"the state folder {folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StateFolderError(
            f"the state folder {folder} is held by another connector",
            next_step="stop that connector, or give this one a folder of its own (--state)",
        ) from error
    return descriptor


def _map(path: Path) -> tuple[mmap.mmap, bool]:
    """Maps `path`, made whole (every block allocated) if it is new. Returns the mapping and whether it was."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size not in (0, _SIZE):
                raise StateFolderError(f"{path} has {size} bytes, a journal has {_SIZE}")
            if size == 0:
                os.posix_fallocate(descriptor, 0, _SIZE)
            mapping = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateFolderError(f"{path} cannot be used: {error.strerror}") from error
    return mapping, mapping[: _HEAD.size] == bytes(_HEAD.size)
