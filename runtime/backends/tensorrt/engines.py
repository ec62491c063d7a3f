"""Engines: built from ONNX, and kept by everything that they depend on.

    engine-<key>.plan      SHA-256 of the rest, then the engine
    times-<key>.cache      SHA-256 of the rest, then what the library learnt about this device (library.py)

    key of an engine = SHA-256 over: the model file's SHA-256, precision, shapes, library and its version, device and
                       its capability, driver, and this file's own layout

Whatever of these changes, the engine is built anew. Files are written aside and renamed; one that does not check out,
or that the library does not take, is as good as none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.backends.cuda.device import Identity
from runtime.backends.protocol import ModelRefused
from runtime.backends.tensorrt.library import Library, make_logger
from runtime.store.errors import StoreError
from runtime.store.files import write_atomically

LAYOUT = 1
DIGEST_BYTES = 32
Ranges = Mapping[str, tuple[int, int, int]]  # a dimension's name: smallest, usual, largest


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is built from, besides the library. `capabilities` ("SM89"): for other devices than this one."""

    model_sha256: str
    precision: str
    ranges: Ranges
    capabilities: tuple[str, ...] = ()

    def key(self, library: str, version: str, device: Identity) -> str:
        """Returns the name under which the engine is kept."""
        parts = (
            LAYOUT,
            self.model_sha256,
            self.precision,
            sorted(self.ranges.items()),
            self.capabilities,
            library,
            version,
            device,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


class EngineCache:
    """Files in `folder`; None keeps nothing, as for bundles whose weights may not lie on disk in plain."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def plan(self, key: str) -> bytes | None:
        return self._read(f"engine-{key}.plan")

    def keep_plan(self, key: str, plan: bytes) -> None:
        self._write(f"engine-{key}.plan", plan)

    def drop_plan(self, key: str) -> None:
        """The library did not take it: it is built anew."""
        if self._folder is not None:
            (self._folder / f"engine-{key}.plan").unlink(missing_ok=True)

    def times(self, library: str, version: str, device: Identity) -> bytes:
        return self._read(_times_name(library, version, device)) or b""

    def keep_times(self, library: str, version: str, device: Identity, times: bytes) -> None:
        self._write(_times_name(library, version, device), times)

    def _read(self, name: str) -> bytes | None:
        if self._folder is None:
            return None
        try:
            content = (self._folder / name).read_bytes()
        except OSError:
            return None
        payload = content[DIGEST_BYTES:]
        return payload if hashlib.sha256(payload).digest() == content[:DIGEST_BYTES] else None

    def _write(self, name: str, payload: bytes) -> None:
        """A cache that cannot be written costs time, and is no error."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / name, hashlib.sha256(payload).digest() + payload)
        except (OSError, StoreError):
            return


def build(
    library: Library,
    onnx_model: bytes,
    spec: EngineSpec,
    times: bytes,
    *,
    workspace_bytes: int,
    where: str,
    log: Callable[[Library], Any] = make_logger,
) -> tuple[bytes, bytes]:
    """Returns (the engine, the timing cache as it is now). Seconds to minutes with TensorRT, about one with RTX.

    Raises ModelRefused: the library does not take the model, and says at which node.
    """
    logger = log(library)
    builder = library.Builder(logger)
    network = builder.create_network(_network_flags(library))
    parser = library.OnnxParser(network, logger)
    if not parser.parse(onnx_model):
        said = "; ".join(str(parser.get_error(number)).strip() for number in range(parser.num_errors))
        raise ModelRefused(f"{where}: {_short(said)}", next_step="pack the bundle for another backend")
    config = builder.create_builder_config()
    _configure(library, config, spec, workspace_bytes)
    timing = _set_times(library, config, times)
    _add_shapes(builder, network, config, spec.ranges, where)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelRefused(f"{where}: no engine could be built; the log says why", next_step="see the worker's log")
    return bytes(plan), bytes(timing.serialize()) if timing is not None else b""


def _network_flags(library: Any) -> int:
    """Types are the model's own: what shall be half or int8 says so in the ONNX (precision.py)."""
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):  # the first is what there is only for old versions
        flag = getattr(library.NetworkDefinitionCreationFlag, name, None)
        flags |= 0 if flag is None else 1 << int(flag)
    return flags


def _configure(library: Any, config: Any, spec: EngineSpec, workspace_bytes: int) -> None:
    pool = getattr(library, "MemoryPoolType", None)
    if pool is not None and workspace_bytes and hasattr(pool, "WORKSPACE"):
        config.set_memory_pool_limit(pool.WORKSPACE, workspace_bytes)
    if spec.capabilities:
        config.num_compute_capabilities = len(spec.capabilities)
        for number, name in enumerate(spec.capabilities):
            config.set_compute_capability(getattr(library.ComputeCapability, name), number)


def _set_times(library: Any, config: Any, times: bytes) -> Any:
    """RTX, which is known by its runtime cache, times nothing while it builds."""
    if hasattr(library, "IRuntimeCache"):
        return None
    timing = config.create_timing_cache(times)
    return timing if timing is not None and config.set_timing_cache(timing, ignore_mismatch=False) else None


def _add_shapes(builder: Any, network: Any, config: Any, ranges: Ranges, where: str) -> None:
    profile = None
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        shape = [int(size) for size in tensor.shape]
        if -1 not in shape:
            continue
        shapes: list[list[int]] = [[], [], []]
        for axis, size in enumerate(shape):
            name = tensor.get_dimension_name(axis) if size == -1 else ""
            if size == -1 and name not in ranges:
                raise ModelRefused(
                    f"{where}: its input '{tensor.name}' has the open dimension '{name}'",
                    next_step=f'say its sizes in the description: options.tensorrt."{name}" = "smallest:usual:largest"',
                )
            for place, length in zip(shapes, ranges[name] if size == -1 else (size,) * 3, strict=True):
                place.append(length)
        profile = profile or builder.create_optimization_profile()
        profile.set_shape(tensor.name, *(tuple(place) for place in shapes))
    if profile is not None:
        config.add_optimization_profile(profile)


def _times_name(library: str, version: str, device: Identity) -> str:
    key = hashlib.sha256(repr((LAYOUT, library, version, device)).encode()).hexdigest()[:40]
    return f"times-{key}.cache"


def _short(text: str) -> str:
    return " ".join(text.split())[:300]
