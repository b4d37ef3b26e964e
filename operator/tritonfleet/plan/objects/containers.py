"""The containers of a pod, what they mount, and how the pod starts and ends.

A pod has three containers: the init container `fetch` brings the model's files and holds the store's credentials,
`triton` runs tritonserver and never sees them, and `http` is a proxy in front of Triton's HTTP port that drains
connections where Triton would drop them. `Lifecycle` computes their times from `spec.server`. By default (maximum
connection age 10s, drain timeout 30s):

    connections_gone  ceil(10 x 1.1) + 2        = 13   no gRPC connection leads to the pod anymore
    pre_stop          max(10 + 23 + 2, 13)      = 35   at most 60; then Triton gets SIGTERM
    proxy_drain       35 - 10 + 30              = 55   how long the proxy waits for requests in flight
    grace             35 + 30 + 15              = 80   then the kubelet kills the pod
    linger            max(2, 13 - 35)           = 2    how long an old revision stays when it no longer serves

`pod.py` puts the containers together; `manifests.py` and `revision.py` read `Lifecycle` as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tritonfleet.api.base import ApiModel
from tritonfleet.api.modeldeployment import ModelDeploymentSpec
from tritonfleet.api.quantities import canonical_quantities, canonical_quantity, duration_seconds
from tritonfleet.api.server import Resources, Server
from tritonfleet.api.volumes import Volume
from tritonfleet.plan.world import Defaults, Manifest

PORTS: Final = {"http": 8000, "grpc": 8001, "metrics": 8002}
"""The ports of a pod, by the name they have in pods and Services."""
TRITON_HTTP_PORT: Final = 8010
"""Where Triton itself speaks HTTP, behind the proxy."""

CONFIG_SUFFIX: Final = ".pbtxt"
CONFIG_KEY: Final = f"tritonfleet{CONFIG_SUFFIX}"
"""Where a revision's ConfigMap holds the model's configuration, in protobuf text form."""
PROXY_KEY: Final = "haproxy.cfg"
"""Where it holds the proxy's configuration."""

MODELS_PATH: Final = "/models"
CONFIG_PATH: Final = "/config"
_SOURCE: Final = "source"
"""The volume of a claim with models; further ones are numbered from 1."""
HOME_PATH: Final = "/home/triton"

AUTHORITIES: Final = "authorities"
"""The volume with certificates of private authorities, which the fetch step trusts."""

_PATHS: Final = {
    "models": MODELS_PATH,
    "config": CONFIG_PATH,
    "home": HOME_PATH,
    "tmp": "/tmp",  # noqa: S108
    "shm": "/dev/shm",  # noqa: S108
    AUTHORITIES: "/authorities",
}
_READ_ONLY: Final = frozenset({"config", AUTHORITIES})


def plain(model: ApiModel) -> Manifest:
    """Return the object in the words of Kubernetes, without defaults.

    An empty `value` is left out as well, as the API server does: it would always look like drift.
    """
    found = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if found.get("value") == "":
        del found["value"]
    return found


def volumes(config_map_name: str, server: Server, claims: Sequence[str], authorities: str) -> list[Manifest]:
    """Return the volumes: those of every pod, then the user's own. `claims` are those with models."""
    found: list[Manifest] = [
        {"name": "models", "emptyDir": {}},
        {"name": "config", "configMap": {"name": config_map_name}},
        {"name": "home", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": canonical_quantity(server.shared_memory)}},
    ]
    for number, claim in enumerate(claims):
        found.append({"name": source_volume(number), "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    if authorities:
        # A namespace may lack it: public hosts need no further authority.
        found.append({"name": AUTHORITIES, "configMap": {"name": authorities, "optional": True}})
    return found + [_volume(volume) for volume in server.volumes]


def _volume(volume: Volume) -> Manifest:
    found = plain(volume)
    if volume.empty_dir is not None and volume.empty_dir.size_limit is not None:
        found["emptyDir"]["sizeLimit"] = canonical_quantity(volume.empty_dir.size_limit)
    return found


def mounts(*names: str, read_only: frozenset[str] = frozenset()) -> list[Manifest]:
    """Return the mounts of the named volumes; those of claims are mounted under their own names."""
    return [
        {
            "name": name,
            "mountPath": _PATHS.get(name, f"/{name}"),
            **({"readOnly": True} if name in _READ_ONLY | read_only or name.startswith(_SOURCE) else {}),
        }
        for name in names
    ]


def source_volume(number: int) -> str:
    """Return the name of the volume of a claim, by its place among `claims_of()`."""
    return f"{_SOURCE}-{number}" if number else _SOURCE


PROBE_PERIOD_SECONDS: Final = 2
PROXY_PRE_STOP_SECONDS: Final = 10
"""From leaving the Services until the proxy refuses new HTTP connections: gateways are slow to notice."""
IDLE_SECONDS: Final = 23
"""How long the proxy keeps an idle HTTP connection.

Not a round number, so that a client that polls at regular intervals does not hit the closing connection.
"""
HTTP_AGE_SECONDS: Final = 10
"""Age at which the proxy closes a busy HTTP connection with its next response, so that clients find new pods."""
_HTTP_GONE_SECONDS: Final = PROXY_PRE_STOP_SECONDS + IDLE_SECONDS + 2
LONGEST_PRE_STOP_SECONDS: Final = 60
GRACE_MARGIN_SECONDS: Final = 15
"""Triton needs 3 to 6 s to unload after its last request, and 10 s more if a request would not end."""

AGE_JITTER: Final = 1.1
"""gRPC closes a connection up to 10% later than its age."""
PROPAGATION_SECONDS: Final = 2
"""From a change of endpoints until every node uses it."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The timeouts of one pod, in seconds."""

    startup: float
    drain: float
    connection_age: float

    @classmethod
    def of(cls, server: Server) -> "Lifecycle":
        """Compute the timeouts from the spec; raises InvalidSpec for an invalid duration."""
        return cls(
            startup=duration_seconds(server.startup_timeout),
            drain=duration_seconds(server.drain_timeout),
            connection_age=duration_seconds(server.grpc_max_connection_age),
        )

    @property
    def connections_gone(self) -> int:
        """Seconds after which no earlier gRPC connection leads to the pod."""
        return math.ceil(self.connection_age * AGE_JITTER) + PROPAGATION_SECONDS

    @property
    def pre_stop(self) -> int:
        """Seconds between leaving the Service and Triton's SIGTERM, after which it refuses new requests.

        Until then Triton serves normally: the connection age moves gRPC clients to other pods, and idle HTTP
        connections are closed.
        """
        return min(max(_HTTP_GONE_SECONDS, self.connections_gone), LONGEST_PRE_STOP_SECONDS)

    @property
    def proxy_drain(self) -> int:
        """Seconds that the proxy waits for requests in flight: as long as Triton does."""
        return self.pre_stop - PROXY_PRE_STOP_SECONDS + math.ceil(self.drain)

    @property
    def linger(self) -> int:
        """Seconds until an old revision may be deleted after the front Service has left it.

        Its pods go on serving for `pre_stop` after that.
        """
        return max(PROPAGATION_SECONDS, self.connections_gone - self.pre_stop)

    @property
    def grace(self) -> int:
        """Seconds from the pod's deletion until it is killed."""
        return self.pre_stop + math.ceil(self.drain) + GRACE_MARGIN_SECONDS

    @property
    def startup_attempts(self) -> int:
        """How often the startup probe may fail."""
        return max(1, math.ceil(self.startup / PROBE_PERIOD_SECONDS))


TRITON: Final = "triton"
_TRITON_PORTS: Final = [(name, number) for name, number in PORTS.items() if name != "http"]


def server_container(
    server: Server,
    lifecycle: Lifecycle,
    *,
    model_name: str,
    image: str,
    args: list[str],
    claims: Sequence[str],
    security: Manifest,
) -> Manifest:
    """Return the container; it has no credentials of the model store."""
    gpus = {server.gpu.resource_name: str(server.gpu.count)} if server.gpu.count else {}
    container: Manifest = {
        "name": TRITON,
        "image": image,
        "command": ["tritonserver"],
        "args": args,
        "env": _server_environment(server),
        "ports": [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in _TRITON_PORTS],
        "resources": _resources(server.resources, gpus),
        "volumeMounts": [
            *mounts(
                *("models", "home", "tmp", "shm", *map(source_volume, range(len(claims)))),
                read_only=frozenset({"models"}),
            ),
            *(plain(mount) for mount in server.volume_mounts),
        ],
        "lifecycle": {"preStop": {"sleep": {"seconds": lifecycle.pre_stop}}},
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_probes(lifecycle, model_name),
    }
    if server.env_from:
        container["envFrom"] = [plain(source) for source in server.env_from]
    if server.image is not None and server.image.pull_policy is not None:
        container["imagePullPolicy"] = str(server.image.pull_policy)
    return container


def _probes(lifecycle: Lifecycle, model_name: str) -> Manifest:
    """Return startup and liveness probes of Triton itself, so that a fault of the proxy does not restart it.

    They probe the model, since the server reports ready before its model is.
    """
    return {
        "startupProbe": {
            "httpGet": {"path": f"/v2/models/{model_name}/ready", "port": TRITON_HTTP_PORT},
            "periodSeconds": PROBE_PERIOD_SECONDS,
            "timeoutSeconds": PROBE_PERIOD_SECONDS,
            "failureThreshold": lifecycle.startup_attempts,
        },
        "livenessProbe": {
            "httpGet": {"path": "/v2/health/live", "port": TRITON_HTTP_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
        },
    }


def _server_environment(server: Server) -> list[Manifest]:
    own = [{"name": "HOME", "value": HOME_PATH}, {"name": "HF_HOME", "value": f"{HOME_PATH}/huggingface"}]
    if server.gpu.count == 0:
        # NVIDIA's images request every GPU of the node, and get them where its runtime is the default one.
        own.append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    return own + [plain(variable) for variable in server.env] + _cache_credentials(server)


def _cache_credentials(server: Server) -> list[Manifest]:
    """Return the variables from which Triton's Redis cache reads them."""
    redis = server.response_cache.redis if server.response_cache is not None else None
    if redis is None or redis.credentials_secret_name is None:
        return []
    secret = redis.credentials_secret_name
    return [
        {
            "name": f"TRITONCACHE_REDIS_{key.upper()}",
            "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}},
        }
        for key in ("username", "password")
    ]


def _resources(given: Resources | None, gpus: Manifest | None = None) -> Manifest:
    requests = {**canonical_quantities(given.requests if given else {}), **(gpus or {})}
    limits = {**canonical_quantities(given.limits if given else {}), **(gpus or {})}
    return {name: amounts for name, amounts in (("requests", requests), ("limits", limits)) if amounts}


FETCH: Final = "fetch"
"""The container that fetches the model, and the beginning of the names of those that fetch its companions."""


def fetch_containers(
    spec: ModelDeploymentSpec, model_name: str, context: str, defaults: Defaults, security: Manifest
) -> list[Manifest]:
    """Return one container for each model, the companions' first: the last one checks that all fit together.

    Each holds the credentials of its own model; the server has none.
    """
    is_repository = any(companion.uri is None for companion in spec.companions)
    claims = claims_of(spec)
    found = []
    for index, companion in enumerate(spec.companions):
        own = companion if companion.uri is not None else spec.model
        found.append(
            _fetch_container(
                _Fetch(
                    container=f"{FETCH}-{index + 1}",
                    name=companion.name,
                    uri=companion.uri or spec.model.uri,
                    credentials=own.credentials_secret_name,
                    variables={
                        "DIGEST": companion.digest,
                        "BACKEND": companion.backend,
                        "CONFIG": f"{CONFIG_PATH}/{companion_key(companion.name)}",
                        "FOLDER": companion.name if companion.uri is None else None,
                        "COMPANION": str(index),
                    },
                ),
                (context, spec.server, claims),
                defaults,
                security,
            )
        )
    model = spec.model
    called = _Fetch(
        container=FETCH,
        name=model_name,
        uri=model.uri,
        credentials=model.credentials_secret_name,
        variables={
            "DIGEST": model.digest,
            "BACKEND": model.backend,
            "CONFIG": f"{CONFIG_PATH}/{CONFIG_KEY}",
            "FOLDER": model_name if is_repository else None,
            "COMPANIONS": ",".join(companion.name for companion in spec.companions) or None,
        },
    )
    return [*found, _fetch_container(called, (context, spec.server, claims), defaults, security)]


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One model that a container fetches."""

    container: str
    name: str
    uri: str
    credentials: str | None
    variables: Mapping[str, str | None]
    """Of the environment of the container, without their prefix, where the models of a pod differ."""


def _fetch_container(
    fetch: _Fetch, server_and_claims: tuple[str, Server, Sequence[str]], defaults: Defaults, security: Manifest
) -> Manifest:
    context, server, claims = server_and_claims
    claim = claim_name(fetch.uri)
    source = source_volume(claims.index(claim)) if claim is not None else None
    container: Manifest = {
        "name": fetch.container,
        "image": defaults.fetch_image,
        "imagePullPolicy": defaults.fetch_image_pull_policy,
        "args": ["fetch"],
        "env": [
            *({"name": name, "value": value} for name, value in _fetch_environment(fetch, context, source, defaults)),
            *_fixed(
                _fetch_route(defaults)
                | _fetch_identity(fetch, has_service_account=server.service_account_name is not None)
            ),
        ],
        "volumeMounts": mounts(
            *("models", "config", "home", "tmp"),
            *([source] if source is not None else []),
            *([AUTHORITIES] if defaults.fetch_ca_config_map else []),
        ),
        "resources": _resources(server.fetch_resources)
        if server.fetch_resources
        else plain(defaults.workloads.fetch_resources),
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if fetch.credentials is not None:
        container["envFrom"] = [{"secretRef": {"name": fetch.credentials}}]
    return container


def claim_name(uri: str) -> str | None:
    """Return the PersistentVolumeClaim that a `pvc://` URI names, or None for other schemes."""
    scheme, _, rest = uri.partition("://")
    return rest.partition("/")[0] if scheme == "pvc" else None


def claims_of(spec: ModelDeploymentSpec) -> tuple[str, ...]:
    """Return the claims with models, that of the model itself first."""
    uris = [spec.model.uri]
    uris += [companion.uri for companion in spec.companions if companion.uri is not None]
    return tuple(dict.fromkeys(claim for uri in uris if (claim := claim_name(uri)) is not None))


def companion_key(name: str) -> str:
    """Return where a revision's ConfigMap holds the configuration of a companion."""
    return f"companion.{name}{CONFIG_SUFFIX}"


def _fetch_environment(fetch: _Fetch, context: str, source: str | None, defaults: Defaults) -> list[tuple[str, str]]:
    own = fetch.variables
    variables: dict[str, Any] = {
        "URI": fetch.uri,
        "MODEL": fetch.name,
        "DIGEST": own["DIGEST"],
        "BACKEND": own["BACKEND"],
        "SERVER": context,
        "TARGET": MODELS_PATH,
        "CONFIG": own["CONFIG"],
        "SOURCE": f"/{source}" if source is not None else None,
        "ALLOWED_SCHEMES": ",".join(defaults.fetch_allowed_schemes),
        "ALLOWED_HOSTS": ",".join(defaults.fetch_allowed_hosts) or None,
        "ALLOW_PRIVATE": "true" if defaults.fetch_allow_private_addresses else "false",
    }
    variables |= {name: value for name, value in own.items() if name not in variables}
    given = [(f"TRITONFLEET_FETCH_{name}", value) for name, value in variables.items() if value is not None]
    return [*given, ("HOME", HOME_PATH)]


def _fetch_route(defaults: Defaults) -> dict[str, str]:
    return {
        "PROXY": defaults.fetch_proxy,
        "NO_PROXY": ",".join(defaults.fetch_no_proxy),
        "AUTHORITIES": f"{_PATHS[AUTHORITIES]}/{defaults.fetch_ca_key}" if defaults.fetch_ca_config_map else "",
    }


def _fetch_identity(fetch: _Fetch, *, has_service_account: bool) -> dict[str, str]:
    """Let the pod ask Google's metadata server who it is: only for a store of Google's, and never beside a Secret.

    A Secret may name another server, to which a token of the pod's identity must not go.
    """
    if not fetch.uri.startswith("gs://"):
        return {}
    return {"IDENTITY": "true" if has_service_account and fetch.credentials is None else ""}


def _fixed(variables: Mapping[str, str]) -> list[Manifest]:
    """Return variables that are there also when they are empty: those of the Secret must not take their place."""
    return [
        {"name": f"TRITONFLEET_FETCH_{name}", **({"value": value} if value else {})}
        for name, value in variables.items()
    ]


PROXY: Final = "http"

_COMMAND: Final = ("/usr/bin/dumb-init", "--single-child", "--rewrite", "15:10", "--", "/usr/sbin/haproxy", "-db", "-f")
"""HAProxy stops immediately on SIGTERM (15), which Kubernetes sends, and gracefully on SIGUSR1 (10)."""


READY_PATH: Final = "/tritonfleet/ready"
"""Where the proxy of a server with companions says whether all models are ready."""
READY_CHECK_SECONDS: Final = 5
"""As often, and with as much patience, as the kubelet asks for a model alone; every second while one is missing."""


def proxy_config(lifecycle: Lifecycle, ip_families: Sequence[str], chain: Sequence[str] = ()) -> str:
    """Return the configuration of HAProxy.

    Idle connections are closed after IDLE_SECONDS; requests have no timeout, since a model may compute for hours. A
    connection older than HTTP_AGE_SECONDS ends with its next response (`Connection: close`): busy clients would
    otherwise never reach pods that started later, and scaling out would not relieve an overloaded pod. When the proxy
    stops, it accepts no connection and ends each open one the same way, so that no request hits a closed connection.

    It listens on all of `ip_families`, and talks to Triton over the first, which is Triton's.

    `chain` are the names of all models of a server with companions, empty for one with a model alone: the kubelet asks
    one path only, so that the proxy asks for each of them and answers READY_PATH.
    """
    bind = f":::{PORTS['http']} v4v6" if "IPv6" in ip_families else f":{PORTS['http']}"
    loopback = "[::1]" if ip_families[0] == "IPv6" else "127.0.0.1"
    return f"""\
global
  maxconn 16384
  nbthread 2
  no strict-limits
  hard-stop-after {lifecycle.proxy_drain}s

defaults
  mode http
  timeout connect 5s
  timeout client 24d
  timeout server 24d
  timeout client-fin 30s
  timeout http-request {IDLE_SECONDS}s
  timeout http-keep-alive {IDLE_SECONDS}s
  option idle-close-on-response
  option http-ignore-probes
  option http-no-delay
  option abortonclose
  option clitcpka
  http-reuse safe
  retries 2
  retry-on conn-failure

listen http
  bind {bind}
  tcp-request session set-var(sess.opened) date
  http-after-response set-header Connection close if {{ date,sub(sess.opened) ge {HTTP_AGE_SECONDS} }}
  server triton {loopback}:{TRITON_HTTP_PORT}
{_readiness_of_all(chain, f"{loopback}:{TRITON_HTTP_PORT}") if chain else ""}"""


def _readiness_of_all(chain: Sequence[str], triton: str) -> str:
    """Return the lines by which the proxy answers READY_PATH: with 200 if every model is ready, else with 503."""
    names = [f"model-{number}" for number in range(len(chain))]
    lines = [f"  monitor-uri {READY_PATH}", *(f"  acl is_missing nbsrv({name}) lt 1" for name in names)]
    lines.append("  monitor fail if is_missing")
    for name, model in zip(names, chain, strict=True):
        lines += [
            "",
            f"backend {name}",
            f"  timeout check {READY_CHECK_SECONDS}s",
            f"  option httpchk GET /v2/models/{model}/ready",
            f"  server triton {triton} check inter {READY_CHECK_SECONDS}s downinter 1s fall 2 rise 1",
        ]
    return "\n".join(lines) + "\n"


def proxy_container(
    model_name: str, defaults: Defaults, resources: Resources | None, security: Manifest, *, has_companions: bool
) -> Manifest:
    """Return the container; the readiness probe goes through it, as clients do."""
    path = READY_PATH if has_companions else f"/v2/models/{model_name}/ready"
    return {
        "name": PROXY,
        "image": defaults.fetch_image,
        "imagePullPolicy": defaults.fetch_image_pull_policy,
        "command": [*_COMMAND, f"{CONFIG_PATH}/{PROXY_KEY}"],
        "ports": [{"name": "http", "containerPort": PORTS["http"], "protocol": "TCP"}],
        "resources": _resources(resources) if resources else plain(defaults.workloads.proxy_resources),
        "volumeMounts": mounts("config"),
        "lifecycle": {"preStop": {"sleep": {"seconds": PROXY_PRE_STOP_SECONDS}}},
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "readinessProbe": {
            "httpGet": {"path": path, "port": "http"},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        },
    }
