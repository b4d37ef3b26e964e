"""How fast the Horizontal Pod Autoscaler may move: `behavior` of autoscaling/v2, after Kubernetes' `horizontal.go`."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Select(StrEnum):
    """Which of several policies decides."""

    DISABLED = "Disabled"
    MAX = "Max"
    MIN = "Min"


@dataclass(frozen=True, slots=True)
class Pods:
    """At most `value` pods in any `period_seconds`."""

    value: int
    period_seconds: float


@dataclass(frozen=True, slots=True)
class Percent:
    """At most `value` percent in any `period_seconds`."""

    value: int
    period_seconds: float


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction."""

    policies: tuple[Pods | Percent, ...]
    select: Select = Select.MAX
    stabilization_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Behavior:
    """Both directions; the defaults are those of the API."""

    up: Rules = Rules((Pods(4, 15.0), Percent(100, 15.0)))
    down: Rules = Rules((Percent(100, 15.0),), stabilization_seconds=300.0)


DEFAULT: Final = Behavior()


@dataclass(slots=True)
class Governor:
    """What has been recommended and done, and what may therefore be done now. Times are seconds."""

    behavior: Behavior
    min_replicas: int
    max_replicas: int
    recommendations: list[tuple[float, int]] = field(default_factory=list)
    """(when, replicas) as the metrics had it."""
    changes: list[tuple[float, int]] = field(default_factory=list)
    """(when, replicas added), negative for those taken away."""

    def settle(self, now: float, current: int, wanted: int) -> int:
        """Return what is asked for of what the metrics want, and remember both."""
        if not self.recommendations:
            self.recommendations.append((now, current))
        allowed = self.limit(now, current, self.stabilize(now, current, wanted))
        if allowed != current:
            self.changes.append((now, allowed - current))
        self._forget(now)
        return allowed

    def stabilize(self, now: float, current: int, wanted: int) -> int:
        """Return `current` moved no further than every recent recommendation agrees to."""
        up = min([wanted, *self._recent(now, self.behavior.up.stabilization_seconds)])
        down = max([wanted, *self._recent(now, self.behavior.down.stabilization_seconds)])
        self.recommendations.append((now, wanted))
        return min(max(current, up), down)

    def limit(self, now: float, current: int, wanted: int) -> int:
        """Return `wanted` within the policies' rates and the bounds."""
        if wanted > current:
            most = min(self.max_replicas, max(current, self._highest(now, current)))
            return min(wanted, most)
        if wanted < current:
            least = max(self.min_replicas, min(current, self._lowest(now, current)))
            return max(wanted, least)
        return wanted

    def _highest(self, now: float, current: int) -> int:
        rules = self.behavior.up
        if rules.select is Select.DISABLED:
            return current
        return _chosen(rules.select, (self._reach(policy, now, current, 1) for policy in rules.policies), up=True)

    def _lowest(self, now: float, current: int) -> int:
        rules = self.behavior.down
        if rules.select is Select.DISABLED:
            return current
        return _chosen(rules.select, (self._reach(policy, now, current, -1) for policy in rules.policies), up=False)

    def _reach(self, policy: Pods | Percent, now: float, current: int, sign: int) -> int:
        """Return how far one policy lets the replicas of its period's start move."""
        start = current - sum(change for at, change in self.changes if at > now - policy.period_seconds)
        if isinstance(policy, Pods):
            return start + sign * policy.value
        reached = round(start * (1 + sign * policy.value / 100), 9)
        return math.ceil(reached) if sign > 0 else int(reached)

    def _recent(self, now: float, seconds: float) -> Iterable[int]:
        return (replicas for at, replicas in self.recommendations if at > now - seconds)

    def _forget(self, now: float) -> None:
        rules = (self.behavior.up, self.behavior.down)
        remembered = max(each.stabilization_seconds for each in rules)
        self.recommendations = [each for each in self.recommendations if each[0] >= now - remembered]
        longest = max((policy.period_seconds for each in rules for policy in each.policies), default=0.0)
        self.changes = [each for each in self.changes if each[0] >= now - longest]


def _chosen(select: Select, reaches: Iterable[int], *, up: bool) -> int:
    """Pick the largest change, or the smallest."""
    largest = (select is Select.MAX) == up
    return max(reaches) if largest else min(reaches)
