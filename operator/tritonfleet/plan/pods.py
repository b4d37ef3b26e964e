"""What one pod says of itself."""

from datetime import datetime

from tritonfleet.plan.world import Manifest


def has_ended(pod: Manifest) -> bool:
    """Tell whether the pod has ended for good: it holds nothing any more."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_ending(pod: Manifest) -> bool:
    """Tell whether the pod is being deleted: it serves no longer, and holds what it has until it is gone."""
    return "deletionTimestamp" in pod["metadata"]


def exists(pod: Manifest) -> bool:
    """Tell whether a pod runs or may yet: it is not being deleted and has not ended for good."""
    return not has_ended(pod) and not is_ending(pod)


def created_at(pod: Manifest) -> datetime:
    """Return when the pod was written down."""
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"])


def is_ready(pod: Manifest) -> bool:
    """Tell whether the kubelet calls the pod ready."""
    return _condition(pod, "Ready").get("status") == "True"


def ready_since(pod: Manifest) -> datetime | None:
    """Return when the pod became ready; None if it is not."""
    condition = _condition(pod, "Ready")
    return _since(condition) if condition.get("status") == "True" else None


def unready_since(pod: Manifest) -> datetime | None:
    """Return since when the kubelet calls the pod not ready; None if it does not."""
    condition = _condition(pod, "Ready")
    return _since(condition) if condition.get("status", "True") != "True" else None


def unschedulable(pod: Manifest) -> Manifest | None:
    """Return the condition by which the scheduler says that no node can take the pod; None if it does not."""
    condition = _condition(pod, "PodScheduled")
    refused = condition.get("reason") == "Unschedulable" and condition["status"] == "False"
    return condition if refused else None


def _since(condition: Manifest) -> datetime:
    return datetime.fromisoformat(condition["lastTransitionTime"])


def _condition(pod: Manifest, kind: str) -> Manifest:
    return next((each for each in pod.get("status", {}).get("conditions") or () if each["type"] == kind), {})
