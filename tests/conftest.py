"""What holds for every test."""

from hypothesis import HealthCheck, settings

# A shared two-core machine has slow moments: a property is judged by its result, not by the clock.
settings.register_profile("tritonfleet", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tritonfleet")
