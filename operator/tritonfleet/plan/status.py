"""The status document of a ModelDeployment, and the Event that a change of it deserves."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tritonfleet.api import names
from tritonfleet.api.conditions import Condition, ConditionType, Reason, shortened, updated_conditions
from tritonfleet.api.status import ModelState
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.assessment import Assessment, conditions, unreadable_conditions
from tritonfleet.plan.diagnosis import gpu_need
from tritonfleet.plan.history import revision_entries
from tritonfleet.plan.objects import PORTS
from tritonfleet.plan.rollout.document import document
from tritonfleet.plan.rollout.rollout_conditions import ROLLOUT_REASONS
from tritonfleet.plan.rollout.steps import steps_of
from tritonfleet.plan.world import Event, Manifest


def status_and_events(facts: Assessment, now: datetime) -> tuple[Manifest, tuple[Event, ...]]:
    """Return the complete status, and Events: `Ready` has another reason, replicas changed, another scaler appeared."""
    stable = facts.stable
    metadata = facts.deployment.metadata
    status: dict[str, Any] = {
        "observedGeneration": metadata.generation,
        "replicas": stable.size if stable is not None and stable.ready_replicas else 0,
        "readyReplicas": stable.ready_replicas if stable is not None else 0,
        "url": f"http://{metadata.name}.{metadata.namespace}.svc:{PORTS['http']}",
        "revisions": revision_entries(facts),
        "revision": _roles(facts),
        "model": _model(facts),
        "gpu": _gpu(facts),
    }
    if facts.report.document:
        status["autoscaling"] = facts.report.document
    if facts.rollout is not None:
        status["rollout"] = document(facts.rollout, metadata.name, len(steps_of(facts.rollout)))
    if facts.tracks.serving is not None:
        selector = names.serving_selector(metadata.name, facts.tracks.serving)
        status["selector"] = ",".join(f"{label}={value}" for label, value in sorted(selector.items()))
    status, events = _with_conditions(facts.body, status, conditions(facts, now), now)
    return status, events if facts.report.event is None else (*events, facts.report.event)


def unreadable_status(body: Manifest, problem: InvalidSpec, now: datetime) -> tuple[Manifest, tuple[Event, ...]]:
    """Return the status of an object that cannot even be read; what it says of the serving revision is kept."""
    status = {key: value for key, value in (body.get("status") or {}).items() if key != "conditions"}
    status["observedGeneration"] = body["metadata"].get("generation", 0)
    return _with_conditions(body, status, unreadable_conditions(problem), now)


def _with_conditions(
    body: Manifest, status: Manifest, wanted: tuple[Condition, ...], now: datetime
) -> tuple[Manifest, tuple[Event, ...]]:
    previous = (body.get("status") or {}).get("conditions") or []
    status["conditions"] = updated_conditions(previous, wanted, generation=status["observedGeneration"], now=now)
    return status, tuple(_events(previous, {each.type: each for each in wanted}))


def _events(previous: list[Manifest], wanted: Mapping[ConditionType, Condition]) -> Iterator[Event]:
    """Tell of `Ready` when its reason changes, and of another scaler when it is first seen.

    A rollout tells of each of its transitions itself.
    """
    before = {old["type"]: old.get("reason") for old in previous}
    ready, stalled = wanted[ConditionType.READY], wanted[ConditionType.STALLED]
    if before.get(ready.type) != ready.reason and ready.reason not in ROLLOUT_REASONS:
        yield Event("Warning" if stalled.status == "True" else "Normal", ready.reason.value, ready.message)
    active = wanted.get(ConditionType.SCALING_ACTIVE)
    if active is not None and active.reason is Reason.FOREIGN_SCALER != before.get(active.type):
        yield Event("Warning", active.reason.value, active.message)


def _roles(facts: Assessment) -> dict[str, str]:
    """Name the revision that serves, the one the spec asks for, and the one that served before."""
    owner = facts.deployment.metadata.name
    roles = {"stable": facts.tracks.serving, "target": facts.tracks.target}
    named = {role: names.revision_name(owner, revision) for role, revision in roles.items() if revision is not None}
    before = (facts.body.get("status") or {}).get("revision") or {}
    previous = before.get("previous")
    if before.get("stable") not in (None, named.get("stable")):
        previous = before["stable"]
    return {**named, "previous": previous} if previous is not None else named


def _model(facts: Assessment) -> dict[str, str]:
    finding = facts.finding
    if finding is not None and finding.reason is Reason.MODEL_LOAD_FAILED:
        return {"state": ModelState.FAILED.value, "reason": shortened(finding.message)}
    if facts.replicas == 0:
        return {"state": ModelState.UNLOADED.value}
    if facts.target is not None and facts.target.ready_replicas > 0:
        return {"state": ModelState.READY.value}
    return {"state": ModelState.LOADING.value}


def _gpu(facts: Assessment) -> dict[str, int]:
    need = gpu_need(facts.target.pods) if facts.target is not None else None
    waiting = need.total if need is not None else 0
    free = facts.gpus.free if facts.gpus is not None else 0
    return {
        "requested": facts.deployment.spec.server.gpu.count * facts.replicas,
        "waiting": waiting,
        "shortBy": max(0, waiting - free),
    }
