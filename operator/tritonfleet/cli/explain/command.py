"""`tritonfleet explain`: read the object, and print what it says.

`plain()` is the account as text: what is seen, what is wanted, what limits it, what would change it, and what was
decided. With `--watch` it is printed again every few seconds, and `Course` adds the last minutes as lines of blocks.
`cli/main.py` calls `run()`.
"""

import argparse
import json
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NoReturn

from tritonfleet.api.conditions import ConditionType
from tritonfleet.api.status import ScaleEntry
from tritonfleet.cli.arguments import per_second, spoken
from tritonfleet.cli.explain.model import Account, document
from tritonfleet.cli.place import Place, carry_out, place_of
from tritonfleet.cli.terminal import follow, say, sparkline

_BINDING: Final = {
    "AtMaxReplicas": "maxReplicas {highest}",
    "AtMinReplicas": "minReplicas {lowest}",
    "NoTraffic": "minReplicas {lowest}",
    "NotSchedulable": "the nodes have no room for more",
    "RollingOut": "a rollout: nothing is taken away meanwhile",
    "Holding": "a recent peak: replicas go once it is past",
    "Restarted": "the operator has just started: nothing is taken away for two minutes",
    "MetricsStale": "no fresh metrics: nothing is taken away",
    "MetricsPartial": "metrics of too few pods: nothing is taken away",
    "SeriesMissing": "pods that answer without counting the model: nothing is taken away",
    "PodsNotReady": "pods that do not become ready: no more are added",
}
_OTHER_VERSION: Final = "what the operator remembers was written by another version than this command's"
_LABEL_WIDTH: Final = 14

KEPT: Final = 600
"""Looks that are remembered: twenty minutes of them."""
_GRAPH_LABEL_WIDTH: Final = 13
_VALUE_WIDTH: Final = 18


def plain(account: Account) -> str:
    """Return the whole account; lines are wide rather than wrapped, as kubectl's are."""
    blocks = ["\n".join(_head(account)), "\n".join(_conditions(account))]
    if account.status.autoscaling is not None and not account.deployment.spec.suspend:
        blocks[1:1] = ["\n".join(facts(account)), "\n".join(decisions(account))]
    return "\n\n".join(block for block in blocks if block)


def headline(account: Account) -> str:
    """Return one line: who decides, and how many replicas there are."""
    metadata = account.deployment.metadata
    ready = account.status.ready_replicas or 0
    return f"{metadata.namespace}/{metadata.name}: {_counted(account.running)}, {ready} ready; {_decider(account)}"


def _counted(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"


def _decider(account: Account) -> str:
    spec, scaling = account.deployment.spec, account.scaling
    if spec.suspend:
        return "suspended: no pod runs until `suspend` is false"
    if account.external:
        return f"`replicas` decides ({spec.declared_replicas}), and another scaler writes it (mode External)"
    if not spec.scales_by_slo:
        return f"`replicas` decides ({spec.declared_replicas}): `autoscaling` is not set"
    if scaling.desired_replicas is None:
        return "the autoscaler has not decided yet"
    if not spec.scaled_by_us:
        return (
            f"`replicas` decides ({spec.declared_replicas}); the autoscaler would run {scaling.desired_replicas}"
            " (advisory)"
        )
    return f"the autoscaler asks for {scaling.desired_replicas}"


def _head(account: Account) -> Iterator[str]:
    yield headline(account)
    if not account.observed:
        yield "the operator has not looked at the newest spec yet: what follows is about the one before"


def facts(account: Account) -> Iterator[str]:
    """Yield what the autoscaler sees, wants, is bound by, and what would change its mind."""
    scaling = account.scaling
    yield _labelled("sees", ", ".join(_seen(account)) or "nothing yet")
    if scaling.message is not None:
        yield _labelled("wants", f"{scaling.uncapped_replicas} ({scaling.reason}): {scaling.message}")
        yield _labelled("bound by", _bound(account))
        yield _labelled("would change", "; ".join(_changes(account)))
    if account.outlook is not None and account.outlook.alpha_seconds is not None:
        yield _labelled("has learned", ", ".join(_learned(account)))


def _labelled(label: str, text: str) -> str:
    return f"{label:<{_LABEL_WIDTH}}{text}"


def _seen(account: Account) -> Iterator[str]:
    scaling, slo = account.scaling, account.deployment.spec.slo
    if scaling.observed_rate is not None:
        yield f"{per_second(scaling.observed_rate)} requests/s"
    if scaling.capacity_per_replica is not None:
        yield f"{per_second(scaling.capacity_per_replica)} requests/s per replica within the SLO"
    if slo is not None and slo.latency is not None:
        measured = f"{account.latency} ({scaling.latency_source})" if account.latency is not None else "unknown"
        yield f"p{slo.latency.percentile:g} {measured}, target {slo.latency.target}"
    if scaling.slo_attainment is not None:
        yield f"{scaling.slo_attainment:.2%} within the target"
    if scaling.forecast is not None:
        yield f"{per_second(scaling.forecast)} requests/s forecast"
    if scaling.metrics_age is not None:
        yield f"metrics {scaling.metrics_age} old"
    written = account.age_seconds(scaling.at)
    if written is not None and written >= 1:
        yield f"written {spoken(written)} ago"


def _bound(account: Account) -> str:
    scaling = account.scaling
    text = _BINDING.get(scaling.reason or "", "nothing")
    return text.format(highest=scaling.max_replicas, lowest=scaling.min_replicas)


def _changes(account: Account) -> Iterator[str]:
    found = account.outlook
    if found is None:
        learned = account.scaling.capacity_per_replica is not None
        yield f"not known: {_OTHER_VERSION if learned else 'what one replica carries has to be learned first'}"
        return
    if found.more_above is not None:
        yield f"one more above {per_second(found.more_above)} requests/s"
    else:
        yield "no more whatever comes: maxReplicas is reached"
    if found.fewer_below is not None:
        yield f"one fewer below {per_second(found.fewer_below)} requests/s for {spoken(found.hold_seconds)}"
    else:
        yield "no fewer: minReplicas is reached"


def _learned(account: Account) -> Iterator[str]:
    found = account.outlook
    if found is not None and found.alpha_seconds is not None and found.beta_seconds is not None:
        yield f"a batch of b takes {spoken(found.alpha_seconds)} + {spoken(found.beta_seconds)} * b"
    if account.scaling.pod_startup_seconds is not None:
        yield f"a pod takes {spoken(account.scaling.pod_startup_seconds)} to be ready"


def decisions(account: Account) -> Iterator[str]:
    """Yield the last changes of the number of replicas, newest first."""
    if not account.scaling.history:
        yield "no decision has changed the replicas yet"
        return
    yield "last decisions"
    for entry in account.scaling.history:
        yield f"  {_ago(account, entry):>14}  {entry.before:>4} -> {entry.after:<4} {entry.reason:<14} {entry.message}"


def _ago(account: Account, entry: ScaleEntry) -> str:
    return f"{spoken(max(1.0, account.age_seconds(entry.at) or 0.0))} ago"


def _conditions(account: Account) -> Iterator[str]:
    for kind in (ConditionType.READY, ConditionType.SLO_MET, ConditionType.SCALING_ACTIVE):
        entry = account.condition(kind)
        if entry is not None:
            yield f"{entry.type:<14} {entry.status:<8}{entry.reason:<16} {entry.message}"


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
        room = max(10, width - _GRAPH_LABEL_WIDTH - _VALUE_WIDTH)
        shown = min(room, len(self.rates))
        yield f"the last {spoken(max(1.0, shown * self.interval_seconds))}"
        rate = account.scaling.observed_rate
        yield _line("load", self.rates, room, f"{per_second(rate)} requests/s" if rate is not None else "unknown")
        yield _line("latency", self.latencies, room, account.latency or "unknown")
        yield _line("replicas", self.replicas, room, str(account.running))


def _line(label: str, values: deque[float | None], room: int, value: str) -> str:
    return f"  {label:<{_GRAPH_LABEL_WIDTH - 2}}{sparkline(list(values)[-room:])} {value}"


def _milliseconds(latency: str | None) -> float | None:
    return float(latency.removesuffix("ms")) if latency is not None else None


def run(options: argparse.Namespace) -> int:
    """Print the account, or follow it; 1 when there is none to give, 2 when the cluster cannot be found."""
    return carry_out("explain", _explain(options))


async def _explain(options: argparse.Namespace) -> int:
    async with place_of(options) as place:
        if options.watch:
            await _watch(place, options)
        account = await _look(place, options.name)
    say(json.dumps(document(account), indent=2) if options.output == "json" else plain(account))
    return 0


async def _watch(place: Place, options: argparse.Namespace) -> NoReturn:
    course = Course(options.interval)

    async def text() -> str:
        account = await _look(place, options.name)
        course.add(account)
        return "\n".join((plain(account), "", *course.lines(account, shutil.get_terminal_size().columns)))

    await follow(text, options.interval)


async def _look(place: Place, name: str) -> Account:
    return Account.of(await place.model_deployment(name), datetime.now(UTC))
