"""The difference between desired and observed objects: what to apply and what to delete.

`reconcile()` calls `applies_to()` and `deletes_from()` with the desired and the observed objects. Server-side apply
lets others own the fields that the operator leaves out (an injected label, a default, an autoscaler's annotation), so
an object has drifted only if a field that the operator sets is missing or different (`covers()`), or if something was
added where it would run beside the model or get its requests (`surplus()`): a container, `hostNetwork`, a variable such
as `LD_PRELOAD`, an external IP. An object whose
changed part is immutable is deleted first, and created in a later pass.

An admission policy may change what the operator writes, such as the registry of an image. The API server's response to
a write shows it (`admission_changes()`). What the model can be served with is accepted: as long as the operator would
send the same manifest, the changed values are no drift, and changes by hand are corrected as ever. The rest is
reported (`refused_changes()`), with the object, the field and who wrote it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from tritonfleet.api import names
from tritonfleet.api.conditions import Reason
from tritonfleet.api.quantities import counted
from tritonfleet.api.resources import BACKEND_TRAFFIC_POLICY, HTTP_ROUTE
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rolling_update import RevisionRoles, surplus_records
from tritonfleet.plan.world import Accepted, Apply, Change, ChildId, Delete, Manifest, Observed, WriteFailure

_LIST_KEYS = ("uid", "mountPath", "containerPort", "port", "name", "topologyKey")
"""Merge keys of the associative lists in the objects we write; other lists are atomic."""

_ATOMIC_LISTS = ("parentRefs", "rules")
"""An HTTPRoute's: a backend or a match that was added changes where requests go, however it is named."""

_IMMUTABLE_PAYLOAD = {"ControllerRevision": ("data",), "ConfigMap": ("data",)}
_WHOLE = frozenset({"ingress", "podSelector", "selector"})
"""What is compared whole: an added label narrows a selector, and an added port or peer changes who gets in."""


def applies_to(desired: Iterable[Manifest], observed: Observed) -> Iterator[Apply]:
    """Return the desired objects that are missing or have drifted."""
    for manifest in desired:
        target = ChildId(manifest["kind"], manifest["metadata"]["name"])
        existing = observed.children.get(target)
        if existing is None:
            yield Apply(manifest, "Missing", f"{target.kind} {target.name} does not exist", exists=False)
        elif payload_changed(manifest, existing):
            # It is immutable: `deletes_from()` has it replaced.
            continue
        elif _has_drifted(manifest, existing, observed.accepted.get(target)):
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
    return next(_differences(desired, observed, (), atomic=atomic), None) is None


def payload_changed(desired: Manifest, observed: Manifest) -> bool:
    """Return whether an immutable part differs, so that the object must be replaced."""
    return any(desired[part] != observed.get(part) for part in _IMMUTABLE_PAYLOAD.get(desired["kind"], ()))


def _differences(desired: Any, observed: Any, path: tuple[str | int, ...], *, atomic: bool) -> Iterator[Change]:
    """Yield every value of `observed` that is not the desired one."""
    if desired == observed:
        return
    if isinstance(desired, dict) and isinstance(observed, dict):
        for key, value in desired.items():
            found = observed.get(key)
            if key in _WHOLE and value != found:
                yield Change((*path, key), found)
            elif key not in _WHOLE:
                yield from _differences(value, found, (*path, key), atomic=atomic or key in _ATOMIC_LISTS)
    elif isinstance(desired, list) and isinstance(observed, list):
        yield from _list_differences(desired, observed, path, atomic)
    elif desired or not isinstance(desired, list) or observed is not None:
        yield Change(path, observed)


def _list_differences(
    desired: list[Any], observed: list[Any], path: tuple[str | int, ...], atomic: bool
) -> Iterator[Change]:
    key = next((key for key in _LIST_KEYS if not atomic and _identifies(key, desired)), None)
    if key is None and len(desired) != len(observed):
        yield Change(path, observed)
        return
    items = {item.get(key): item for item in observed if isinstance(item, dict)} if key is not None else {}
    for index, item in enumerate(desired):
        found = items.get(item[key]) if key is not None else observed[index]
        yield from _differences(item, found, (*path, index), atomic=atomic)


def _identifies(key: str, items: list[Any]) -> bool:
    values = [item.get(key) for item in items if isinstance(item, dict)]
    return (
        len(values) == len(items) > 0
        and all(value is not None for value in values)
        and len(set(map(repr, values))) == len(values)
    )


def digest(manifest: Manifest) -> str:
    """Return what tells one manifest from another."""
    return sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def admission_changes(sent: Manifest, answer: Manifest) -> tuple[Change, ...]:
    """Return what is different in the API server's response to a write: admission policies changed it on the way."""
    return tuple(_differences(sent, answer, (), atomic=False))


_INDISPENSABLE: Final = (
    r"\w+:metadata\.(labels|ownerReferences).*",
    r"Deployment:spec\.(replicas|selector)",
    r"Deployment:spec\.template\.metadata\.labels.*",
    r"Deployment:spec\.template\.spec\.(initContainers|containers)(\[[\w-]+\](\.(args|command|ports|volumeMounts).*)?)?",
    r"(Service|PodDisruptionBudget):spec\.selector.*",
    r"Service:spec\.ports.*",
    r"(ConfigMap|ControllerRevision):(data|revision).*",
    r"HTTPRoute:.*",
)
"""Fields that serving a model, or telling its revisions apart, depends on: they must be as the operator wrote them."""
_IS_INDISPENSABLE: Final = re.compile("|".join(_INDISPENSABLE))
_VALUE_MAX: Final = 100


def refused_changes(sent: Manifest, answer: Manifest, changes: Iterable[Change]) -> WriteFailure | None:
    """Return a failure if admission changed a field that the operator needs as it is; None if all can be accepted."""
    target = ChildId(sent["kind"], sent["metadata"]["name"])
    for change in changes:
        path = _dotted(sent, change.path)
        if not _IS_INDISPENSABLE.fullmatch(f"{target.kind}:{path}"):
            continue
        values = f"{_shown(change.value)} instead of {_shown(_at(sent, change.path))}"
        message = (
            f"{target.kind} '{target.name}': {path} is {values} immediately after it was written: changed by "
            f"{_writer(answer, change.path, sent)}. Exempt objects with the label "
            f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY} from it"
        )
        return WriteFailure(target, Reason.WRITE_CHANGED, message)
    return None


def _shown(value: Any) -> str:
    text = "missing" if value is None else json.dumps(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}..."


def _has_drifted(manifest: Manifest, existing: Manifest, accepted: Accepted | None) -> bool:
    """Return whether the object differs by more than what admission made of this very manifest."""
    added = surplus(manifest, existing)
    if covers(manifest, existing) and not added:
        return False
    if accepted is None or accepted.sent != digest(manifest):
        return True
    known = set(map(_key, accepted.changes))
    return added not in ({}, accepted.surplus) or any(
        _key(change) not in known for change in admission_changes(manifest, existing)
    )


_CONTAINER: Final[Manifest] = {
    "command": None,
    "env": ("name", {}),
    "envFrom": None,
    "lifecycle": {"postStart": None},
    "securityContext": {"privileged": None, "procMount": None, "capabilities": {"add": None}},
    "volumeMounts": ("mountPath", {}),
}
_POD: Final[Manifest] = {
    "containers": ("name", _CONTAINER),
    "hostAliases": None,
    "hostIPC": None,
    "hostNetwork": None,
    "hostPID": None,
    "initContainers": ("name", _CONTAINER),
    "serviceAccount": None,
    "serviceAccountName": None,
    "shareProcessNamespace": None,
    "volumes": ("name", {}),
}
_CLOSED: Final[Manifest] = {
    "Deployment": {"spec": {"paused": None, "template": {"spec": _POD}}},
    "Service": {"spec": {"externalIPs": None, "ports": ("port", {}), "publishNotReadyAddresses": None}},
}
"""Where other writers may not add anything: it would decide what runs beside the model, or who gets its requests.

None is a field that is the operator's alone, a pair is the key of a list and what is closed in its items.
"""


_WRITTEN_AS: Final = {"serviceAccount": "serviceAccountName"}
"""Names under which the API server repeats a field."""


def surplus(desired: Manifest, observed: Manifest) -> Manifest:
    """Return the strategic merge patch that removes what others added where nothing may be added; empty for nothing."""
    return _surplus(_CLOSED.get(desired["kind"], {}), desired, observed)


def _surplus(closed: Manifest, desired: Manifest, observed: Manifest) -> Manifest:
    patch: Manifest = {}
    for name, within in closed.items():
        mine, found = desired.get(_WRITTEN_AS.get(name, name)), observed.get(name)
        if not found:
            continue
        if within is None and mine is None:
            patch[name] = None
        elif isinstance(within, dict) and (inner := _surplus(within, mine or {}, found)):
            patch[name] = inner
        elif isinstance(within, tuple):
            key, closed_item = within
            items = list(_surplus_items(key, closed_item, mine or [], found))
            if items:
                patch[name] = items
    return patch


def _surplus_items(key: str, closed: Manifest, desired: list[Manifest], observed: list[Manifest]) -> Iterator[Manifest]:
    mine = {item[key]: item for item in desired}
    for item in observed:
        if item[key] not in mine:
            yield {key: item[key], "$patch": "delete"}
        elif inner := _surplus(closed, mine[item[key]], item):
            yield {key: item[key], **inner}


def _key(change: Change) -> str:
    return json.dumps(change, sort_keys=True)


def _at(manifest: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        manifest = manifest[part]
    return manifest


def _dotted(manifest: Any, path: Sequence[str | int]) -> str:
    """Return a path as people write it: `spec.template.spec.containers[triton].image`."""
    text = ""
    for place, part in enumerate(path):
        if isinstance(part, int):
            item = _at(manifest, path[: place + 1])
            text += f"[{item['name'] if isinstance(item, dict) and 'name' in item else part}]"
        else:
            text += f".{part}"
    return text.lstrip(".")


def _writer(answer: Manifest, path: Sequence[str | int], sent: Manifest) -> str:
    """Name the field managers that own a field besides the operator; a policy that changes our write has none."""
    owners = [
        entry["manager"]
        for entry in answer["metadata"].get("managedFields") or ()
        if entry.get("manager", names.FIELD_MANAGER) != names.FIELD_MANAGER
        and _owns(entry.get("fieldsV1") or {}, path, sent)
    ]
    policy = "an admission policy of the cluster (a webhook or a MutatingAdmissionPolicy)"
    return f"'{', '.join(owners)}', or by {policy}" if owners else policy


def _owns(fields: Manifest, path: Sequence[str | int], sent: Any) -> bool:
    found: Manifest | None = fields
    for part in path:
        sent = sent[part]
        if found is None:
            break
        if isinstance(part, str):
            found = found.get(f"f:{part}")
        else:
            # A list item is named by its key, such as k:{"name":"triton"}.
            keyed = [(json.loads(name[2:]), each) for name, each in found.items() if name.startswith("k:")]
            found = next((each for key, each in keyed if key.items() <= sent.items()), None)
    return found is not None
