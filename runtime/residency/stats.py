"""A record of what a worker's models turned out to be: how soon each stops, what it holds, how long it took to load.

Written beside the worker's other state for `idlehands status`, for admission, and for who has to vouch for the bound.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from runtime.residency.models import Residency, Resident
from runtime.store.files import write_atomically


class ModelStats(msgspec.Struct, frozen=True):
    """`models` by "name@version/role": the fields of Resident. The rest counts since the worker began."""

    loads: int
    hits: int
    evictions: int
    resident_bytes: int
    models: dict[str, Resident]


def model_stats(residency: Residency) -> ModelStats:
    """Returns the record as of now."""
    counts = residency.counts
    models = {f"{resident.reference}/{resident.role}": resident for resident in residency.residents()}
    return ModelStats(counts.loads, counts.hits, counts.evictions, residency.resident_bytes, models)


def write_stats(residency: Residency, path: Path) -> None:
    """Writes the record as JSON, whole or not at all. Raises StoreUnusable."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(model_stats(residency))) + b"\n")


def read_stats(path: Path) -> ModelStats | None:
    """Reads a record, None if there is none or it is of another build."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelStats)
    except (OSError, msgspec.DecodeError):
        return None
