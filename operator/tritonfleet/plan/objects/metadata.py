"""What all objects of a ModelDeployment have in common: metadata, ports, keys, and what is copied as it is.

Every builder in this package uses it. Names and labels themselves come from `api/names.py`, since the layers outside
select by them; here they become the `metadata` of an object that belongs to its ModelDeployment (its `owner`). What all
revisions share is named like the ModelDeployment, `detector`; what belongs to one revision carries its hash as well,
`detector-0123456789`. Kubernetes deletes both kinds with their owner.
"""

from typing import Final

from tritonfleet.api import names
from tritonfleet.api.base import ApiModel
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.world import Manifest

PORTS: Final = {"http": 8000, "grpc": 8001, "metrics": 8002}
"""The ports of a pod, by the name they have in pods and Services."""
TRITON_HTTP_PORT: Final = 8010
"""Where Triton itself speaks HTTP, behind the proxy."""

CONFIG_KEY: Final = "tritonfleet.pbtxt"
"""Where a revision's ConfigMap holds the model's configuration, in protobuf text form."""
PROXY_KEY: Final = "haproxy.cfg"
"""Where it holds the proxy's configuration."""


def owner_of(deployment: ModelDeployment) -> Manifest:
    """Return what the builders need to know of the object that owns the others."""
    metadata = deployment.metadata
    return {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}


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


def plain(model: ApiModel) -> Manifest:
    """Return the object in the words of Kubernetes, without defaults.

    An empty `value` is left out as well, as the API server does: it would look like drift for ever.
    """
    found = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if found.get("value") == "":
        del found["value"]
    return found
