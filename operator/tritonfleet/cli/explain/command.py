"""`tritonfleet explain`: read the object and print its autoscaling.

`plain()` is the account as text: the metrics, the decision, its limits, the rates that would change it, and the last
decisions. With `--watch` it is redrawn every few seconds, and `Graphs` adds the last minutes as sparklines.
`cli/main.py` calls `run()`.
"""

import json
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Final, NoReturn

from tritonfleet.api.conditions import ConditionType
from tritonfleet.api.quantities import counted
from tritonfleet.api.status import ScaleEntry
from tritonfleet.cli.arguments import format_duration, per_second
from tritonfleet.cli.explain.model import Account, Outlook, document
from tritonfleet.cli.place import Place, place_of, run_command
from tritonfleet.cli.terminal import follow, say, sparkline

_BINDING: Final = {
    "AtMaxReplicas": "maxReplicas {highest}",
    "AtMinReplicas": "minReplicas {lowest}",
    "NoTraffic": "minReplicas {lowest}",
    "NotSchedulable": "no room on the nodes for more",
    "RollingOut": "rollout in progress: scale-in disabled",
    "ScaleDownStabilized": "scale-in stabilization window",
    "Restarted": "operator restarted: scale-in disabled for two minutes",
    "MetricsStale": "no fresh metrics: scale-in disabled",
    "MetricsPartial": "metrics of too few pods: scale-in disabled",
    "SeriesMissing": "no metrics of the model: scale-in disabled",
    "PodsNotReady": "pods not becoming ready: scale-out disabled",
}
_OTHER_VERSION: Final = "the operator's memory was written by another version than this command"
_LABEL_WIDTH: Final = 14

KEPT: Final = 600
"""Samples in the graphs: twenty minutes by default."""
_GRAPH_LABEL_WIDTH: Final = 13
_VALUE_WIDTH: Final = 18


def plain(account: Account) -> str:
    """Return the whole account; lines are wide rather than wrapped, as kubectl's are."""
    blocks = ["\n".join(_head(account)), "\n".join(_conditions(account))]
    if account.status.autoscaling is not None and not account.deployment.spec.suspend:
        blocks[1:1] = ["\n".join(overview(account)), "\n".join(decisions(account))]
    return "\n\n".join(block for block in blocks if block)


def headline(account: Account) -> str:
    """Return one line: how many replicas there are, and who decides."""
    metadata = account.deployment.metadata
    ready = account.status.ready_replicas or 0
    replicas = counted(account.running, "replica")
    return f"{metadata.namespace}/{metadata.name}: {replicas}, {ready} ready; {_decider(account)}"


def _decider(account: Account) -> str:
    spec, scaling = account.deployment.spec, account.scaling
    if spec.suspend:
        return "suspended: no pods run until `suspend` is false"
    if account.external:
        return f"`replicas` is {spec.declared_replicas}, written by another scaler (mode External)"
    if not spec.scales_by_slo:
        return f"`replicas` is {spec.declared_replicas}; `autoscaling` is not set"
    if scaling.desired_replicas is None:
        return "the autoscaler has not decided yet"
    if not spec.scaled_by_us:
        return f"`replicas` is {spec.declared_replicas}; the autoscaler would run {scaling.desired_replicas} (advisory)"
    return f"the autoscaler wants {scaling.desired_replicas}"


def _head(account: Account) -> Iterator[str]:
    yield headline(account)
    if not account.observed:
        yield "the operator has not processed the latest spec yet; this is about the previous one"


def overview(account: Account) -> Iterator[str]:
    """Yield the metrics, the decision, its limit, the rates that would change it, and the learned model."""
    scaling = account.scaling
    yield _labeled("metrics", ", ".join(_seen(account)) or "none yet")
    if scaling.message is not None:
        yield _labeled("needs", f"{scaling.uncapped_replicas} ({scaling.reason}): {scaling.message}")
        yield _labeled("limited by", _bound(account))
        yield _labeled("thresholds", "; ".join(_changes(account)))
        if account.outlook is not None:
            yield _labeled("headroom", _headroom(account, account.outlook))
    if account.outlook is not None and account.outlook.alpha_seconds is not None:
        yield _labeled("learned", ", ".join(_learned(account)))


def _labeled(label: str, text: str) -> str:
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
    if scaling.slo_attainment is not None and slo is not None and slo.latency is not None:
        yield f"{scaling.slo_attainment:.2%} within the target"
    if scaling.queue_time is not None and slo is not None and slo.queue_time is not None:
        yield f"mean queue time {scaling.queue_time}, limit {slo.queue_time}"
    if scaling.availability is not None and slo is not None and slo.availability is not None:
        yield f"{100 * scaling.availability:.5g}% answered, objective {slo.availability:g}%"
    if scaling.forecast is not None:
        yield f"{per_second(scaling.forecast)} requests/s forecast"
    if scaling.metrics_age is not None:
        yield f"{scaling.metrics_age} old"
    written = account.age_seconds(scaling.at)
    if written is not None and written >= 1:
        yield f"written {format_duration(written)} ago"


def _bound(account: Account) -> str:
    scaling = account.scaling
    text = _BINDING.get(scaling.reason or "", "nothing")
    return text.format(highest=scaling.max_replicas, lowest=scaling.min_replicas)


def _changes(account: Account) -> Iterator[str]:
    found = account.outlook
    if found is None:
        learned = account.scaling.capacity_per_replica is not None
        yield f"unknown: {_OTHER_VERSION if learned else 'the capacity per replica has not been learned yet'}"
        return
    if found.more_above is not None:
        yield f"scales out above {per_second(found.more_above)} requests/s"
    else:
        yield "at maxReplicas"
    if found.fewer_below is not None:
        window = format_duration(found.stabilization_seconds)
        yield f"scales in below {per_second(found.fewer_below)} requests/s for {window}"
    else:
        yield "at minReplicas"


def _headroom(account: Account, found: Outlook) -> str:
    """Return what the replicas beyond the present rate cost per day, and what they protect from."""
    gpus = account.deployment.spec.server.gpu.count
    hours = 24 * found.headroom * max(1, gpus)
    cost = f"{counted(hours, 'GPU-hour' if gpus else 'pod-hour')} a day"
    if not found.headroom:
        return "no replica beyond what the present rate needs"
    within = format_duration(found.horizon_seconds)
    protects = f"a rise of {found.growth - 1:.0%} within {within}, and for falls that may not last"
    return f"{counted(found.headroom, 'replica')} beyond the present rate, {cost}, for {protects}"


def _learned(account: Account) -> Iterator[str]:
    found = account.outlook
    if found is not None and found.alpha_seconds is not None and found.beta_seconds is not None:
        alpha, beta = format_duration(found.alpha_seconds), format_duration(found.beta_seconds)
        yield f"a batch of b takes {alpha} + {beta} * b"
    if account.scaling.pod_startup_seconds is not None:
        yield f"a pod takes {format_duration(account.scaling.pod_startup_seconds)} to become ready"


def decisions(account: Account) -> Iterator[str]:
    """Yield the last changes of the number of replicas, newest first."""
    if not account.scaling.history:
        yield "no scaling decision yet"
        return
    yield "last decisions"
    for entry in account.scaling.history:
        yield f"  {_ago(account, entry):>14}  {entry.before:>4} -> {entry.after:<4} {entry.reason:<20} {entry.message}"


def _ago(account: Account, entry: ScaleEntry) -> str:
    return f"{format_duration(max(1.0, account.age_seconds(entry.at) or 0.0))} ago"


def _conditions(account: Account) -> Iterator[str]:
    for kind in (ConditionType.READY, ConditionType.SLO_MET, ConditionType.SCALING_ACTIVE):
        entry = account.condition(kind)
        if entry is not None:
            yield f"{entry.type:<14} {entry.status:<8}{entry.reason:<20} {entry.message}"


@dataclass
class Graphs:
    """Time series of the observed values."""

    interval_seconds: float
    rates: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    latencies: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Milliseconds."""
    replicas: deque[float | None] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, account: Account) -> None:
        """Append one sample."""
        self.rates.append(account.scaling.observed_rate)
        self.latencies.append(_milliseconds(account.latency))
        self.replicas.append(float(account.running))

    def lines(self, account: Account, width: int) -> Iterator[str]:
        """Yield sparklines of the load, the latency and the replicas, cut to the width."""
        room = max(10, width - _GRAPH_LABEL_WIDTH - _VALUE_WIDTH)
        shown = min(room, len(self.rates))
        yield f"the last {format_duration(max(1.0, shown * self.interval_seconds))}"
        rate = account.scaling.observed_rate
        yield _line("load", self.rates, room, f"{per_second(rate)} requests/s" if rate is not None else "unknown")
        yield _line("latency", self.latencies, room, account.latency or "unknown")
        yield _line("replicas", self.replicas, room, str(account.running))


def _line(label: str, values: deque[float | None], room: int, value: str) -> str:
    return f"  {label:<{_GRAPH_LABEL_WIDTH - 2}}{sparkline(list(values)[-room:])} {value}"


def _milliseconds(latency: str | None) -> float | None:
    return float(latency.removesuffix("ms")) if latency is not None else None


def run(options: SimpleNamespace) -> int:
    """Print the account, or follow it; return 1 if it cannot be read, 2 if the cluster cannot be found."""
    return run_command("explain", _explain(options))


async def _explain(options: SimpleNamespace) -> int:
    async with place_of(options) as place:
        if options.watch:
            await _watch(place, options)
        account = await _read_account(place, options.name)
    say(json.dumps(document(account), indent=2) if options.output == "json" else plain(account))
    return 0


async def _watch(place: Place, options: SimpleNamespace) -> NoReturn:
    graphs = Graphs(options.interval)

    async def text() -> str:
        account = await _read_account(place, options.name)
        graphs.add(account)
        return "\n".join((plain(account), "", *graphs.lines(account, shutil.get_terminal_size().columns)))

    await follow(text, options.interval)


async def _read_account(place: Place, name: str) -> Account:
    return Account.of(await place.model_deployment(name), datetime.now(UTC))
