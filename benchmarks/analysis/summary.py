"""What the runs come to: one table, and the promises."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.analysis import ours
from benchmarks.analysis.fates import Fates
from benchmarks.analysis.rules import RULES
from benchmarks.analysis.scenarios import DISPERSED, FIVE, INCIDENTS, NO_CHANGE, TRAFFICS, TWO, Scenario, Traffic
from benchmarks.report import Bar, Row, Table

RESOLUTION = 3.0
"""Standard errors by which two shares must differ not to count as equal."""
NOTES = (Path(__file__).parent / "notes.md").read_text()


@dataclass(frozen=True, slots=True)
class Line:
    """One scenario at one traffic, under every rule."""

    scenario: Scenario
    traffic: Traffic
    fates: Mapping[str, Fates]


def tables(lines: Sequence[Line]) -> list[Table]:
    """Return who was rolled back, and, since a rule may also wait for a person, who was promoted."""
    return [
        Table("Canaries rolled back, in percent", [_row(line) for line in lines]),
        Table("Canaries promoted, in percent", [_promoted_row(line) for line in lines]),
    ]


def bars(lines: Sequence[Line]) -> list[Bar]:
    """Return every promise with what was measured of it."""
    return [bar for traffic in TRAFFICS for bar in _bars(traffic, [line for line in lines if line.traffic == traffic])]


def _row(line: Line) -> Row:
    own = line.fates[ours.NAME]
    return {
        **_head(line),
        **{name: 100 * fates.rolled_back_share for name, fates in line.fates.items()},
        "ours by look 2": 100 * own.rolled_back_by(2),
        "ours, median look": own.median_look,
        "ours is": _standing(line, caught=True),
    }


def _promoted_row(line: Line) -> Row:
    own = line.fates[ours.NAME]
    return {
        **_head(line),
        **{name: 100 * fates.promoted_share for name, fates in line.fates.items()},
        "ours waits for a person": 100 * own.waiting_share,
        "ours is": _standing(line, caught=False),
    }


def _head(line: Line) -> Row:
    wanted = "keep" if line.scenario.good else "reject"
    return {"requests a look": line.traffic.requests, "canary": line.scenario.name, "right is to": wanted}


def _bars(traffic: Traffic, lines: Sequence[Line]) -> Iterator[Bar]:
    at = f"{traffic.requests} requests a look"
    own = {line.scenario: line.fates[ours.NAME] for line in lines}
    yield Bar(f"{at}: wrong rollbacks, no change", 100 * own[NO_CHANGE].rolled_back_share, "%", 0.1)
    yield Bar(f"{at}: wrong rollbacks, over-dispersed (worst)", _worst(own, DISPERSED), "%", 3.0)
    yield Bar(f"{at}: wrong rollbacks, shared incident (worst)", _worst(own, INCIDENTS), "%", 2.0)
    yield Bar(f"{at}: 5 % errors not caught by look 2", 100 * (1 - own[FIVE].rolled_back_by(2)), "%", 0.0)
    yield Bar(f"{at}: 2 % errors not caught", 100 * (1 - own[TWO].rolled_back_share), "%", 10.0)
    for caught, what in ((True, "by rollbacks"), (False, "by promotions")):
        beaten = sum("worse" in _standing(line, caught=caught) for line in lines)
        yield Bar(f"{at}: lines on which a threshold rule is better, {what}", beaten, "lines", 0)


def _worst(own: Mapping[Scenario, Fates], scenarios: Sequence[Scenario]) -> float:
    return 100 * max(own[scenario].rolled_back_share for scenario in scenarios)


def _standing(line: Line, *, caught: bool) -> str:
    """Return whether ours is better or worse than a threshold rule by more than chance."""
    own = line.fates[ours.NAME]
    gains = {rule.name: _gain(own, line.fates[rule.name], good=line.scenario.good, caught=caught) for rule in RULES}
    ahead = [name for name, gain in gains.items() if gain < -RESOLUTION]
    if ahead:
        return f"worse than {' and '.join(ahead)}"
    return "better" if max(gains.values()) > RESOLUTION else "equal"


def _gain(own: Fates, other: Fates, *, good: bool, caught: bool) -> float:
    """Return by how many standard errors ours is better.

    A good canary is to be promoted and not rolled back, a bad one the other way round; `caught` counts the rollbacks,
    else the promotions are counted, which leaves out those who wait for a person.
    """
    mine, theirs = (fates.rolled_back_share if caught else fates.promoted_share for fates in (own, other))
    middle = (mine + theirs) / 2
    error = math.sqrt(max(middle * (1 - middle), 1 / own.runs) * 2 / own.runs)
    better_when_more = good is not caught
    return (mine - theirs if better_when_more else theirs - mine) / error
