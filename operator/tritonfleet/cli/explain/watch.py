"""`--watch`: the account, with the last minutes drawn as lines of blocks."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tritonfleet.cli.amounts import per_second, spoken
from tritonfleet.cli.explain.account import Account
from tritonfleet.cli.screen import sparkline

KEPT: Final = 600
"""Looks that are remembered: twenty minutes of them."""
_LABEL_WIDTH: Final = 13
_VALUE_WIDTH: Final = 18


@dataclass
class Course:
    """What was seen, look by look."""

    interval_seconds: float
    rates: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    latencies: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Milliseconds."""
    replicas: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, account: Account) -> None:
        """Remember one look."""
        self.rates.append(account.scaling.observed_rate)
        self.latencies.append(_milliseconds(account.latency))
        self.replicas.append(float(account.running))

    def lines(self, account: Account, width: int) -> Iterator[str]:
        """Yield a line for the load, the latency and the replicas, each as wide as there is room."""
        room = max(10, width - _LABEL_WIDTH - _VALUE_WIDTH)
        shown = min(room, len(self.rates))
        yield f"the last {spoken(max(1.0, shown * self.interval_seconds))}"
        rate = account.scaling.observed_rate
        yield _line("load", self.rates, room, f"{per_second(rate)} requests/s" if rate is not None else "unknown")
        yield _line("latency", self.latencies, room, account.latency or "unknown")
        yield _line("replicas", self.replicas, room, str(account.running))


def _line(label: str, values: deque[float | None], room: int, value: str) -> str:
    return f"  {label:<{_LABEL_WIDTH - 2}}{sparkline(list(values)[-room:])} {value}"


def _milliseconds(latency: str | None) -> float | None:
    return float(latency.removesuffix("ms")) if latency is not None else None
