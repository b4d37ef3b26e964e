"""The only cache of objects, filled by watches and by our own writes."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tritonfleet.api import names
from tritonfleet.api.base import OPEN_TEXT_MAX, check_open
from tritonfleet.api.resources import SCALER
from tritonfleet.plan.world import Accepted, ChildId, Manifest

_COPY: Final = "kubectl.kubernetes.io/last-applied-configuration"
_OPEN_FIELDS: Final = (
    ("modelConfig",),
    ("server", "affinity", "podAffinity"),
    ("server", "affinity", "podAntiAffinity"),
)
_TOO_MUCH: Final = {"": "-" * (OPEN_TEXT_MAX + 1)}
"""Replaces an open field that is larger than a valid one: it is invalid for the same reason."""
LEVELS_KEPT: Final = 64
"""Depth to which an object is kept: more than any valid one has, and little enough for every library that reads it."""
OPEN_KINDS: Final = frozenset({names.KIND, "ControllerRevision"})
"""Kinds with parts that the API server takes at any depth; those that were stored before a bound have them still."""


class Key(NamedTuple):
    """One ModelDeployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ObjectId(NamedTuple):
    """One object of any kind."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """One object as JSON text: Python data would take six times the memory."""

    version: int
    uid: str
    owner: Key | None
    text: str
    """All inputs of a decision, so that equal text means an equal decision."""

    def manifest(self) -> Manifest:
        manifest: Manifest = json.loads(self.text)
        manifest["metadata"]["resourceVersion"] = str(self.version)
        return manifest


def slim(manifest: Manifest) -> None:
    """Remove, in place, what no decision reads.

    That is who manages which field, kubectl's copy of the object, what is deeper than LEVELS_KEPT, and open fields that
    are larger than allowed: the spec of such a ModelDeployment is invalid without them too.
    """
    if manifest["kind"] in OPEN_KINDS:
        _empty_below(manifest, LEVELS_KEPT)
    metadata = manifest.get("metadata") or {}
    metadata.pop("managedFields", None)
    (metadata.get("annotations") or {}).pop(_COPY, None)
    for *parents, name in _OPEN_FIELDS if manifest["kind"] == names.KIND else ():
        node = manifest.get("spec")
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        value = node.get(name) if isinstance(node, dict) else None
        if node is not None and isinstance(value, dict):
            try:
                check_open(value, LEVELS_KEPT)
            except ValueError:
                node[name] = dict(_TOO_MUCH)


class Store:
    """Objects by identity and by the ModelDeployment they belong to.

    An object with a lower resourceVersion than the stored one is ignored, so that a
    late watch event cannot undo the response to our own write.
    """

    def __init__(self) -> None:
        self._objects: dict[ObjectId, _Entry] = {}
        self._by_owner: dict[Key, dict[ChildId, _Entry]] = defaultdict(dict)
        self._accepted: dict[ObjectId, Accepted] = {}
        self._changes: dict[Key, int] = {}
        self._clock = 0

    def put(self, manifest: Manifest) -> frozenset[Key]:
        """Store an object, which is made `slim()`; return the ModelDeployments that it affects."""
        slim(manifest)
        identity, version = identify(manifest), version_of(manifest)
        before = self._objects.get(identity)
        if before is not None and version <= before.version:
            return frozenset()
        after = _Entry(version, manifest["metadata"]["uid"], owner_key(manifest), _text(manifest))
        self._objects[identity] = after
        self._unlink(identity, before)
        self._link(identity, after)
        if before is not None and before.text == after.text:
            return frozenset()
        return self._changed(_owners(before, after))

    def remove(self, manifest: Manifest) -> frozenset[Key]:
        """Remove a deleted object; a later one of the same name stays."""
        identity = identify(manifest)
        before = self._objects.get(identity)
        if before is None or before.uid != manifest["metadata"]["uid"]:
            return frozenset()
        del self._objects[identity]
        self._accepted.pop(identity, None)
        self._unlink(identity, before)
        return self._changed(_owners(before))

    def body(self, key: Key) -> Manifest | None:
        """Return the ModelDeployment itself."""
        entry = self._objects.get(ObjectId(names.KIND, *key))
        return entry.manifest() if entry is not None else None

    def known(self) -> list[Key]:
        """Return every ModelDeployment."""
        return [Key(each.namespace, each.name) for each in self._objects if each.kind == names.KIND]

    def changes(self, key: Key) -> int:
        """Return a number that changes with every object that concerns this ModelDeployment."""
        return self._changes.get(key, 0)

    def children(self, key: Key) -> Mapping[ChildId, Manifest]:
        """Return every object with this ModelDeployment's label, except pods."""
        owned = self._by_owner.get(key, {})
        return {child: entry.manifest() for child, entry in owned.items() if child.kind not in ("Pod", SCALER.kind)}

    def accept(self, manifest: Manifest, accepted: Accepted | None) -> None:
        """Remember what admission policies made of a child that was just written; None for nothing."""
        if accepted is not None:
            self._accepted[identify(manifest)] = accepted
        else:
            self._accepted.pop(identify(manifest), None)

    def accepted(self, key: Key) -> Mapping[ChildId, Accepted]:
        """Return what was accepted in the children of this ModelDeployment."""
        owned = self._by_owner.get(key, {}) if self._accepted else {}
        found = {child: self._accepted.get(ObjectId(child.kind, key.namespace, child.name)) for child in owned}
        return {child: accepted for child, accepted in found.items() if accepted is not None}

    def scalers(self, key: Key) -> tuple[Manifest, ...]:
        """Return the HorizontalPodAutoscalers that target this ModelDeployment or a Deployment with its name."""
        owned = self._by_owner.get(key, {})
        return tuple(owned[child].manifest() for child in sorted(owned) if child.kind == SCALER.kind)

    def pods(self, key: Key) -> tuple[Manifest, ...]:
        """Return the pods with this ModelDeployment's label, by name."""
        owned = self._by_owner.get(key, {})
        return tuple(owned[child].manifest() for child in sorted(owned) if child.kind == "Pod")

    def outdated(
        self, kind: str, namespace: str | None, listed: Iterable[Manifest], as_of: int
    ) -> tuple[list[ObjectId], list[ObjectId]]:
        """Compare with a complete list at resourceVersion `as_of`: what is missing or outdated here, and what is gone.

        `listed` needs only metadata, and covers one namespace or, if None, all. An object that is newer than
        the list is neither.
        """
        versions = {
            ObjectId(kind, item["metadata"]["namespace"], item["metadata"]["name"]): version_of(item) for item in listed
        }
        missed = [
            identity
            for identity, version in versions.items()
            if identity not in self._objects or self._objects[identity].version < version
        ]
        gone = [
            identity
            for identity, entry in self._objects.items()
            if identity.kind == kind and namespace in (None, identity.namespace)
            if identity not in versions and entry.version <= as_of
        ]
        return missed, gone

    def forget(self, identity: ObjectId) -> frozenset[Key]:
        """Remove an object that is no longer listed."""
        entry = self._objects.get(identity)
        return self.remove(entry.manifest()) if entry is not None else frozenset()

    def _changed(self, keys: frozenset[Key]) -> frozenset[Key]:
        for key in keys:
            self._clock += 1
            if key in self._by_owner or ObjectId(names.KIND, *key) in self._objects:
                self._changes[key] = self._clock
            else:
                self._changes.pop(key, None)
        return keys

    def _link(self, identity: ObjectId, entry: _Entry) -> None:
        if entry.owner is not None and identity.kind != names.KIND:
            self._by_owner[entry.owner][ChildId(identity.kind, identity.name)] = entry

    def _unlink(self, identity: ObjectId, before: _Entry | None) -> None:
        if before is None or before.owner not in self._by_owner:
            return
        owned = self._by_owner[before.owner]
        owned.pop(ChildId(identity.kind, identity.name), None)
        if not owned:
            del self._by_owner[before.owner]


def identify(manifest: Manifest) -> ObjectId:
    """Return the object's identity."""
    metadata = manifest["metadata"]
    return ObjectId(manifest["kind"], metadata["namespace"], metadata["name"])


def version_of(manifest: Manifest) -> int:
    """Return the resourceVersion, which Kubernetes (1.35 and later officially) lets clients compare as a number."""
    return int(manifest["metadata"]["resourceVersion"])


def owner_key(manifest: Manifest) -> Key | None:
    """Return the ModelDeployment that an object is, has the label of, or scales."""
    metadata = manifest["metadata"]
    if manifest["kind"] == SCALER.kind:
        scaled = _scaled(manifest["spec"]["scaleTargetRef"])
        return Key(metadata["namespace"], scaled) if scaled is not None else None
    if manifest["kind"] == names.KIND:
        return Key(metadata["namespace"], metadata["name"])
    owner = (metadata.get("labels") or {}).get(names.OWNER_LABEL)
    return Key(metadata["namespace"], owner) if owner else None


def _scaled(target: Manifest) -> str | None:
    """Return the ModelDeployment that a scale target is, or whose Deployment it is by name."""
    if target["kind"] == names.KIND:
        return str(target["name"])
    revision = names.REVISION_NAME.fullmatch(target["name"])
    return revision[1] if revision is not None and target["kind"] == "Deployment" else None


def _owners(*entries: _Entry | None) -> frozenset[Key]:
    return frozenset(entry.owner for entry in entries if entry is not None and entry.owner is not None)


def _empty_below(manifest: Manifest, levels: int) -> None:
    deepest: list[Any] = [manifest]
    for _ in range(levels):
        inner = (each for node in deepest for each in (node.values() if isinstance(node, dict) else node))
        deepest = [each for each in inner if isinstance(each, (dict, list))]
        if not deepest:
            return
    for node in deepest:
        node.clear()


def _text(manifest: Manifest) -> str:
    """Return the object without volatile fields that are never read: a third of it or more."""
    metadata = {
        name: value for name, value in manifest["metadata"].items() if name not in {"managedFields", "resourceVersion"}
    }
    kept = {**manifest, "metadata": metadata}
    if manifest["kind"] == SCALER.kind:
        metadata.pop("annotations", None)
        kept = {
            "kind": SCALER.kind,
            "metadata": metadata,
            "spec": {"scaleTargetRef": manifest["spec"]["scaleTargetRef"]},
        }
    if manifest["kind"] == "PodDisruptionBudget":
        kept.pop("status", None)
    return json.dumps(kept, separators=(",", ":"))
