from collections.abc import Sequence
from typing import Any

EWISE_BLOCK: int
EWISE_REGS: int
EWISE_SPREADS: int
PARAMS: int
MAX_THREADS: int
REGIONS: int
KINDS: tuple[str, ...]
EWISE_OPS: dict[str, int]
PARAM_NAMES: dict[str, tuple[str, ...]]

def variants() -> tuple[tuple[str, bool, bool, float, int], ...]: ...
def pool_counts() -> tuple[int, int, int]: ...
def peak_gops() -> float: ...
def peak_tiles_gops() -> float: ...
def evaluate(
    code: bytes,
    leaves: Sequence[Any],
    scale: float,
    zero: int,
    result: int,
    quantised: bool,
    out_scale: float,
    out_zero: int,
) -> bytes: ...

class Runner:
    def __init__(self, ops: bytes, variant: str, regions: tuple[Any, ...], writable: tuple[bool, ...]) -> None: ...
    def step(self, gate: int = 0, threads: int = 1) -> bool: ...
    @property
    def position(self) -> tuple[int, int]: ...
    def run_op(self, index: int) -> None: ...
