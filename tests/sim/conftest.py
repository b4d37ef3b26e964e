"""In which order simulations are run."""

import pytest

LONGEST = "test_rollout_histories.py"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: begun last it would leave the other cores idle."""
    items.sort(key=lambda item: item.path.name != LONGEST)
