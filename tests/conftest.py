"""No test is timed: hypothesis judges what is right, not how long a shared or an emulated machine takes for it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
