"""Metadata that every child carries."""

from tritonfleet.api import names
from tritonfleet.plan.world import Manifest


def shared_metadata(owner: Manifest) -> Manifest:
    """Return the metadata of a child that all revisions share; `owner` holds name, namespace and uid."""
    return _metadata(owner, str(owner["name"]), names.owner_labels(owner["name"]))


def revision_metadata(owner: Manifest, revision_hash: str) -> Manifest:
    """Return the metadata of a child that belongs to one revision."""
    name = names.revision_name(owner["name"], revision_hash)
    return _metadata(owner, name, names.revision_labels(owner["name"], revision_hash))


def _metadata(owner: Manifest, name: str, labels: dict[str, str]) -> Manifest:
    return {
        "name": name,
        "namespace": owner["namespace"],
        "labels": labels,
        "ownerReferences": [names.owner_reference(owner)],
    }
