"""The difference between desired and observed objects: what to apply and what to delete.

`reconcile()` calls `applies_to()` and `deletes_from()` with the desired and the observed objects. Server-side apply
lets others own the fields that the operator leaves out (an injected label, a default, an autoscaler's annotation), so
an object has drifted only if a field that the operator sets is missing or different (`covers()`). An object whose
changed part is immutable is deleted first, and created in a later pass.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tritonfleet.api import names
from tritonfleet.api.conditions import Reason
from tritonfleet.api.quantities import counted
from tritonfleet.api.resources import BACKEND_TRAFFIC_POLICY, HTTP_ROUTE
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rolling_update import RevisionRoles, surplus_records
from tritonfleet.plan.world import Apply, ChildId, Delete, Manifest, Observed, WriteFailure

_LIST_KEYS = ("uid", "mountPath", "containerPort", "port", "name", "topologyKey")
"""Merge keys of the associative lists in the objects we write; other lists are atomic."""

_ATOMIC_LISTS = ("parentRefs", "rules")
"""An HTTPRoute's: a backend or a match that was added changes where requests go, however it is named."""

_IMMUTABLE_PAYLOAD = {"ControllerRevision": ("data",), "ConfigMap": ("data",)}
_ATOMIC_MAP = "selector"
"""Label selectors are atomic maps: an added key is drift."""


def applies_to(desired: Iterable[Manifest], observed: Observed) -> Iterator[Apply]:
    """Return the desired objects that are missing or have drifted."""
    for manifest in desired:
        target = ChildId(manifest["kind"], manifest["metadata"]["name"])
        existing = observed.children.get(target)
        if existing is None:
            yield Apply(manifest, "Missing", f"{target.kind} {target.name} does not exist", exists=False)
        elif not covers(manifest, existing) and not payload_changed(manifest, existing):
            yield Apply(manifest, "Drifted", f"{target.kind} {target.name} differs from the desired state", exists=True)


def deletes_from(
    desired: tuple[Manifest, ...],
    known: Mapping[str, KnownRevision],
    roles: RevisionRoles,
    observed: Observed,
    limit: int,
) -> Iterator[Delete]:
    """Return the observed objects that are no longer needed; of old revisions `limit` records are kept."""
    routed = (observed.body["spec"].get("traffic") or {}).get("gateway")
    hashed = (routed or {}).get("consistentHash")
    for manifest in desired:
        existing = observed.children.get(ChildId(manifest["kind"], manifest["metadata"]["name"]))
        if existing is not None and payload_changed(manifest, existing):
            yield _delete(existing, "Replaced", "its immutable content differs from the desired state")
    for target, child in observed.children.items():
        revision = child["metadata"].get("labels", {}).get(names.REVISION_LABEL)
        # Records outlive their pods: rollbacks need them.
        if revision and revision not in roles.in_use and target.kind != "ControllerRevision":
            yield _delete(child, "Expired", f"revision {revision} no longer serves")
        if target.kind == HTTP_ROUTE.kind and not routed:
            yield _delete(child, "Unwanted", "`traffic.gateway` is no longer set")
        if target.kind == BACKEND_TRAFFIC_POLICY.kind and not hashed:
            yield _delete(child, "Unwanted", "`traffic.gateway.consistentHash` is no longer set")
    for record in surplus_records(known, roles.on_record, limit):
        yield _delete(record, "HistoryLimit", f"more than {counted(limit, 'old revision')}")


def _delete(child: Manifest, reason: str, message: str) -> Delete:
    target = ChildId(child["kind"], child["metadata"]["name"])
    return Delete(target, child["metadata"]["uid"], reason, f"{target.kind} {target.name}: {message}")


def foreign_child(desired: Iterable[Manifest], observed: Observed) -> WriteFailure | None:
    """Return a failure if another owner controls an object of a needed name; it is never adopted."""
    metadata = observed.body["metadata"]
    for manifest in desired:
        target = ChildId(manifest["kind"], manifest["metadata"]["name"])
        existing = observed.children.get(target)
        owners = existing["metadata"].get("ownerReferences") or () if existing is not None else ()
        for owner in owners:
            if not owner.get("controller") or owner["uid"] == metadata["uid"]:
                continue
            if owner["kind"] == names.KIND and owner["name"] == metadata["name"]:
                message = f"waiting until {target.kind} '{target.name}' of the deleted ModelDeployment is gone"
                return WriteFailure(target, Reason.PREDECESSOR_REMAINS, message)
            message = (
                f"{target.kind} '{target.name}' belongs to {owner['kind']} '{owner['name']}': "
                "delete it or rename this ModelDeployment"
            )
            return WriteFailure(target, Reason.NAME_CONFLICT, message)
    return None


def covers(desired: Any, observed: Any, *, atomic: bool = False) -> bool:
    """Return whether `observed` has every value of `desired`, ignoring what others added.

    In an `atomic` list, and the lists in it, added items count as differences.
    """
    if desired == observed:
        return True
    if isinstance(desired, dict):
        return isinstance(observed, dict) and all(
            value == observed.get(key)
            if key == _ATOMIC_MAP
            else covers(value, observed.get(key), atomic=atomic or key in _ATOMIC_LISTS)
            for key, value in desired.items()
        )
    if isinstance(desired, list):
        return _covers_list(desired, observed, atomic)
    return False


def payload_changed(desired: Manifest, observed: Manifest) -> bool:
    """Return whether an immutable part differs, so that the object must be replaced."""
    return any(desired[part] != observed.get(part) for part in _IMMUTABLE_PAYLOAD.get(desired["kind"], ()))


def _covers_list(desired: list[Any], observed: Any, atomic: bool) -> bool:
    if not isinstance(observed, list):
        return not desired and observed is None
    key = next((key for key in _LIST_KEYS if not atomic and _identifies(key, desired)), None)
    if key is None:
        pairs = zip(desired, observed, strict=False)
        return len(desired) == len(observed) and all(covers(*pair, atomic=atomic) for pair in pairs)
    found = {item.get(key): item for item in observed if isinstance(item, dict)}
    return all(covers(item, found.get(item[key])) for item in desired)


def _identifies(key: str, items: list[Any]) -> bool:
    values = [item.get(key) for item in items if isinstance(item, dict)]
    return (
        len(values) == len(items) > 0
        and all(value is not None for value in values)
        and len(set(map(repr, values))) == len(values)
    )
