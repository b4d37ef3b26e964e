"""`spec.traffic`: how clients reach the model."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tritonfleet.api.base import ApiModel, mapping, text
from tritonfleet.api.reserved import ANNOTATION_RULES


class ServiceType(StrEnum):
    """How the Service is exposed."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


Annotations = Annotated[
    dict[str, Annotated[str, text(4096, min_length=0, description="Value of the annotation.")]],
    mapping(32, *ANNOTATION_RULES),
]


class TrafficService(ApiModel):
    """The Service in front of the serving revision."""

    type: ServiceType = ServiceType.CLUSTER_IP
    """ClusterIP, NodePort or LoadBalancer."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the Service, such as a cloud's load balancer settings."""


class Traffic(ApiModel):
    """How clients reach the model."""

    service: TrafficService = TrafficService()
    """The Service in front of the serving revision, named after this object."""
