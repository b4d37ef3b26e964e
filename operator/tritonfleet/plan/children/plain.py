"""Parts of the spec that go into a pod as they are."""

from tritonfleet.api.base import ApiModel
from tritonfleet.plan.world import Manifest


def plain(model: ApiModel) -> Manifest:
    """Return the object in the words of Kubernetes, without defaults.

    An empty `value` is left out as well, as the API server does: it would look like drift for ever.
    """
    found = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if found.get("value") == "":
        del found["value"]
    return found
