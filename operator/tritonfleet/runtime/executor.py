"""Execute a plan: apply and delete children, write the status, post events.

Decides the order of the writes (what pods need comes first) and interprets the API server's responses: a
rejection becomes a `WriteRefused` for the status, a concurrent change becomes a Conflict and another decision. What an
admission policy changed is remembered in the store, or reported like a rejection if the model cannot be served with it.
Each response goes into the store, so that the next decision sees it before the watch does. Called by the workers in
`controller.py`, and by `app.py` on shutdown.
"""

import asyncio
import uuid
from collections.abc import Iterable
from datetime import datetime

from tritonfleet.adapters.cluster import Cluster
from tritonfleet.adapters.store import Key, Store, owner_key
from tritonfleet.api import names
from tritonfleet.api.conditions import Reason
from tritonfleet.errors import Conflict, Refused, Transient, TritonfleetError
from tritonfleet.plan.world import Accepted, Apply, ChildId, Delete, Event, Manifest, WriteFailure
from tritonfleet.plan.writes import admission_changes, digest, refused_changes, surplus
from tritonfleet.runtime.telemetry import Telemetry

BEFORE_PODS = frozenset({"ControllerRevision", "ConfigMap", "NetworkPolicy"})
"""Kinds that must exist before pods: they record, configure or protect them."""


def needed_by_pods(apply: Apply) -> bool:
    """Return whether pods need this child to start."""
    return apply.target.kind == "Deployment" or apply.target.kind in BEFORE_PODS


class WriteRefused(TritonfleetError):
    """The API server rejected a child; reported in the status."""

    def __init__(self, failure: WriteFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Executor:
    """Writes to the cluster, and the responses to the store, so that the next decision sees them."""

    def __init__(self, cluster: Cluster, store: Store, telemetry: Telemetry) -> None:
        self._cluster = cluster
        self._store = store
        self._telemetry = telemetry

    async def apply(self, key: Key, applies: Iterable[Apply], guard: Manifest | None = None) -> None:
        """Apply children in dependency order; all of a wave are tried before its first error is raised.

        `guard` is the ModelDeployment of the decision: if it has changed, Conflict is raised and
        nothing is written.
        """
        if guard is not None:
            await self._refuse_if_changed(key, guard, "written")
        waves: tuple[list[Apply], list[Apply]] = ([], [])
        for apply in applies:
            waves[apply.target.kind not in BEFORE_PODS].append(apply)
        for wave in waves:
            outcomes = await asyncio.gather(*(self._apply(key, each) for each in wave), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _apply(self, key: Key, apply: Apply) -> None:
        try:
            answer = await (self._update(key, apply) if apply.exists else self._create(key, apply))
            added = surplus(apply.manifest, answer)
            if added:
                # Server-side apply leaves fields of others alone. What is there afterwards was added by admission.
                answer = await self._cluster.remove(answer, added)
        except Refused as refusal:
            message = f"{apply.target.kind} '{apply.target.name}' was rejected by the API server: {refusal.message}"
            reason = Reason.QUOTA_EXCEEDED if "exceeded quota" in refusal.message else Reason.WRITE_REFUSED
            raise WriteRefused(WriteFailure(apply.target, reason, message)) from refusal
        self._telemetry.wrote(key)
        self._store.put(answer)
        added = surplus(apply.manifest, answer)
        changes = admission_changes(apply.manifest, answer)
        known = Accepted(digest(apply.manifest), changes, added) if changes or added else None
        self._store.accept(answer, known)
        failure = refused_changes(apply.manifest, answer, changes)
        if failure is not None:
            raise WriteRefused(failure)

    async def _update(self, key: Key, apply: Apply) -> Manifest:
        known = self._store.children(key).get(apply.target)
        if known is None:
            raise Conflict(f"{apply.target.kind} '{apply.target.name}' was deleted before it was updated")
        # The uid prevents overwriting another object of the same name.
        metadata = apply.manifest["metadata"] | {"uid": known["metadata"]["uid"]}
        return await self._cluster.apply({**apply.manifest, "metadata": metadata})

    async def _create(self, key: Key, apply: Apply) -> Manifest:
        try:
            return await self._cluster.apply_new(apply.manifest)
        except Conflict:
            live = await self._cluster.get(apply.target.kind, key.namespace, apply.target.name)
        if live is None:
            raise Transient(f"{apply.target.kind} '{apply.target.name}' was deleted while it was created")
        if owner_key(live) == key:
            # Ours, or a leftover of a deleted ModelDeployment of the same name: the next decision finds out.
            self._store.put(live)
            raise Conflict(f"{apply.target.kind} '{apply.target.name}' already exists but was not observed yet")
        if _controller_uid(live) != _controller_uid(apply.manifest):
            raise WriteRefused(_name_conflict(apply.target))
        metadata = apply.manifest["metadata"] | {"uid": live["metadata"]["uid"]}
        return await self._cluster.apply({**apply.manifest, "metadata": metadata})

    async def delete(self, key: Key, body: Manifest, deletes: Iterable[Delete]) -> None:
        """Delete children, after checking that the ModelDeployment has not changed since the decision.

        Raises Conflict if it is not.
        """
        await self._refuse_if_changed(key, body, "deleted")
        await asyncio.gather(*(self._delete(key, each) for each in deletes))

    async def _refuse_if_changed(self, key: Key, body: Manifest, done: str) -> None:
        live = await self._cluster.get(names.KIND, *key)
        if live is None or intent_of(live) != intent_of(body):
            if live is not None:
                self._store.put(live)
            raise Conflict(f"the ModelDeployment changed before anything was {done}")

    async def _delete(self, key: Key, delete: Delete) -> None:
        remains = await self._cluster.delete(delete.target.kind, key.namespace, delete.target.name, uid=delete.uid)
        self._telemetry.wrote(key)
        if remains is not None:
            self._store.put(remains)
        else:
            known = self._store.children(key).get(delete.target)
            if known is not None and known["metadata"]["uid"] == delete.uid:
                self._store.remove(known)

    async def write_status(self, key: Key, body: Manifest, status: Manifest, *, guarded: bool = False) -> bool:
        """Write the status if it changed; return whether it did.

        `guarded`: raises Conflict if anything about the object has changed since.
        """
        if status == body.get("status"):
            return False
        metadata = {"namespace": key.namespace, "name": key.name, "uid": body["metadata"]["uid"]}
        if guarded:
            metadata["resourceVersion"] = body["metadata"]["resourceVersion"]
        answer = await self._cluster.apply_status(
            {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "status": status}
        )
        if answer is not None:
            self._store.put(answer)
        return answer is not None

    async def post(self, body: Manifest, events: Iterable[Event], now: datetime) -> None:
        """Post the events; a failure raises Conflict, Refused or Transient and loses only the events."""
        await asyncio.gather(*(self._cluster.create(_event_manifest(body, event, now)) for event in events))


def _controller_uid(manifest: Manifest) -> str | None:
    references = manifest["metadata"].get("ownerReferences") or ()
    return next((str(each["uid"]) for each in references if each.get("controller")), None)


def intent_of(body: Manifest) -> tuple[object, ...]:
    """Return the fields that invalidate a guarded decision if they change."""
    metadata, rollout = body["metadata"], (body.get("status") or {}).get("rollout")
    return metadata["uid"], metadata["generation"], "deletionTimestamp" in metadata, rollout


def _name_conflict(target: ChildId) -> WriteFailure:
    message = (
        f"{target.kind} '{target.name}' exists and does not belong to this ModelDeployment: "
        "delete or rename it, or give this ModelDeployment another name"
    )
    return WriteFailure(target, Reason.NAME_CONFLICT, message)


def _event_manifest(body: Manifest, event: Event, now: datetime) -> Manifest:
    metadata = body["metadata"]
    timestamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": metadata["namespace"], "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}"},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": event.type,
        "reason": event.reason,
        # The limit of the API server.
        "message": event.message[:1024],
        "source": {"component": names.FIELD_MANAGER},
        "firstTimestamp": timestamp,
        "lastTimestamp": timestamp,
        "count": 1,
    }
