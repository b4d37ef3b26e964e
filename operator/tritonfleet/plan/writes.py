"""What must be written so that the cluster holds what is desired, and nothing if it already does."""

from collections.abc import Iterable, Iterator, Mapping

from tritonfleet.api import names
from tritonfleet.api.conditions import Reason
from tritonfleet.api.resources import HTTP_ROUTE
from tritonfleet.plan import drift
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.serving import Tracks, surplus_records
from tritonfleet.plan.world import Apply, ChildId, Delete, Manifest, Observed, WriteFailure


def applies(desired: Iterable[Manifest], observed: Observed) -> Iterator[Apply]:
    """Return what is missing or differs from what is desired."""
    for manifest in desired:
        target = ChildId(manifest["kind"], manifest["metadata"]["name"])
        existing = observed.children.get(target)
        if existing is None:
            yield Apply(manifest, "Missing", f"{target.kind} {target.name} does not exist", exists=False)
        elif not drift.covers(manifest, existing) and not drift.payload_changed(manifest, existing):
            yield Apply(manifest, "Drifted", f"{target.kind} {target.name} differs from what is wanted", exists=True)


def deletes(
    desired: tuple[Manifest, ...], known: Mapping[str, KnownRevision], tracks: Tracks, observed: Observed, limit: int
) -> Iterator[Delete]:
    """Return what is there and of no more use; of old revisions `limit` records are kept."""
    routed = (observed.body["spec"].get("traffic") or {}).get("gateway")
    for manifest in desired:
        existing = observed.children.get(ChildId(manifest["kind"], manifest["metadata"]["name"]))
        if existing is not None and drift.payload_changed(manifest, existing):
            yield _delete(existing, "Replaced", "its content cannot be changed in place and is not what is wanted")
    for target, child in observed.children.items():
        revision = child["metadata"].get("labels", {}).get(names.REVISION_LABEL)
        # Records outlive their pods: they are what there is to go back to.
        if revision and revision not in tracks.in_use and target.kind != "ControllerRevision":
            yield _delete(child, "Expired", f"revision {revision} serves no longer")
        if target.kind == HTTP_ROUTE.kind and not routed:
            yield _delete(child, "Unwanted", "`traffic.gateway` is not set any more")
    for record in surplus_records(known, tracks.on_record, limit):
        yield _delete(record, "HistoryLimit", f"more than {limit} old revisions are kept")


def _delete(child: Manifest, reason: str, message: str) -> Delete:
    target = ChildId(child["kind"], child["metadata"]["name"])
    return Delete(target, child["metadata"]["uid"], reason, f"{target.kind} {target.name}: {message}")


def foreign_child(desired: Iterable[Manifest], observed: Observed) -> WriteFailure | None:
    """Find an object of a name we need that belongs to somebody else: it is never taken over."""
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
