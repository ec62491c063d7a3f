"""Types of the gate word's doorway; kernels/gate/word.py is its face."""

from typing_extensions import Buffer

MAGIC: int
VERSION: int
SIZE: int
LEASE_MAX_NS: int
POLL_NS: int
STATES: dict[str, int]
REASONS: tuple[tuple[int, str, bool], ...]

def boottime_ns() -> int: ...
def boot_id_hash() -> int: ...

class Word:
    def __init__(self, buffer: Buffer, writable: bool = False) -> None: ...
    def read(self) -> tuple[bool, int, int, int, int, int, int, int, int, int, int]: ...
    def write(
        self,
        *,
        max_threads: int,
        state: int,
        duty_permille: int,
        reasons: int,
        gate_epoch: int,
        lease_until_ns: int,
        boot_id_hash: int,
        power_budget_mW: int,
    ) -> None: ...

class Token:
    word: Word
    def __init__(self, word: Word, gate_epoch: int, until_ns: int = 0) -> None: ...
    @property
    def address(self) -> int: ...
    @property
    def gate_epoch(self) -> int: ...
    def is_open(self) -> bool: ...
