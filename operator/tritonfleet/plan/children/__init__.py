"""The Kubernetes objects that one ModelDeployment needs, one builder per kind."""

from tritonfleet.plan.children.assembly import (
    linger_seconds,
    revision_children,
    revision_deployment,
    shared_children,
)
from tritonfleet.plan.children.httproute import refuse_unroutable
from tritonfleet.plan.children.revision import Revision, build_revision, revision_from
from tritonfleet.plan.children.shedding import UNLEARNED, Learned

__all__ = [
    "UNLEARNED",
    "Learned",
    "Revision",
    "build_revision",
    "linger_seconds",
    "refuse_unroutable",
    "revision_children",
    "revision_deployment",
    "revision_from",
    "shared_children",
]
