"""The operator's own settings, read once from the environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from tritonfleet.plan.world import Defaults

DEFAULT_TRITON_IMAGE = "nvcr.io/nvidia/tritonserver:26.11-py3"


def _flag(value: str) -> bool:
    if value.lower() in {"1", "true", "yes"}:
        return True
    if value.lower() in {"0", "false", "no", ""}:
        return False
    raise ValueError(f"must be true or false, got '{value}'")


def _words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an administrator can set; the chart is the usual source of the environment."""

    defaults: Defaults
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty means all."""
    workers: int = 32
    resync_seconds: float = 300.0
    http_port: int = 8080
    lease_namespace: str = "tritonfleet-system"
    lease_name: str = "tritonfleet-operator"
    identity: str = field(default_factory=socket.gethostname)
    log_level: str = "INFO"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read `TRITONFLEET_*`; a value that cannot be used raises ValueError naming the variable."""

    def read(name: str, default: str = "") -> str:
        return environment.get(f"TRITONFLEET_{name}", default)

    def parsed[T](name: str, default: str, convert: "Callable[[str], T]") -> T:
        ...

    raise NotImplementedError
