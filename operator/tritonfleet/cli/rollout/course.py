"""`--watch`: the last minutes of a rollout, drawn as lines of blocks."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tritonfleet.cli.amounts import spoken
from tritonfleet.cli.rollout.account import Account
from tritonfleet.cli.screen import sparkline

KEPT: Final = 600
_LABEL_WIDTH: Final = 13
_VALUE_WIDTH: Final = 10


@dataclass
class Course:
    """What was seen, look by look: the canary's share of the traffic in percent, and ready pods."""

    interval_seconds: float
    weights: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    measured: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    canary: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    stable: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, account: Account) -> None:
        """Remember one look."""
        rollout = account.rollout
        self.weights.append(float(account.weights.applied))
        self.measured.append(account.weights.measured)
        self.canary.append(_ready(account, rollout.canary if rollout is not None else None))
        self.stable.append(_ready(account, account.stable))

    def lines(self, width: int) -> Iterator[str]:
        """Yield a line for each, as wide as there is room; all shares, and all pods, are drawn to one scale."""
        room = max(10, width - _LABEL_WIDTH - _VALUE_WIDTH)
        most = max((count for count in (*self.canary, *self.stable) if count is not None), default=0.0)
        yield f"the last {spoken(max(1.0, min(room, len(self.weights)) * self.interval_seconds))}"
        yield _line("in force", self.weights, room, 100.0, " %")
        yield _line("measured", self.measured, room, 100.0, " %")
        yield _line("canary", self.canary, room, most, " ready")
        yield _line("stable", self.stable, room, most, " ready")


def _ready(account: Account, name: str | None) -> float | None:
    pods = account.pods_of(name)
    return float(pods.ready) if pods is not None else None


def _line(label: str, values: deque[float | None], room: int, highest: float, unit: str) -> str:
    last = values[-1] if values else None
    said = f"{last:.3g}{unit}" if last is not None else "-"
    return f"  {label:<{_LABEL_WIDTH - 2}}{sparkline(list(values)[-room:], highest=highest)} {said}"
