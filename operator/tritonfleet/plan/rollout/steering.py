"""Between a ModelDeployment and the machine of its rollout: what the machine is shown, and what it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.rollout import Strategy
from tritonfleet.plan.revisions import KnownRevision, serving_hash
from tritonfleet.plan.rollout.course import Course, course_of
from tritonfleet.plan.rollout.document import restore
from tritonfleet.plan.rollout.facts import Facts, Track
from tritonfleet.plan.rollout.phase import RUNNING, Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.requests import requests_of
from tritonfleet.plan.rollout.split import split_of
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.rollout.tracks import track_of
from tritonfleet.plan.scaling import Size
from tritonfleet.plan.world import Manifest, Observed


@dataclass(frozen=True, slots=True)
class Steering:
    """A rollout as it was written down last, beside what is seen now."""

    state: State
    facts: Facts
    course: Course

    @property
    def is_contested(self) -> bool:
        """Whether somebody else keeps writing the route, which is left to them until a person has settled it."""
        return self.state.phase is Phase.HELD and self.state.reason == RolloutReason.ROUTE_CONFLICT


def is_steered(deployment: ModelDeployment, body: Manifest) -> bool:
    """Tell whether the machine decides: steps or a Recreate are asked for, or a rollout that had them is under way.

    Nor is forgotten, when the steps are taken away, that a revision was rejected or that a person asked for another.
    """
    rollout = deployment.spec.rollout
    if rollout.canary is not None or rollout.strategy in (Strategy.CANARY, Strategy.RECREATE):
        return True
    state = written_state(body)
    return state is not None and (state.phase in {*RUNNING, Phase.ROLLED_BACK} or bool(state.override))


def written_state(body: Manifest) -> State | None:
    """Return the state that the status holds; None if there is none, or none that can be read."""
    document = (body.get("status") or {}).get("rollout")
    return restore(document) if isinstance(document, dict) else None


def steer(
    deployment: ModelDeployment,
    observed: Observed,
    known: Mapping[str, KnownRevision],
    target: str | None,
    size: Size,
    now: datetime,
) -> Steering:
    """Return the rollout; `target` is the hash of the revision that the spec asks for, None if it has none.

    A state that was lost, or was made to name a stable revision that does not exist, is taken from where clients are
    sent now.
    """
    state = written_state(observed.body)
    if state is None or (state.stable and state.stable not in known and state.phase is not Phase.INITIALIZING):
        state = _begun(observed, known, target, now)
    state = _not_ahead(state, now)
    facts = _facts(deployment, observed, known, target, size, state, now)
    if state.phase is Phase.INITIALIZING and target and not (facts.tracks.get(state.canary) or Track()).ready:
        # Nobody is served yet, so nothing is lost by following the spec.
        state = replace(state, canary=target)
    return Steering(state, facts, course_of(state, facts))


def _not_ahead(state: State, now: datetime) -> State:
    """Return the state with no moment later than now: a clock that was ahead would have everybody wait for it.

    When the last window ended stays as it is, or that one would be looked at twice.
    """
    moments = ("entered_at", "step_entered_at", "blind_since")
    changes: dict[str, Any] = {name: now for name in moments if (getattr(state, name) or now) > now}
    return replace(state, **changes) if changes else state


def _begun(observed: Observed, known: Mapping[str, KnownRevision], target: str | None, now: datetime) -> State:
    stable = serving_hash(observed, known)
    # The front Service leads to the first revision before any of its pods is ready.
    if stable is None or (stable == target and len(known) == 1 and not known[stable].carries(1)):
        return State(entered_at=now, canary=target or "")
    return State(phase=Phase.STABLE, entered_at=now, stable=stable)


def _facts(
    deployment: ModelDeployment,
    observed: Observed,
    known: Mapping[str, KnownRevision],
    target: str | None,
    size: Size,
    state: State,
    now: datetime,
) -> Facts:
    spec = deployment.spec
    return Facts(
        target=target or "",
        replicas=size.replicas,
        policy=spec.rollout,
        tracks=_tracks(deployment, observed, known, state, now),
        by_gateway=spec.traffic.gateway is not None,
        split=split_of(observed, state, by_gateway=spec.traffic.gateway is not None),
        headroom=observed.headroom,
        gpus_per_pod=spec.server.gpu.count,
        evidence=observed.evidence,
        requests=requests_of(observed.body, spec.rollout),
        slo=spec.slo,
        suspended=spec.suspended,
        older=spec.rollback is not None,
    )


def _tracks(
    deployment: ModelDeployment,
    observed: Observed,
    known: Mapping[str, KnownRevision],
    state: State,
    now: datetime,
) -> Mapping[str, Track]:
    entries = {entry["name"]: entry for entry in (observed.body.get("status") or {}).get("revisions") or ()}
    since = _trusted_since(state)
    return {
        revision.hash: track_of(
            revision,
            entries.get(names.revision_name(deployment.metadata.name, revision.hash), {}),
            observed.gpus,
            since,
            now,
        )
        for revision in known.values()
    }


def _trusted_since(state: State) -> datetime:
    """Return since when a canary's pods are expected not to end: while they start, other rules hold.

    That is since the first ones of this rollout were ready, whether they were asked anything or not.
    """
    since = state.entered_at
    for passage in state.history:
        if passage.target is Phase.ADMITTING:
            break
        if passage.target in (Phase.VERIFYING, Phase.SHIFTING):
            since = passage.at
    return since
