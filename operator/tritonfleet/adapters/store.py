"""The last seen state of every object that concerns us: the only cache, filled by watches and by our own writes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tritonfleet.api import names
from tritonfleet.plan.world import ChildId, Manifest


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


class Store:
    """Objects by identity and by the ModelDeployment they belong to.

    An object never becomes older: whatever carries a lower resourceVersion than what is stored is ignored, so that a
    late watch event cannot undo what a write of ours has already answered.
    """

    def __init__(self) -> None:
        self._objects: dict[ObjectId, Manifest] = {}
        self._by_owner: dict[Key, dict[ChildId, Manifest]] = defaultdict(dict)

    def put(self, manifest: Manifest) -> frozenset[Key]:
        """Remember an object; return the ModelDeployments whose view of the world changed by it."""
        identity = identify(manifest)
        before = self._objects.get(identity)
        if before is not None and version_of(manifest) <= version_of(before):
            return frozenset()
        # A third of every object, read by nobody here.
        manifest["metadata"].pop("managedFields", None)
        self._objects[identity] = manifest
        self._unlink(identity, before)
        self._link(identity, manifest)
        if before is not None and _same_to_us(before, manifest):
            return frozenset()
        return _owners(before, manifest)

    def remove(self, manifest: Manifest) -> frozenset[Key]:
        """Forget an object that was deleted; a later one of the same name stays."""
        identity = identify(manifest)
        before = self._objects.get(identity)
        if before is None or before["metadata"]["uid"] != manifest["metadata"]["uid"]:
            return frozenset()
        del self._objects[identity]
        self._unlink(identity, before)
        return _owners(before)

    def body(self, key: Key) -> Manifest | None:
        """Return the ModelDeployment itself."""
        return self._objects.get(ObjectId(names.KIND, *key))

    def known(self) -> list[Key]:
        """Return every ModelDeployment there is."""
        return [Key(each.namespace, each.name) for each in self._objects if each.kind == names.KIND]

    def children(self, key: Key) -> Mapping[ChildId, Manifest]:
        """Return every object labelled as this ModelDeployment's, but its pods."""
        return {child: body for child, body in self._by_owner.get(key, {}).items() if child.kind != "Pod"}

    def pods(self, key: Key) -> tuple[Manifest, ...]:
        """Return the pods labelled as this ModelDeployment's, by name."""
        owned = self._by_owner.get(key, {})
        return tuple(owned[child] for child in sorted(owned) if child.kind == "Pod")

    def outdated(
        self, kind: str, namespace: str | None, listed: Iterable[Manifest], as_of: int
    ) -> tuple[list[ObjectId], list[ObjectId]]:
        """Compare with a complete list taken at resourceVersion `as_of`: what we lack or hold too old, what is gone.

        `listed` needs metadata only, and covers one namespace or, if that is None, all. An object that is newer than
        the list is neither.
        """
        versions = {
            ObjectId(kind, item["metadata"]["namespace"], item["metadata"]["name"]): version_of(item) for item in listed
        }
        missed = [
            identity
            for identity, version in versions.items()
            if identity not in self._objects or version_of(self._objects[identity]) < version
        ]
        gone = [
            identity
            for identity, body in self._objects.items()
            if identity.kind == kind and namespace in (None, identity.namespace)
            if identity not in versions and version_of(body) <= as_of
        ]
        return missed, gone

    def forget(self, identity: ObjectId) -> frozenset[Key]:
        """Forget an object that no list shows any more."""
        body = self._objects.get(identity)
        return self.remove(body) if body is not None else frozenset()

    def _link(self, identity: ObjectId, manifest: Manifest) -> None:
        owner = owner_key(manifest)
        if owner is not None and identity.kind != names.KIND:
            self._by_owner[owner][ChildId(identity.kind, identity.name)] = manifest

    def _unlink(self, identity: ObjectId, before: Manifest | None) -> None:
        owner = owner_key(before)
        owned = self._by_owner.get(owner) if owner is not None else None
        if owner is not None and owned is not None:
            owned.pop(ChildId(identity.kind, identity.name), None)
            if not owned:
                del self._by_owner[owner]


def identify(manifest: Manifest) -> ObjectId:
    """Return which object this is."""
    metadata = manifest["metadata"]
    return ObjectId(manifest["kind"], metadata["namespace"], metadata["name"])


def version_of(manifest: Manifest) -> int:
    """Return the resourceVersion, which Kubernetes (1.35 and later officially) lets clients compare as a number."""
    return int(manifest["metadata"]["resourceVersion"])


def owner_key(manifest: Manifest | None) -> Key | None:
    """Return the ModelDeployment that an object is, or is labelled as belonging to."""
    if manifest is None:
        return None
    metadata = manifest["metadata"]
    if manifest["kind"] == names.KIND:
        return Key(metadata["namespace"], metadata["name"])
    owner = (metadata.get("labels") or {}).get(names.OWNER_LABEL)
    return Key(metadata["namespace"], owner) if owner else None


def _owners(*manifests: Manifest | None) -> frozenset[Key]:
    return frozenset(key for key in map(owner_key, manifests) if key is not None)


def _same_to_us(before: Manifest, after: Manifest) -> bool:
    """Tell whether nothing changed that a decision looks at: the status of a PodDisruptionBudget is of no use to us."""
    ignored = {"metadata", "status"} if after["kind"] == "PodDisruptionBudget" else {"metadata"}
    parts = (before.keys() | after.keys()) - ignored
    return _essence(before) == _essence(after) and all(before.get(part) == after.get(part) for part in parts)


def _essence(manifest: Manifest) -> Manifest:
    return {name: value for name, value in manifest["metadata"].items() if name != "resourceVersion"}
