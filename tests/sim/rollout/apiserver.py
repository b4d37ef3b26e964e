"""An API server reduced to what the operator can tell from outside: apply, delete, versions and refusals."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tritonfleet.plan.world import ChildId, Manifest


class Refusal(Exception):
    """What the API server answers with 409: the world is not what the writer took it for."""


class ApiServer:
    """Objects of one namespace. They are replaced and never changed, so that whoever holds one holds a moment."""

    def __init__(self, body: Manifest) -> None:
        self.body = body
        self.children: dict[ChildId, Manifest] = {}
        self._applied: dict[ChildId, Manifest] = {}
        self._version = 0

    def copy(self) -> "ApiServer":
        """Return another server that goes on from here."""
        other = ApiServer(self.body)
        other.children, other._applied, other._version = dict(self.children), dict(self._applied), self._version
        return other

    def apply(self, manifest: Manifest, now: datetime, *, exists: bool) -> None:
        """Merge what the operator wants into what is there; what it applied before and no longer wants goes away."""
        target = ChildId(manifest["kind"], manifest["metadata"]["name"])
        existing = self.children.get(target)
        if exists != (existing is not None):
            raise Refusal(f"{target.kind} '{target.name}' was taken to {'exist' if exists else 'be missing'}")
        merged = merge(existing or {}, self._applied.get(target, {}), manifest)
        self._applied[target] = manifest
        self._put(target, existing, merged, now)

    def edit(self, target: ChildId, change: Callable[[Manifest], Manifest], now: datetime) -> None:
        """Let somebody else write a child."""
        self._put(target, self.children[target], change(self.children[target]), now)

    def report(self, target: ChildId, status: Manifest) -> None:
        """Let a controller write the status of a child."""
        existing = self.children[target]
        if existing.get("status") != status:
            self.children[target] = {**existing, "status": status, "metadata": self._versioned(existing)}

    def delete(self, target: ChildId, uid: str) -> None:
        """Delete a child, if it is still the one that is meant."""
        existing = self.children.get(target)
        if existing is None:
            return
        if existing["metadata"]["uid"] != uid:
            raise Refusal(f"{target.kind} '{target.name}' is another one than was meant")
        del self.children[target], self._applied[target]

    def edit_body(self, **parts: Any) -> None:
        """Let a person write the ModelDeployment: `spec`, or `annotations`."""
        metadata = dict(self.body["metadata"])
        if "annotations" in parts:
            metadata["annotations"] = parts["annotations"]
        if parts.get("spec", self.body["spec"]) != self.body["spec"]:
            metadata["generation"] += 1
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        self.body = {**self.body, "metadata": metadata, "spec": parts.get("spec", self.body["spec"])}

    def write_status(self, seen: Manifest, status: Manifest, *, guarded: bool) -> None:
        """Write the status over the one that was seen; who is guarded and saw an older one is refused."""
        if guarded and seen["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
            raise Refusal("the ModelDeployment was written meanwhile")
        self._version += 1
        metadata = {**self.body["metadata"], "resourceVersion": str(self._version)}
        self.body = {**self.body, "metadata": metadata, "status": status}

    def _put(self, target: ChildId, existing: Manifest | None, fresh: Manifest, now: datetime) -> None:
        if existing is None:
            kept: Manifest = {
                "uid": f"uid-{self._version + 1}",
                "creationTimestamp": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
                "generation": 1,
            }
        elif fresh == existing:
            return
        else:
            kept = {name: existing["metadata"][name] for name in ("uid", "creationTimestamp", "generation")}
            kept["generation"] += _content(fresh) != _content(existing)
        fresh = {**fresh, "metadata": {**fresh["metadata"], **kept}}
        self.children[target] = {**fresh, "metadata": self._versioned(fresh)}

    def _versioned(self, manifest: Manifest) -> Manifest:
        self._version += 1
        return {**manifest["metadata"], "resourceVersion": str(self._version)}


def merge(existing: Manifest, before: Manifest, after: Manifest) -> Manifest:
    """Return `existing` with `after` applied over it, less what only `before` had; lists are taken whole."""
    kept = {key: value for key, value in existing.items() if key in after or key not in before}
    for key, value in after.items():
        present = existing.get(key)
        if isinstance(value, dict) and isinstance(present, dict) and value != present:
            earlier = before.get(key)
            kept[key] = merge(present, earlier if isinstance(earlier, dict) else {}, value)
        else:
            kept[key] = value
    return kept


def _content(manifest: Manifest) -> Manifest:
    return {key: value for key, value in manifest.items() if key not in ("metadata", "status")}
