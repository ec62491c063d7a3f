"""What hypothesis may judge: what is right, never how long a shared or an emulated machine takes for it.

The examples are the same in each run, so that a red run is the change's doing and comes back when it is looked for;
`--hypothesis-profile=explore` (in `make fuzz`) draws new ones.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

GENERATORS_OWN = [HealthCheck.too_slow, HealthCheck.data_too_large]  # of its draws, not of what is tested

settings.register_profile("explore", deadline=None, suppress_health_check=GENERATORS_OWN)
settings.register_profile("repeatable", settings.get_profile("explore"), derandomize=True)
settings.load_profile("repeatable")
