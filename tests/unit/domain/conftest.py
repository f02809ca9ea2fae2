"""How property tests run here: no deadline, since a busy machine is no defect."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("domain", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("domain")
