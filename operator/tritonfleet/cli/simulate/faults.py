"""`--faults`: what goes wrong during the trace, as people write it."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from tritonfleet.cli import amounts
from tritonfleet.cli.complaint import Complaint
from tritonfleet.sim import (
    Blackout,
    CounterReset,
    Fault,
    ForeignWrite,
    NodesFull,
    PodLoss,
    PrometheusDown,
    SilentPods,
    Slower,
    SlowStart,
    Unscraped,
)

_FORM: Final = re.compile(r"(?P<name>[a-z-]+)(:(?P<value>[^@]+))?@(?P<start>[^+]+)(\+(?P<length>.+))?")


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of fault: how it is written and made."""

    example: str
    meaning: str
    make: Callable[[float, float, float], Fault]
    """From start, end (both in seconds) and value."""
    value: float | None = None
    """The value when none is given; None where there is nothing to give."""
    lasts: bool = True
    """Whether it has a length; without one it lasts to the end."""


_KINDS: Final = {
    "blackout": _Kind("blackout@12h+20m", "no metrics at all", lambda start, end, _: Blackout(start, end)),
    "prometheus-down": _Kind(
        "prometheus-down@12h+20m",
        "pods answer, Prometheus does not",
        lambda start, end, _: PrometheusDown(start, end),
    ),
    "unscraped": _Kind("unscraped:0.5@12h+20m", "half the pods cannot be read", Unscraped, 0.5),
    "silent-pods": _Kind(
        "silent-pods:1@12h+1h",
        "one pod answers but counts nothing",
        lambda start, end, value: SilentPods(start, end, int(value)),
        1,
    ),
    "counter-reset": _Kind(
        "counter-reset@12h", "all counters start anew", lambda start, *_: CounterReset(start), lasts=False
    ),
    "slower": _Kind("slower:1.6@12h+6h", "batches take 1.6 times as long", Slower, 1.6),
    "slow-start": _Kind("slow-start:3@12h+1h", "pods take 3 times as long to be ready", SlowStart, 3),
    "nodes-full": _Kind(
        "nodes-full:4@12h+1h",
        "there is room for 4 pods only",
        lambda start, end, value: NodesFull(start, end, int(value)),
        1,
    ),
    "pod-loss": _Kind(
        "pod-loss:2@12h",
        "two ready pods die",
        lambda start, _, value: PodLoss(start, int(value)),
        1,
        lasts=False,
    ),
    "foreign-write": _Kind(
        "foreign-write:1@12h",
        "somebody sets replicas to 1",
        lambda start, _, value: ForeignWrite(start, int(value)),
        1,
        lasts=False,
    ),
}


def listing() -> Iterable[tuple[str, str]]:
    """Return an example and its meaning for every kind."""
    return ((kind.example, kind.meaning) for kind in _KINDS.values())


def parse_fault(text: str, duration_seconds: float) -> Fault:
    """Return the fault that `NAME[:VALUE]@START[+LENGTH]` asks for; raises Complaint for anything else."""
    match = _FORM.fullmatch(text)
    kind = _KINDS.get(match["name"]) if match else None
    if match is None or kind is None:
        known = ", ".join(_KINDS)
        raise Complaint(f"--faults: '{text}' must be NAME[:VALUE]@START[+LENGTH] with one of the names {known}")
    if (match["length"] and not kind.lasts) or (match["value"] and kind.value is None):
        raise Complaint(f"--faults: '{text}' says more than this fault can be told: write it like {kind.example}")
    try:
        start = 0.0 if match["start"] == "0" else amounts.seconds(match["start"])
        end = start + amounts.seconds(match["length"]) if match["length"] else inf
        value = _number(match["value"]) if match["value"] else kind.value or 0.0
    except ArgumentTypeError as error:
        raise Complaint(f"--faults: '{text}': {error}") from error
    if start >= duration_seconds:
        raise Complaint(f"--faults: '{text}' starts after the trace, which ends at {amounts.spoken(duration_seconds)}")
    return kind.make(start, end, value)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < inf:
        raise ArgumentTypeError(f"the value must be a number above 0, not '{text}'")
    return number
