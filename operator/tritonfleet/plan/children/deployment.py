"""The Deployment that runs the pods of one revision."""

from tritonfleet.api import names
from tritonfleet.plan.children.metadata import revision_metadata
from tritonfleet.plan.world import Manifest


def deployment(
    owner: Manifest,
    revision_hash: str,
    number: int,
    *,
    replicas: int,
    template: Manifest,
    progress_deadline_seconds: int,
) -> Manifest:
    """Return the Deployment; its template is the frozen one of the revision, so it never rolls by itself."""
    metadata = revision_metadata(owner, revision_hash)
    metadata["annotations"] = {names.REVISION_NUMBER_ANNOTATION: str(number)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": names.serving_selector(owner["name"], revision_hash)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "progressDeadlineSeconds": progress_deadline_seconds,
            "revisionHistoryLimit": 1,
            "template": template,
        },
    }
