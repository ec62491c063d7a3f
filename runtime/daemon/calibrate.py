"""Measures what a worker cannot see while it works: `idlehands doctor --calibrate`. Kept in files that workers read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.backends.protocol import BackendError, Gathering, Limits, load_model
from runtime.config.config import Config
from runtime.residency.calibration import measure_reading, write_device
from runtime.residency.together import Gains, gain_key, measuring
from runtime.store.errors import BundleError
from runtime.store.models import ModelStore

GAINS = "together.json"  # in a worker's cache


def cache_of(config: Config) -> Path:
    """Returns the folder of what workers prepared once."""
    return config.daemon.models_folder.parent / "cache"


def measure_device(config: Config) -> None:
    """On as many threads as a worker may use. Wants a quiet machine: what others read meanwhile is not there for us.

    Raises StoreUnusable.
    """
    config.daemon.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_device(config.daemon.device_path, measure_reading(config.worker.threads))


def measure_models(config: Config, say: Callable[[str], None]) -> None:
    """Finds out what runs of each installed model cost at once. Raises StoreUnusable."""
    gains = Gains(cache_of(config) / GAINS)
    threads = max(1, config.worker.threads // max(1, min(config.worker.sessions, config.worker.threads)))
    limits = Limits(threads, config.worker.memory_MiB << 20, cache_of(config))
    for reference, role, key, found in _gathering(config, limits):
        if isinstance(found, str):
            say(f"{reference} {role}: {found}")
            continue
        gain = next(gain for gain in measuring(found, f"{reference} {role}", None) if gain is not None)
        gains.put(key, gain)
        say(f"{gain.model}: {gain.told()}")


def _gathering(config: Config, limits: Limits) -> Iterator[tuple[str, str, str, Gathering | str]]:
    """Yields (reference, role, key, the model, or why there is nothing to measure), one loaded at a time."""
    store = ModelStore(config.daemon.models_folder)
    for one in store.list_models():
        if not one.is_active or one.problem:
            continue
        bundle = store.get(one.name)
        for role in bundle.manifest.models:
            try:
                backend, model = load_model(bundle, limits, role)
            except (BackendError, BundleError) as error:
                yield bundle.reference, role, "", error.message
                continue
            try:
                if isinstance(model, Gathering) and model.most_together > 1:
                    model.set_threads(limits.threads)
                    yield bundle.reference, role, gain_key(bundle.sha256, role, backend, limits.threads), model
                else:
                    yield bundle.reference, role, "", f"its runs are made one by one ({backend})"
            finally:
                model.close()
