"""The operator's own settings, read once from the environment."""

import ipaddress
import os
import re
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import StringConstraints, TypeAdapter, ValidationError

from tritonfleet.api.workloads import Workloads
from tritonfleet.plan.world import Defaults

DEFAULT_TRITON_IMAGE = "nvcr.io/nvidia/tritonserver:26.11-py3"
DEFAULT_FETCH_IMAGE = "docker.io/tritonfleet/operator:dev"
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

T = TypeVar("T")

_WORKLOADS = TypeAdapter(Workloads)
_HEADERS = TypeAdapter(
    dict[
        # RFC 9110, 5.6.2; `Authorization` is made of a file's content, so that no credential is a setting.
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")],
        Annotated[str, StringConstraints(pattern="^[ -~]*$")],
    ]
)


def _own_identity() -> str:
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The administrator's settings; the chart usually sets the environment."""

    defaults: Defaults
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty means all."""
    workers: int = 64
    resync_seconds: float = 300.0
    """Longest time between two reconciles of an object."""
    http_port: int = 8080
    lease_namespace: str = "tritonfleet-system"
    lease_name: str = "tritonfleet-operator"
    identity: str = field(default_factory=_own_identity)
    """The identity of this process in the Lease; unique among running processes."""
    log_level: str = "INFO"
    tick_seconds: float = 5.0
    """Interval of scrapes and scaling decisions."""
    scrape_concurrency: int = 128
    """Concurrent scrapes."""
    prometheus_url: str = ""
    """Prometheus, for latency at the gateway and past rates; empty for none."""
    prometheus_token_file: str = ""
    """File with a bearer token for it."""
    prometheus_username: str = ""
    """Name for basic authentication."""
    prometheus_password_file: str = ""
    """File with the password."""
    prometheus_headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of every query."""
    prometheus_ca_file: str = ""
    """File with its CA certificates; empty for the system's."""
    prometheus_window_seconds: float = 60.0
    """Window of rates: must include at least two of its scrapes of the gateway."""
    prometheus_gateway_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the gateway's series, such as its namespace; empty: the gateway's counters are not read."""
    custom_queries: bool = False
    """Whether canaries may be analyzed by users' PromQL, confined to the namespace and revision."""


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read `TRITONFLEET_*`; raises ValueError naming the variable for an invalid value."""

    def read(name: str, default: T, convert: Callable[[str], T]) -> T:
        text = environment.get(f"TRITONFLEET_{name}", "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            raise ValueError(f"TRITONFLEET_{name}: {error}") from error

    own = Defaults(triton_image="", allow_unsafe_image=False, fetch_image="")
    return Settings(
        defaults=Defaults(
            triton_image=read("TRITON_IMAGE", DEFAULT_TRITON_IMAGE, str),
            allow_unsafe_image=read("ALLOW_UNSAFE_IMAGE", False, _flag),
            fetch_image=read("FETCH_IMAGE", DEFAULT_FETCH_IMAGE, str),
            fetch_image_pull_policy=read("FETCH_IMAGE_PULL_POLICY", own.fetch_image_pull_policy, _pull_policy),
            fetch_allowed_schemes=read("FETCH_ALLOWED_SCHEMES", own.fetch_allowed_schemes, _words),
            fetch_allowed_hosts=read("FETCH_ALLOWED_HOSTS", own.fetch_allowed_hosts, _words),
            fetch_allow_private_addresses=read("FETCH_ALLOW_PRIVATE_ADDRESSES", False, _flag),
            fetch_proxy=read("FETCH_PROXY", "", _proxy),
            fetch_no_proxy=read("FETCH_NO_PROXY", (), _words),
            fetch_ca_config_map=read("FETCH_CA_CONFIG_MAP", "", str),
            fetch_ca_key=read("FETCH_CA_KEY", own.fetch_ca_key, str),
            gateway_api=read("GATEWAY_API", False, _flag),
            envoy_policies=read("ENVOY_POLICIES", False, _flag),
            ip_families=read("POD_IPS", own.ip_families, _ip_families),
            workloads=read("WORKLOADS", own.workloads, lambda text: _json(text, _WORKLOADS)),
        ),
        namespaces=read("NAMESPACES", (), _words),
        workers=int(read("WORKERS", 64.0, _positive)),
        resync_seconds=read("RESYNC_SECONDS", 300.0, _positive),
        http_port=read("HTTP_PORT", 8080, _port),
        lease_namespace=read("LEASE_NAMESPACE", "tritonfleet-system", str),
        lease_name=read("LEASE_NAME", "tritonfleet-operator", str),
        identity=read("IDENTITY", _own_identity(), str),
        log_level=read("LOG_LEVEL", "INFO", _log_level),
        tick_seconds=read("TICK_SECONDS", 5.0, _positive),
        scrape_concurrency=int(read("SCRAPE_CONCURRENCY", 128.0, _positive)),
        prometheus_url=read("PROMETHEUS_URL", "", _url),
        prometheus_token_file=read("PROMETHEUS_TOKEN_FILE", "", str),
        prometheus_username=read("PROMETHEUS_USERNAME", "", str),
        prometheus_password_file=read("PROMETHEUS_PASSWORD_FILE", "", str),
        prometheus_headers=read("PROMETHEUS_HEADERS", {}, lambda text: _json(text, _HEADERS)),
        prometheus_ca_file=read("PROMETHEUS_CA_FILE", "", str),
        prometheus_window_seconds=read("PROMETHEUS_WINDOW_SECONDS", 60.0, _positive),
        prometheus_gateway_labels=read("PROMETHEUS_GATEWAY_LABELS", {}, _labels),
        custom_queries=read("CUSTOM_QUERIES", False, _flag),
    )


def _flag(text: str) -> bool:
    if text.lower() in {"1", "true", "yes"}:
        return True
    if text.lower() in {"0", "false", "no"}:
        return False
    raise ValueError(f"must be true or false, not '{text}'")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _labels(text: str) -> dict[str, str]:
    found = dict(re.findall(r"(?:^|,)\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*([^,]+?)\s*(?=,|$)", text))
    if len(found) != text.count(",") + 1:
        raise ValueError(f"must be labels such as namespace=envoy-gateway-system,container=envoy, not '{text}'")
    return found


def _positive(text: str) -> float:
    number = float(text)
    if not 1 <= number < float("inf"):
        raise ValueError(f"must be 1 or more, not '{text}'")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError(f"must be a port number from 0 (any free port) to 65535, not '{text}'")
    return number


def _ip_families(text: str) -> tuple[str, ...]:
    families = (f"IPv{ipaddress.ip_address(address).version}" for address in _words(text))
    return tuple(dict.fromkeys(families))


def _json(text: str, kind: TypeAdapter[T]) -> T:
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise ValueError("; ".join(faults)) from error


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(f"must be an address such as https://prometheus.monitoring:9090, not '{text}'")
    return text


def _proxy(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or parts.username or parts.path.strip("/") or parts.query:
        raise ValueError(f"must be an address such as http://proxy.example.com:3128, not '{text}'")
    return text


def _pull_policy(text: str) -> str:
    if text not in PULL_POLICIES:
        raise ValueError(f"must be one of {', '.join(PULL_POLICIES)}, not '{text}'")
    return text


def _log_level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}, not '{text}'")
    return text.upper()
