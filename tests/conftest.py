"""What holds for every test."""

import pytest
from hypothesis import HealthCheck, settings

# A shared two-core machine has slow moments: a property is judged by its result, not by the clock.
settings.register_profile("tritonfleet", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tritonfleet")

LONGEST = {
    "test_rollout_histories.py",
    "test_rollout_crashes.py",
    "test_crashes.py",
    "test_scaling.py",
    "test_reconcile.py",
    "test_collection.py",
    "test_installation.py",
    "test_autoscaling.py",
    "test_rollout.py",
}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: begun last it would leave the other cores idle, as what runs alone does."""
    items.sort(key=lambda item: (item.get_closest_marker("alone") is not None, item.path.name not in LONGEST))
