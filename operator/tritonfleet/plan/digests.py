"""What a revision's pods really run, as they report it: the image's digest and the digest of the model's files."""

import json

from tritonfleet.plan.objects import TRITON
from tritonfleet.plan.world import Manifest


def image_digest(pods: tuple[Manifest, ...]) -> str | None:
    """Return the digest of Triton's image, `sha256:...`; None until a container has run."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses") or ():
            if container["name"] == TRITON and container.get("imageID"):
                return str(container["imageID"]).rpartition("@")[2]
    return None


def model_digest(pods: tuple[Manifest, ...]) -> str | None:
    """Return what the fetch step reported when it ended well."""
    for pod in pods:
        for container in pod.get("status", {}).get("initContainerStatuses") or ():
            ended = container.get("state", {}).get("terminated") or {}
            if container["name"] == "fetch" and ended.get("exitCode") == 0 and ended.get("message"):
                return _digest_in(ended["message"])
    return None


def _digest_in(message: str) -> str | None:
    try:
        report = json.loads(message)
    except ValueError:
        return None
    digest = report.get("digest") if isinstance(report, dict) else None
    return digest if isinstance(digest, str) else None
