"""`spec.traffic`: the Service and the Gateway in front of the model."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tritonfleet.api.base import ANNOTATION_RULES, DNS_SUBDOMAIN, ApiModel, ObjectName, items, mapping, matching, text


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


class GatewayReference(ApiModel):
    """A Gateway that admits routes from this namespace."""

    name: Annotated[ObjectName, Field(description="Name of the Gateway.")]
    namespace: (
        Annotated[str, matching(63, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "must be the name of a namespace")] | None
    ) = None
    """Namespace of the Gateway, whose `allowedRoutes` must admit this one; absent: this namespace."""
    section_name: Annotated[str, matching(253, DNS_SUBDOMAIN, "must be the name of a listener")] | None = None
    """One listener of the Gateway; absent: all that match."""


HOSTNAME = r"^([*]\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"


class ConsistentHash(ApiModel):
    """Sends requests with the same value of a header to the same pod, while the pods stay the same."""

    header: Annotated[
        str, matching(256, "^[A-Za-z0-9!#$%&*+.^_`|~-]+$", "must be the name of a header, such as X-Sequence-Id")
    ]
    """Header, or gRPC metadata, that clients set on every request."""


class TrafficGateway(ApiModel):
    """Gateways for requests from outside; they split traffic exactly during a canary."""

    parent_refs: Annotated[tuple[GatewayReference, ...], Field(min_length=1), items(4)]
    """The Gateways."""
    hostnames: Annotated[
        tuple[
            Annotated[
                str,
                matching(253, HOSTNAME, "must be a host name such as model.example.com"),
                Field(description="A host."),
            ],
            ...,
        ],
        items(16, list_type="set"),
    ] = ()
    """Host names to match; absent: all of the listeners."""
    consistent_hash: ConsistentHash | None = None
    """Sends all requests with one value of a header to the same pod, as models with sequence batching need; with
    Envoy Gateway only."""


class Traffic(ApiModel):
    """How clients reach the model."""

    gateway: TrafficGateway | None = None
    """Gateway API: creates an HTTPRoute named after this object, for HTTP and gRPC; absent: the Service alone, where a
    canary's share is its share of the pods."""
    service: TrafficService = TrafficService()
    """The Service in front of the serving revision, named after this object."""
