"""What has to be seen of a rollout, derived from the object alone: which pods, from when on, for how long at a time."""

from dataclasses import dataclass
from typing import Final

from tritonfleet.api.canary import Canary, ContractPolicy, Golden, PromQuery
from tritonfleet.api.metrics import MetricsSource
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.state import EPOCH, State
from tritonfleet.plan.rollout.steps import plan_of
from tritonfleet.plan.world import Manifest

_WITH_TRAFFIC: Final = frozenset(
    {Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.SHIFTING, Phase.ANALYZING, Phase.AWAITING_APPROVAL}
    | {Phase.HELD, Phase.STABLE_LOST}
)
"""Phases in which a canary that gets traffic is looked at, be it only for its safety."""
_BEFORE_TRAFFIC: Final = frozenset({Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.VERIFYING})
"""Phases in which stable is watched, so that the first look knows how restless it is."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Windows of one segment are alike; a window never reaches from one into another."""

    canary: str
    attempt: int
    step: int
    weight: int
    """Percent that is in force."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One rollout, as far as something is to be seen of it."""

    segment: Segment
    stable: str
    model: str
    opens_seconds: float
    """Since the epoch: no window begins before, as the warm-up is left out, and none that was judged is seen twice."""
    interval_seconds: float
    verifies: bool
    """Whether the canary is to be asked for its contract and for golden requests before any traffic."""
    by_gateway: bool
    source: MetricsSource
    """Where latencies come from."""
    contract: ContractPolicy
    golden: Golden | None
    queries: tuple[PromQuery, ...]
    """To be asked at the end of each window."""

    @property
    def alone(self) -> bool:
        """Whether there is no stable to compare with any more: the canary gets everything."""
        return self.segment.weight >= 100

    @property
    def probes(self) -> bool:
        """Whether golden requests belong to each window."""
        return self.golden is not None and self.segment.weight > 0

    def desired_share(self, canary_ready: int, stable_ready: int) -> float:
        """Return the share of all requests that is sent to the canary, 0..1.

        A gateway keeps to its weights. Without one a request goes to any ready pod of the front Service.
        """
        weight = self.segment.weight
        if self.by_gateway or weight in (0, 100):
            return weight / 100
        return canary_ready / max(1, canary_ready + stable_ready)


def watch_of(body: Manifest, state: State) -> Watch | None:
    """Return what has to be seen of a ModelDeployment's rollout; None if nothing has.

    The plan is the one that the rollout began with, whatever the spec says by now.
    """
    if not state.canary or not state.stable:
        return None
    with_traffic = state.applied_weight > 0 and state.phase in _WITH_TRAFFIC
    before_traffic = state.applied_weight == 0 and state.phase in _BEFORE_TRAFFIC
    if not with_traffic and not before_traffic:
        return None
    spec, plan = body["spec"], plan_of(state.plan)
    return Watch(
        segment=Segment(state.canary, state.attempt, state.step, state.applied_weight),
        stable=state.stable,
        model=(spec.get("model") or {}).get("name") or body["metadata"]["name"],
        opens_seconds=_opens(state, plan, with_traffic=with_traffic),
        interval_seconds=duration_seconds(plan.analysis.interval),
        verifies=state.phase is Phase.VERIFYING and not state.verified,
        by_gateway=bool((spec.get("traffic") or {}).get("gateway")),
        source=MetricsSource((spec.get("metrics") or {}).get("source", MetricsSource.AUTO)),
        contract=plan.verification.contract,
        golden=plan.verification.golden,
        queries=plan.analysis.queries if with_traffic else (),
    )


def _opens(state: State, plan: Canary, *, with_traffic: bool) -> float:
    """Return since when windows may begin; the warm-up counts from when the weight was in force."""
    opens = state.step_entered_at.timestamp()
    if with_traffic:
        shifted = next((passage.at for passage in state.history if passage.source is Phase.SHIFTING), EPOCH)
        # By a clock that was ahead it may have been later than what followed.
        opens = max(opens, min(shifted, state.entered_at).timestamp()) + duration_seconds(plan.analysis.warmup)
    last_end = state.analysis.get("lastEndSeconds")
    return max(opens, last_end) if isinstance(last_end, int | float) else opens
