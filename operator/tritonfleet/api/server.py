"""`spec.server`: the pods that run Triton."""

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field

from tritonfleet.api.base import (
    LABEL_KEY_RULE,
    POD_LABEL_RULE,
    ApiModel,
    Labels,
    LabelValue,
    ObjectName,
    Rule,
    duration,
    items,
    mapping,
    matching,
    quantity,
    rule,
    text,
)
from tritonfleet.api.environment import EnvironmentSource, EnvironmentVariable
from tritonfleet.api.names import OWNED_FLAGS
from tritonfleet.api.placement import Affinity, Toleration, TopologySpread
from tritonfleet.api.traffic import Annotations
from tritonfleet.api.volumes import VolumeMounts, Volumes


class PullPolicy(StrEnum):
    """Image pull policy."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Image(ApiModel):
    """The Triton image; absent fields come from the operator's settings."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.repository) || has(self.tag) || has(self.digest)",
            "must come with `tag` or `digest`: an unpinned image would change under a running fleet",
            got="self.repository",
            at=".repository",
        ),
    )

    repository: (
        Annotated[
            str,
            matching(
                255,
                r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*$",
                "must be an image repository without tag and digest, in lowercase, such as registry/tritonserver",
            ),
        ]
        | None
    ) = None
    """Repository, such as nvcr.io/nvidia/tritonserver."""
    tag: (
        Annotated[
            str,
            matching(
                128,
                r"^[A-Za-z0-9_][A-Za-z0-9._-]*$",
                "must be an image tag: letters, digits, '_', '.' and '-', such as 26.11-py3",
            ),
        ]
        | None
    ) = None
    """Tag, such as 26.11-py3."""
    digest: (
        Annotated[str, matching(71, r"^sha256:[a-f0-9]{64}$", "must be 'sha256:' and 64 lowercase hexadecimal digits")]
        | None
    ) = None
    """Digest of the image; overrides the tag."""
    pull_policy: PullPolicy | None = None
    """Image pull policy; absent: the default of Kubernetes."""


GPU_RESOURCE: Final = "nvidia.com/gpu"
"""The resource that whole GPUs of NVIDIA are requested as."""


class Gpu(ApiModel):
    """GPUs of each pod."""

    count: Annotated[int, Field(ge=0, le=16)] = 1
    """GPUs per pod; 0 serves on the CPU."""
    resource_name: Annotated[
        str,
        matching(
            127,
            r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$",
            "must be an extended resource such as nvidia.com/gpu or nvidia.com/mig-1g.10gb",
        ),
    ] = GPU_RESOURCE
    """Extended resource of the GPU, or of a MIG slice such as nvidia.com/mig-1g.10gb."""
    product: Annotated[tuple[LabelValue, ...], items(16, list_type="set")] = ()
    """Accepted GPU products, as in the node label nvidia.com/gpu.product; absent: any."""


def _spelled_out(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Quantities = Annotated[
    dict[
        str,
        Annotated[
            str,
            BeforeValidator(_spelled_out),
            Field(
                max_length=48,
                description="An amount, such as 500m, 4 or 16Gi.",
                json_schema_extra={
                    "x-kubernetes-int-or-string": True,
                    "x-kubernetes-validations": [
                        rule(
                            "type(self) == int ? self >= 0 : (isQuantity(self) && sign(quantity(self)) >= 0)",
                            "must be a quantity of at least 0, such as 500m, 4 or 16Gi",
                            got="self",
                        )
                    ],
                },
            ),
        ],
    ],
    mapping(
        16,
        rule(
            "self.all(key, key in ['cpu', 'memory', 'ephemeral-storage'] || key.startsWith('hugepages-')"
            " || (key.matches('^[a-z0-9.-]+/[A-Za-z0-9_.-]+$') && size(key) <= 128"
            " && !key.startsWith('nvidia.com/')))",
            "must only name cpu, memory, ephemeral-storage, hugepages-* and extended resources;"
            " GPUs belong in `server.gpu`",
        ),
    ),
]


class Resources(ApiModel):
    """Resources of one container, except GPUs."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits)"
            " || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
            "must not request more than the limit",
        ),
    )

    requests: Quantities = Field(default_factory=dict)
    """Resource requests in each pod."""
    limits: Quantities = Field(default_factory=dict)
    """Resource limits in each pod."""


PodLabels = Annotated[dict[str, LabelValue], mapping(32, LABEL_KEY_RULE, POD_LABEL_RULE)]

_FLAG = "^--[a-z0-9-]+"

ServerArgument = Annotated[
    str,
    text(
        1024,
        rule(
            "self.matches('^--[a-z][a-z0-9-]*(=.*)?$')",
            "must be a single flag written --name=value",
            got="self",
        ),
        rule(
            # Triton completes a flag that is cut short, and each text that starts with -- and stands in the list
            # is the start of one.
            f"self.find('{_FLAG}') == '' || !'{' '.join(OWNED_FLAGS)}'.contains(self.find('{_FLAG}'))",
            "must not be a flag that the operator sets itself, also not abbreviated: remove it",
            got="self",
        ),
        rule("!self.contains('$(')", "must not refer to an environment variable: write the value", got="self"),
        description="One flag, written --name=value.",
    ),
]


class LocalCache(ApiModel):
    """A cache in the server's memory."""

    size: Annotated[str, quantity("1Mi", "1Ti", "256Mi")]
    """Size of the cache, allocated when the server starts; counts against the memory limit."""


class RedisCache(ApiModel):
    """A cache in Redis, shared by all pods. The image must have Triton's Redis cache."""

    host: Annotated[
        str, matching(253, r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", "must be a host name or an IPv4 address")
    ]
    """Host name of the Redis server."""
    port: Annotated[int, Field(ge=1, le=65535)] = 6379
    """Port of the Redis server."""
    tls: bool = False
    """Whether the connection is encrypted."""
    credentials_secret_name: ObjectName | None = None
    """Secret with the keys `username` and `password`, of which either may be absent."""


class ResponseCache(ApiModel):
    """Where responses are cached; exactly one of the fields."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule("has(self.local) != has(self.redis)", "must set exactly one of `local` and `redis`"),
    )

    local: LocalCache | None = None
    """The memory of each server."""
    redis: RedisCache | None = None
    """A Redis server."""


class Server(ApiModel):
    """The pods that run Triton."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.resources) || [has(self.resources.requests) ? self.resources.requests : {}, "
            "has(self.resources.limits) ? self.resources.limits : {}]"
            ".all(amounts, !(self.gpu.resourceName in amounts))",
            "must not name the resource of `gpu.resourceName`: set `gpu.count` instead",
            got="self.gpu.resourceName",
            at=".resources",
        ),
        rule(
            "!has(self.args) || self.args.all(a, self.args.exists_one(b, a == b))",
            "must not repeat a flag",
            at=".args",
        ),
        rule(
            "!has(self.responseCache) || !has(self.args)"
            " || !self.args.exists(a, a.startsWith('--cache-config') || a.startsWith('--response-cache'))",
            "must be absent when `args` configure a cache: remove them",
            at=".responseCache",
        ),
        rule(
            "!has(self.responseCache) || !has(self.responseCache.local)"
            " || !isQuantity(string(self.responseCache.local.size))"
            " || !has(self.resources) || !has(self.resources.limits) || !('memory' in self.resources.limits)"
            " || !isQuantity(string(self.resources.limits['memory']))"
            " || quantity(string(self.responseCache.local.size)).compareTo("
            "quantity(string(self.resources.limits['memory']))) < 0",
            "must be below the memory limit of `resources`, which the model needs too",
            got="self.responseCache.local.size",
            at=".responseCache.local.size",
        ),
        rule(
            "!has(self.volumeMounts) || self.volumeMounts.all(mount,"
            " has(self.volumes) && self.volumes.exists(volume, volume.name == mount.name))",
            "must only mount what `volumes` names",
            at=".volumeMounts",
        ),
    )

    image: Image | None = None
    """The Triton image; the operator's default when absent."""
    allow_unsafe_image: bool = False
    """Whether to allow a release of Triton with published vulnerabilities."""
    gpu: Gpu = Gpu()
    """GPUs of each pod."""
    resources: Resources | None = None
    """CPU, memory and other resources of the server's container."""
    fetch_resources: Resources | None = None
    """Resources of the init container that fetches the model; absent: the administrator's."""
    proxy_resources: Resources | None = None
    """Resources of the HTTP proxy beside the server; absent: the administrator's."""
    shared_memory: Annotated[str, quantity("1Mi", "1Ti", "1Gi")] = "1Gi"
    """Size of /dev/shm, which python and LLM backends use; counts against the memory limit."""
    env: Annotated[tuple[EnvironmentVariable, ...], items(64, key="name")] = ()
    """Environment variables of the server."""
    env_from: Annotated[tuple[EnvironmentSource, ...], items(16)] = ()
    """ConfigMaps and Secrets whose keys become environment variables of the server; `env` wins over them."""
    volumes: Volumes = ()
    """Storage of this namespace for the server, beside the model's."""
    volume_mounts: VolumeMounts = ()
    """Where the server sees `volumes`."""
    args: Annotated[tuple[ServerArgument, ...], items(64)] = ()
    """Extra flags of tritonserver; those that the operator sets are rejected."""
    response_cache: ResponseCache | None = None
    """Caches the model's responses, so that an equal request is not computed again.

    Not for models with `decoupled` or `batching.sequence`, or whose answers to equal requests differ."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], items(16)] = ()
    """Taints that the pods tolerate."""
    affinity: Affinity | None = None
    """Affinity of the pods."""
    topology_spread: Annotated[tuple[TopologySpread, ...], items(4, key="topologyKey")] = ()
    """Topology spread of the pods; absent: over hosts."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods; `system-*`, and others if the administrator has a list, are refused."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods; refused if the administrator has a list without it."""
    scheduler_name: ObjectName | None = None
    """Scheduler of the pods."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods; its token is not mounted, but the model is fetched with its identity in a cloud."""
    image_pull_secrets: Annotated[tuple[ObjectName, ...], items(8, list_type="set")] = ()
    """Image pull Secrets."""
    pod_labels: PodLabels = Field(default_factory=dict)
    """Labels of the pods, such as Kueue's queue or a service mesh's injection."""
    pod_annotations: Annotations = Field(default_factory=dict)
    """Annotations of the pods."""
    startup_timeout: Annotated[str, duration("10s", "6h")] = "10m"
    """How long Triton may take to load the model; not above `rollout.progressDeadline`."""
    drain_timeout: Annotated[str, duration("1s", "1h")] = "30s"
    """How long requests in flight may take when a pod terminates."""
    grpc_max_connection_age: Annotated[str, duration("1s", "24h")] = "10s"
    """Maximum age of gRPC connections; clients then reconnect and find new pods."""
