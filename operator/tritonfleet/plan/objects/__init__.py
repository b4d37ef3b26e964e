"""The Kubernetes objects that one ModelDeployment needs.

From the spec and the operator's defaults `build_revision()` decides what the pods of a revision are made of;
`revision_children()` and `shared_children()` render the objects that `plan/reconcile.py` compares with the cluster. The
same arguments give the same objects, byte for byte. Import from here and not from the modules inside.
"""

from tritonfleet.plan.objects.containers import CONFIG_KEY, CONFIG_SUFFIX, PORTS, TRITON
from tritonfleet.plan.objects.httproute import (
    PLACES,
    SPLIT_RULES,
    assign_places,
    backends,
    http_route,
    refuse_unroutable,
    split_seen,
    split_written,
    statuses_by_parent,
)
from tritonfleet.plan.objects.manifests import (
    controller_revision,
    front_service,
    linger_seconds,
    revision_children,
    revision_deployment,
    shared_children,
    trial_objects,
)
from tritonfleet.plan.objects.pod import GPU_PRODUCT_LABEL
from tritonfleet.plan.objects.revision import (
    HASH_LENGTH,
    POD_FIELDS,
    UNLEARNED,
    Learned,
    Revision,
    build_revision,
    hash_spec,
    image_of,
    normalized_spec,
    readable_spec,
    revision_from,
    shed_load,
)

__all__ = [
    "CONFIG_KEY",
    "CONFIG_SUFFIX",
    "GPU_PRODUCT_LABEL",
    "HASH_LENGTH",
    "PLACES",
    "POD_FIELDS",
    "PORTS",
    "SPLIT_RULES",
    "TRITON",
    "UNLEARNED",
    "Learned",
    "Revision",
    "assign_places",
    "backends",
    "build_revision",
    "controller_revision",
    "front_service",
    "hash_spec",
    "http_route",
    "image_of",
    "linger_seconds",
    "normalized_spec",
    "readable_spec",
    "refuse_unroutable",
    "revision_children",
    "revision_deployment",
    "revision_from",
    "shared_children",
    "shed_load",
    "split_seen",
    "split_written",
    "statuses_by_parent",
    "trial_objects",
]
