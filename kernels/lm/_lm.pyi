"""The doorway's types: arrays are C-contiguous numpy arrays of the dtype named."""

from collections.abc import Mapping
from collections.abc import Sequence as _Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_F32 = NDArray[np.float32]
_I32 = NDArray[np.int32]

MAX_THREADS: int

def pool_counts() -> tuple[int, int, int]: ...
def variants(exact: bool = False) -> list[str]: ...

class Weights:
    size: int
    mapped: bool
    def __init__(self, path: bytes, offset: int, size: int) -> None: ...
    def read_all(self) -> int: ...

class Model:
    weights: Weights
    def __init__(
        self, weights: Weights, config: Mapping[str, Any], entries: Mapping[str, tuple[str, int, int, int, int]]
    ) -> None: ...
    def batch_limit(self, variant: str, wide: bool = False) -> int: ...
    def wide_least(self, variant: str) -> int: ...

class Sequence:
    model: Model
    size: int
    capacity: int
    def __init__(self, model: Model, capacity: int, int8: bool, window: int) -> None: ...
    def copy_from(self, other: Sequence) -> None: ...
    def wipe(self) -> None: ...

class Step:
    model: Model
    max_tokens: int
    max_positions: int
    max_threads: int
    pending: bool
    def __init__(
        self, model: Model, variant: str, max_tokens: int, max_positions: int, max_threads: int = 1
    ) -> None: ...
    def begin(
        self,
        tokens: _I32,
        positions: _I32,
        sequences: _Sequence[Sequence],
        outputs: _I32,
        logits: _F32 | None,
        panels: _I32 | None = None,
    ) -> None: ...
    def run(self, gate: int = 0, chunk_budget: int = 0, threads: int = 1) -> bool: ...

def sample(
    logits: _F32,
    scratch: _F32,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    seed: int,
    position: int,
) -> int: ...
def argmax(logits: _F32) -> int: ...
def quantise(variant: str, x: _F32, q: NDArray[np.int8]) -> tuple[float, float, int, int]: ...
def matmul(variant: str, kind: int, panels: NDArray[np.uint8], x: _F32, y: _F32, add: bool = False) -> None: ...
def matmul_wide(variant: str, kind: int, panels: NDArray[np.uint8], x: _F32, y: _F32, add: bool = False) -> None: ...
def rmsnorm(variant: str, x: _F32, weight: _F32, epsilon: float, y: _F32) -> None: ...
def swiglu(variant: str, gate: _F32, up: _F32, y: _F32) -> None: ...
def to_f16(variant: str, x: _F32, y: NDArray[np.uint16]) -> None: ...
