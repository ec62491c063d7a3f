"""Which installed bundle a job's agent gets. The daemon asks too, so nothing here may bring a backend's numpy."""

from __future__ import annotations

from runtime.jobs.spec import JobSpec
from runtime.store.bundle import Bundle
from runtime.store.models import ModelStore


def bundle_for(spec: JobSpec, store: ModelStore) -> Bundle | None:
    """Returns the bundle of a job's agent: the one that it names, or the active one of its agent's kind, or None.

    Raises ModelNotFound for a model that is named and not installed, UntrustedBundle, BundleError.
    """
    name = spec.model or next((one.name for one in store.list_models() if one.is_active and one.kind == spec.agent), "")
    return store.get(name) if name else None
