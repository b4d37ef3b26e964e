"""The ConfigMap that brings a revision's configuration into its pods."""

from typing import Final

from tritonfleet.plan.children.metadata import revision_metadata
from tritonfleet.plan.world import Manifest

CONFIG_KEY: Final = "tritonfleet.pbtxt"
"""Where the model's configuration is, in protobuf text form."""


def config_map(owner: Manifest, revision_hash: str, config: dict[str, str]) -> Manifest:
    """Return the immutable ConfigMap; `config` maps the name of each file to its text."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": revision_metadata(owner, revision_hash),
        "immutable": True,
        "data": config,
    }
