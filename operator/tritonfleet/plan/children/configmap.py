"""The ConfigMap that brings a revision's model configuration to its fetch step."""

from typing import Final

from tritonfleet.plan.children.metadata import revision_metadata
from tritonfleet.plan.world import Manifest

CONFIG_KEY: Final = "tritonfleet.pbtxt"


def config_map(owner: Manifest, revision_hash: str, config: str) -> Manifest:
    """Return the immutable ConfigMap that holds `config` in protobuf text form."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": revision_metadata(owner, revision_hash),
        "immutable": True,
        "data": {CONFIG_KEY: config},
    }
