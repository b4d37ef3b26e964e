"""`spec.server.volumes`: storage of the namespace that the server mounts beside the model."""

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from tritonfleet.api.base import ApiModel, ObjectName, Rule, cel_list, items, matching, quantity, rule, text

OWNED_VOLUMES: Final = ("authorities", "config", "home", "models", "shm", "source", "tmp")
"""Names of the volumes that every pod has."""
OWNED_MOUNTS: Final = ("/config", "/models", "/source")
"""Folders that hold the model and its configuration: nothing is mounted there or below."""
SHARED_MOUNTS: Final = ("/dev/shm", "/home/triton", "/tmp")  # noqa: S108
"""Folders that are volumes already: others may only be mounted below."""

_RELATIVE_PATH: Final = r"^[^/:]+(/[^/:]+)*$"
_NO_STEPS: Final = "!self.matches(r'(^|/)[.][.]?(/|$)')"


class ConfigMapVolume(ApiModel):
    """The files of a ConfigMap."""

    name: ObjectName
    """Name of the ConfigMap."""
    optional: bool = False
    """Whether the pods start without it."""


class SecretVolume(ApiModel):
    """The files of a Secret."""

    secret_name: ObjectName
    """Name of the Secret."""
    optional: bool = False
    """Whether the pods start without it."""


class ClaimVolume(ApiModel):
    """A PersistentVolumeClaim."""

    claim_name: ObjectName
    """Name of the claim; with more than one pod it must allow access from many nodes."""
    read_only: bool = False
    """Whether it is mounted read-only."""


class Medium(StrEnum):
    """Where an empty folder is kept."""

    MEMORY = "Memory"


class EmptyVolume(ApiModel):
    """An empty folder that lives as long as its pod."""

    medium: Medium | None = None
    """Memory counts against the memory limit; absent: the node's disk."""
    size_limit: Annotated[str, quantity("1Ki", "64Ti", "10Gi")] | None = None
    """Size at which the pod is evicted."""


class Volume(ApiModel):
    """A volume, from exactly one source of this namespace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "[has(self.configMap), has(self.secret), has(self.persistentVolumeClaim), has(self.emptyDir)]"
            ".filter(x, x).size() == 1",
            "must set exactly one of `configMap`, `secret`, `persistentVolumeClaim` and `emptyDir`",
        ),
    )

    name: Annotated[
        str,
        matching(63, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "must be lowercase letters, digits and '-'"),
    ]
    """Name of the volume."""
    config_map: ConfigMapVolume | None = None
    """The files of a ConfigMap."""
    secret: SecretVolume | None = None
    """The files of a Secret."""
    persistent_volume_claim: ClaimVolume | None = None
    """A PersistentVolumeClaim."""
    empty_dir: EmptyVolume | None = None
    """An empty folder that lives as long as its pod."""


class VolumeMount(ApiModel):
    """Where the server sees a volume."""

    name: Annotated[str, text(63)]
    """Name of one of `volumes`."""
    mount_path: Annotated[
        str,
        text(
            512,
            rule(
                f"self.matches(r'^(/[^/:]+)+$') && {_NO_STEPS}",
                "must be an absolute path without '..' and ':', such as /opt/tokenizers",
                got="self",
            ),
            rule(
                f"!(self in {cel_list(SHARED_MOUNTS)})"
                f" && !self.matches(r'^({'|'.join(OWNED_MOUNTS)}|/source-[0-9]+|/proc|/sys)(/|$)')",
                "must not be a folder that every pod already has, nor below /models, /config, /source, /proc or /sys",
                got="self",
            ),
            min_length=0,
        ),
    ]
    """Folder in the server's container."""
    sub_path: (
        Annotated[
            str,
            text(
                256,
                rule(
                    f"self.matches(r'{_RELATIVE_PATH}') && {_NO_STEPS}",
                    "must be a relative path without '..', such as tokenizers/v2",
                    got="self",
                ),
                min_length=0,
            ),
        ]
        | None
    ) = None
    """Folder or file of the volume to mount instead of all of it."""
    read_only: bool = False
    """Whether the server may not write to it."""


OWNED_VOLUME_RULE: Final = rule(
    f"self.all(volume, !(volume.name in {cel_list(OWNED_VOLUMES)}) && !volume.name.matches('^source-[0-9]+$'))",
    f"must not use the names of the volumes that every pod has: {', '.join(OWNED_VOLUMES)}, and source-1 and so on",
)

Volumes = Annotated[tuple[Volume, ...], items(16, OWNED_VOLUME_RULE, key="name")]
"""Volumes of a pod."""
VolumeMounts = Annotated[tuple[VolumeMount, ...], items(32, key="mountPath")]
"""Mounts of a container."""
