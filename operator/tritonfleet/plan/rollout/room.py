"""Which pods a rollout looks for room for."""

from collections.abc import Mapping
from typing import Final

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects import build_revision
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.world import ChildId, Defaults, Manifest

_LOOKS_FOR_ROOM: Final = frozenset({Phase.ADMITTING, Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY})


def pod_that_needs_room(body: Manifest, children: Mapping[ChildId, Manifest], defaults: Defaults) -> Manifest | None:
    """Return the template of the canary's pods while its rollout looks for room; None while it does not.

    Before the canary is recorded it is what the spec renders to.
    """
    rollout = (body.get("status") or {}).get("rollout") or {}
    held_for_room = rollout.get("phase") == Phase.HELD and rollout.get("reason") == RolloutReason.NO_CAPACITY
    if rollout.get("phase") not in _LOOKS_FOR_ROOM and not held_for_room:
        return None
    record = children.get(ChildId("ControllerRevision", rollout.get("canary", "")))
    template: Manifest | None = (record or {}).get("data", {}).get("template")
    if template is not None:
        return template
    try:
        return build_revision(ModelDeployment.parse(body), defaults).template
    except InvalidSpec:
        return None
