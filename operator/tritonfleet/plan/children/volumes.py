"""The volumes of a pod, and where each is mounted in both containers."""

from typing import Final

from tritonfleet.plan.world import Manifest

MODELS_PATH: Final = "/models"
CONFIG_PATH: Final = "/config"
SOURCE_PATH: Final = "/source"
HOME_PATH: Final = "/home/triton"

_PATHS: Final = {
    "models": MODELS_PATH,
    "config": CONFIG_PATH,
    "source": SOURCE_PATH,
    "home": HOME_PATH,
    "tmp": "/tmp",  # noqa: S108
    "shm": "/dev/shm",  # noqa: S108
}
_READ_ONLY: Final = frozenset({"config", "source"})


def volumes(config_map_name: str, shared_memory: str, claim: str | None) -> list[Manifest]:
    """Return the volumes; `shared_memory` is a canonical quantity, counted against the pod's memory limit."""
    found: list[Manifest] = [
        {"name": "models", "emptyDir": {}},
        {"name": "config", "configMap": {"name": config_map_name}},
        {"name": "home", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
    ]
    if claim is not None:
        found.append({"name": "source", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    return found


def mounts(*names: str, read_only: frozenset[str] = frozenset()) -> list[Manifest]:
    """Return the mounts of the named volumes."""
    return [
        {"name": name, "mountPath": _PATHS[name], **({"readOnly": True} if name in _READ_ONLY | read_only else {})}
        for name in names
    ]
