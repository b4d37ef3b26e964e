"""The ControllerRevision: a revision as it was first written, never rendered anew."""

from tritonfleet.plan.children.metadata import revision_metadata
from tritonfleet.plan.world import Manifest


def controller_revision(owner: Manifest, revision_hash: str, number: int, data: Manifest) -> Manifest:
    """Return the record of a revision; `data` is what `Revision.data` holds, `number` counts from 1."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": revision_metadata(owner, revision_hash),
        "revision": number,
        "data": data,
    }
