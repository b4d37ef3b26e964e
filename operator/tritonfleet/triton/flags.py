"""The command line of tritonserver. Every flag exists since Triton 2.51 (24.10)."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from tritonfleet.api.names import OWNED_FLAGS
from tritonfleet.api.quantities import whole_amount
from tritonfleet.api.server import ResponseCache
from tritonfleet.errors import InvalidSpec

CONFIG_NAME: Final = "tritonfleet"
"""Triton reads `<model>/configs/<CONFIG_NAME>.pbtxt` instead of config.pbtxt."""

_IPV6: Final = ("--http-address=ipv6:::", "--metrics-address=ipv6:::", "--grpc-address=[::]")
"""Triton passes the first two to libevhtp, which wants the family before the address."""

_RESTRICTED_GROUPS: Final = "model-repository,shared-memory,trace,logging"
_RESTRICTED_HEADER: Final = "tritonfleet-operator"


def server_args(
    *,
    repository: str,
    model_name: str,
    http_port: int,
    owner_uid: str,
    gpus: int,
    drain_seconds: float,
    connection_age_seconds: float,
    rate_limited: bool,
    cache: ResponseCache | None = None,
    ipv6: bool = False,
    user_args: Sequence[str] = (),
    companions: Sequence[str] = (),
) -> list[str]:
    """Return the arguments after `tritonserver`; raises InvalidSpec for a user argument that is ours.

    Info lines are off: when Triton cannot load a model it prints 6 kB of tables after the reason, and of
    its log only the last 2 kB reach the pod's status. `--log-info=true` in `user_args` turns them on.

    A gRPC connection that reaches its age takes no new calls, while those in flight, streams too, go on as
    long as they need: `--grpc-max-connection-age-grace` would cut them.

    `companions` are the names of the other models of the server; one that cannot be loaded ends it, as the model does.

    `ipv6` listens on IPv6, for pods whose first address is one; by default Triton's HTTP and metrics only do on IPv4.
    """
    refuse_owned_flags(user_args)
    return [
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        f"--load-model={model_name}",
        *(f"--load-model={companion}" for companion in companions),
        f"--model-config-name={CONFIG_NAME}",
        "--exit-on-error=true",
        f"--http-port={http_port}",
        f"--exit-timeout-secs={math.ceil(drain_seconds)}",
        "--log-info=false",
        f"--grpc-max-connection-age={round(connection_age_seconds * 1000)}",
        *(_IPV6 if ipv6 else ()),
        *_restrictions(owner_uid),
        *(["--allow-gpu-metrics=false"] if gpus == 0 else []),
        *(["--rate-limit=execution_count"] if rate_limited and not limits_rate(user_args) else []),
        *(_cache(cache) if cache is not None else ()),
        *user_args,
    ]


def refuse_owned_flags(user_args: Iterable[str]) -> None:
    """Raise InvalidSpec for an owned flag, also in a short form that Triton's parser would complete."""
    for argument in user_args:
        flag = argument.partition("=")[0]
        owned = next((known for known in OWNED_FLAGS if len(flag) > 2 and known.startswith(flag)), None)
        if owned is not None:
            raise InvalidSpec(f"spec.server.args: '{argument}' sets {owned}, which the operator sets itself: remove it")


def has_cache(user_args: Iterable[str]) -> bool:
    """Return whether the server gets a response cache; models cannot cache without it."""
    return any(argument.startswith("--cache-config=") for argument in user_args)


def limits_rate(user_args: Collection[str]) -> bool:
    """Return whether the server limits the rate of executions; the limits of models have no effect without it."""
    return "--rate-limit=execution_count" in user_args


def _cache(cache: ResponseCache) -> Iterator[str]:
    """Configure the server's cache. The credentials of Redis are environment variables."""
    if cache.local is not None:
        yield f"--cache-config=local,size={whole_amount(cache.local.size)}"
    elif cache.redis is not None:
        yield f"--cache-config=redis,host={cache.redis.host}"
        yield f"--cache-config=redis,port={cache.redis.port}"
        if cache.redis.tls:
            yield "--cache-config=redis,tls_enabled=true"


def _restrictions(owner_uid: str) -> Iterator[str]:
    """Close the APIs that change the server: clients do not know the key, and cannot guess it.

    Loading or unloading a model on one pod would make it differ from its revision. Triton can only ask
    for a header, so it gets one whose value is derived from the random uid of the owner: equal in every
    reconcile, unknown to clients that can only reach the port, and no secret to those who can read the pod.
    """
    key = sha256(f"{_RESTRICTED_HEADER}/{owner_uid}".encode()).hexdigest()[:32]
    yield f"--http-restricted-api={_RESTRICTED_GROUPS}:{_RESTRICTED_HEADER}={key}"
    yield f"--grpc-restricted-protocol={_RESTRICTED_GROUPS}:{_RESTRICTED_HEADER}={key}"
