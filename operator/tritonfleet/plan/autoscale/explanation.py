"""The decision in a sentence, with the numbers that it came from."""

from collections.abc import Callable, Mapping

from tritonfleet.plan.autoscale.facts import Choice, Facts
from tritonfleet.plan.autoscale.hold import held_seconds
from tritonfleet.plan.autoscale.verdict import ScaleReason


def sentence(choice: Choice, facts: Facts) -> str:
    """Return why the replicas are what they are."""
    tell = _SENTENCES.get(choice.reason)
    if tell is not None:
        return tell(choice, facts)
    return f"{_demand(facts)} needs {choice.wanted} replicas; {_change(choice, facts)}"


def _stale(choice: Choice, facts: Facts) -> str:
    blind = facts.reading.blind_seconds
    return f"no metrics for {blind:.0f} s: {_holding(choice, facts)} until pods are seen again"


def _silent(choice: Choice, facts: Facts) -> str:
    reading = facts.reading
    return f"{reading.silent} of {reading.ready} servers answer without the model: {_holding(choice, facts)}"


def _partial(choice: Choice, facts: Facts) -> str:
    reading = facts.reading
    seen = f"{reading.fresh} of {reading.ready} ready replicas are seen"
    flat = f", {reading.flat} of them count nothing while others do" if reading.flat else ""
    return f"{seen}{flat}, and 80 % are needed to take any away: {_holding(choice, facts)}"


def _not_ready(choice: Choice, facts: Facts) -> str:
    starting = sum(pod.ready_seconds is None for pod in facts.observation.pods)
    patience = facts.memory.readiness.patience_seconds
    late = f", {facts.late} for longer than {patience:.0f} s: no more are added" if facts.late else ""
    return f"{starting} replicas are not ready{late}; {_holding(choice, facts)}"


def _restarted(choice: Choice, facts: Facts) -> str:
    left = max(0.0, facts.memory.up_only_until - facts.memory.clock)
    return f"just started or the clock stepped: nothing is taken away for {left:.0f} s; {_holding(choice, facts)}"


def _learning(choice: Choice, facts: Facts) -> str:
    waiting = facts.reading.pending
    return f"a replica's capacity is not known yet, {waiting:.0f} requests wait: {_holding(choice, facts)}"


def _rolling(choice: Choice, facts: Facts) -> str:
    return f"a rollout is under way: {_holding(choice, facts)}; {_demand(facts)} needs {choice.wanted}"


def _not_schedulable(choice: Choice, facts: Facts) -> str:
    return f"{_demand(facts)} needs {choice.wanted} replicas, and the nodes hold {facts.observation.schedulable}"


def _at_max(choice: Choice, facts: Facts) -> str:
    return f"{_demand(facts)} needs {choice.wanted} replicas, and the maximum is {facts.policy.max_replicas}"


def _waiting(choice: Choice, facts: Facts) -> str:
    memory, replicas = facts.memory, facts.observation.replicas
    hold = held_seconds(memory.hold, facts.policy.hold_seconds, memory.clock, replicas)
    return f"{_demand(facts)} needs {choice.wanted} of {choice.replicas} replicas; a peak is held for {hold:.0f} s"


_SENTENCES: Mapping[ScaleReason, Callable[[Choice, Facts], str]] = {
    ScaleReason.METRICS_STALE: _stale,
    ScaleReason.SERIES_MISSING: _silent,
    ScaleReason.METRICS_PARTIAL: _partial,
    ScaleReason.PODS_NOT_READY: _not_ready,
    ScaleReason.RESTARTED: _restarted,
    ScaleReason.LEARNING: _learning,
    ScaleReason.ROLLING_OUT: _rolling,
    ScaleReason.NOT_SCHEDULABLE: _not_schedulable,
    ScaleReason.AT_MAX_REPLICAS: _at_max,
    ScaleReason.HOLDING: _waiting,
}


def _holding(choice: Choice, facts: Facts) -> str:
    before = facts.observation.replicas
    return f"holding {before} replicas" if choice.replicas == before else f"{before} replicas become {choice.replicas}"


def _change(choice: Choice, facts: Facts) -> str:
    before = facts.observation.replicas
    return f"there are {before}" if choice.replicas == before else f"{before} become {choice.replicas}"


def _demand(facts: Facts) -> str:
    """Return the demand and what it is made of: `120 req/s (90 req/s now, 46 req/s per replica)`."""
    demand, capacity = facts.demand, facts.capacity
    parts = {
        "now": facts.reading.slow,
        "for a burst": demand.burst or None,
        "by the season": demand.season,
        f"for {facts.reading.pending:.0f} requests that wait": demand.backlog or None,
        "asked for": demand.throughput or None,
        "per replica": None if capacity is None else capacity.rate,
    }
    told = ", ".join(f"{_rate(rate)} {what}" for what, rate in parts.items() if rate is not None)
    return f"{_rate(demand.total)} ({told})"


def _rate(rate: float) -> str:
    return f"{rate:.3g} req/s" if rate < 1000 else f"{rate:.0f} req/s"
