"""What the cluster should look like for a state that is already written down."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Course:
    """Pods and traffic by revision hash. Revisions that are not named are of no more use."""

    sizes: Mapping[str, int]
    """Pods of every revision that has any, or is to have any."""
    split: Mapping[str, int]
    """Percent of the traffic; adds up to 100, and is empty while nothing can serve."""
    stable: str
    """Serves, or will be the first to; empty for none."""
