"""What a model configuration is judged by, besides itself: the server, the model's folder, and other models.

`Context` says what is known of them, and the rules of `tritonfleet.triton.validation` judge by nothing else: the
operator sees the spec's part of a configuration only, and a configuration may be checked before its folder is there.
`Problem` is a broken rule. `LATER_FIELDS` is the table of what not every release of Triton understands, each line with
its source; for a new release add what its notes name.
"""

import posixpath
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tritonfleet.triton.images import IMAGE_FOLDERS, Release
from tritonfleet.triton.schema import ModelConfig, empty

ENSEMBLE: Final = "ensemble"
TENSORRT: Final = "tensorrt"
TENSORRT_PLAN: Final = "tensorrt_plan"
_VERSION: Final = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """A field of the ModelDeployment, its value, and the remedy."""

    field: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field} is {self.value}: {self.remedy}"


@dataclass(frozen=True)
class Folder:
    """What lies in a model's folder, as Triton will find it."""

    files: Mapping[str, int]
    """Sizes in bytes by path below the folder, such as `1/model.onnx`; an empty folder's path ends with '/'."""

    @cached_property
    def _names(self) -> frozenset[str]:
        folders = {str(parent) for path in self.files for parent in _parents(path)}
        return frozenset((*(path.rstrip("/") for path in self.files), *folders))

    @cached_property
    def versions(self) -> frozenset[int]:
        """The versions that Triton sees: it ignores folders with leading zeros or other characters."""
        tops = {path.partition("/")[0] for path in self.files if "/" in path}
        return frozenset(int(top) for top in tops if _VERSION.fullmatch(top))

    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes, or None if there is no such file."""
        return self.files.get(posixpath.normpath(path.lstrip("/")))

    def has(self, path: str) -> bool:
        """Return whether there is a file or a folder of this path."""
        return posixpath.normpath(path.strip("/")) in self._names


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


@dataclass(frozen=True, slots=True)
class Member:
    """Another model of the same server, which an ensemble may use."""

    config: ModelConfig
    folder: Folder | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What is known about the place of a configuration."""

    model_name: str
    """The folder that Triton loads."""
    gpus: int = 0
    """GPUs that the container sees, numbered from 0."""
    server_has_cache: bool = False
    """Whether the server has a response cache."""
    rate_limited: bool | None = None
    """Whether the server has `--rate-limit=execution_count`; None if that is not known, as for pods of older releases.
    """
    release: Release | None = None
    """The Triton release; None if the image's tag names none, and then everything that any release knows is allowed."""
    folder: Folder | None = None
    """The model's folder; None before it is fetched."""
    members: Mapping[str, Member] | None = None
    """The other models of the server by name; None if they are not known."""
    image_folders: Collection[str] | None = IMAGE_FOLDERS
    """Where files outside the model's folder can be: in the image and in its volumes. None: anywhere."""
    partial: bool = False
    """Whether the configuration of the artifact is still to be laid under this one, so that what is absent may come."""


def batch_size(config: ModelConfig, context: Context) -> int | None:
    """Return `max_batch_size`, or None if the artifact may set it."""
    if context.partial and not config.HasField("max_batch_size"):
        return None
    return int(config.max_batch_size)


_FILES: Final = {
    "model.savedmodel": ("tensorflow", "tensorflow_savedmodel"),
    "model.graphdef": ("tensorflow", "tensorflow_graphdef"),
    "model.plan": (TENSORRT, TENSORRT_PLAN),
    "model.onnx": ("onnxruntime", "onnxruntime_onnx"),
    "model.xml": ("openvino", ""),
    "model.pt": ("pytorch", "pytorch_libtorch"),
    "model.pt2": ("pytorch", "torch_aoti"),
    "model.py": ("python", ""),
}
"""Backend and platform by the file that Triton recognizes them by, in the order in which it tries them."""
BACKEND_OF_PLATFORM: Final = {
    platform: backend for backend, platform in _FILES.values() if platform and platform != "torch_aoti"
}
"""Platforms of all releases; a backend that is missing here has no platform name, and Triton ignores what it is given.
"""
LATER_PLATFORMS: Final = {"torch_aoti": "pytorch", "libtorch": "pytorch"}
"""Platforms that 24.10 refuses and Triton core of 2026 knows (`AutoCompleteBackendFields`)."""
_DEFAULT_PLATFORM: Final = {
    TENSORRT: TENSORRT_PLAN,
    "onnxruntime": "onnxruntime_onnx",
    "pytorch": "pytorch_libtorch",
}
"""Platforms that Triton fills in for a backend. TensorFlow's depends on the file."""
OLDEST: Final = Release(24, 10)
"""The oldest release that is served."""


def platforms(release: Release | None) -> Mapping[str, str]:
    """Return the backend of each platform that a release knows."""
    later = {} if release is not None and release <= OLDEST else LATER_PLATFORMS
    return BACKEND_OF_PLATFORM | later


def backend_and_platform(config: ModelConfig, context: Context) -> tuple[str, str] | None:
    """Return what Triton makes of `backend` and `platform`, each empty if it finds none; None if that is not known.

    Source: `AutoCompleteBackendFields` of Triton core, which goes by the platform, the model's file and its name.
    """
    backend, platform, file = config.backend, config.platform, config.default_model_filename
    if context.partial and not (backend and platform) and platform != ENSEMBLE:
        return None
    if not backend and platform:
        backend = platforms(context.release).get(platform, "")
    if not backend and file in _FILES and (not platform or platform != ENSEMBLE):
        backend = _FILES[file][0]
    if not platform and not file and backend in {"", "tensorflow"}:
        if context.folder is None:
            return None
        backend, platform = _recognized(context.folder, backend)
        if not backend and "." in context.model_name:
            backend = context.model_name.partition(".")[2]
    elif not platform and backend == "tensorflow" and file in _FILES:
        platform = _FILES[file][1]
    return backend, platform or _DEFAULT_PLATFORM.get(backend, "")


def _recognized(folder: Folder, backend: str) -> tuple[str, str]:
    if not folder.versions:
        return backend, ""
    # Triton reads the folder of the version that comes first in the order of the names, not of the numbers.
    first = min(map(str, folder.versions))
    for name, (its_backend, its_platform) in _FILES.items():
        if folder.has(f"{first}/{name}") and backend in {"", its_backend}:
            return its_backend, its_platform
    return backend, ""


def completion(config: ModelConfig, context: Context) -> ModelConfig:
    """Return what Triton adds to a configuration before it asks the backend for the tensors.

    Source: `AutoCompleteBackendFields`, `NormalizeModelConfig` and `NormalizeInstanceGroup` of Triton core.
    """
    added = empty()
    found = None if config.platform == ENSEMBLE else backend_and_platform(config, context)
    for name, value in zip(("backend", "platform"), found or (), strict=False):
        if value and not config.HasField(name):
            setattr(added, name, value)
    if not config.HasField("version_policy"):
        added.version_policy.latest.num_versions = 1
    if config.HasField("sequence_batching") and not config.sequence_batching.max_sequence_idle_microseconds:
        added.sequence_batching.max_sequence_idle_microseconds = 1_000_000
    if config.platform != ENSEMBLE:
        for part in ("input_pinned_memory", "output_pinned_memory"):
            if not config.optimization.HasField(part):
                getattr(added.optimization, part).enable = True
    return added


@dataclass(frozen=True, slots=True)
class LaterField:
    """A field that releases before `since` do not know: they cannot read a configuration that has it."""

    path: tuple[str, ...]
    field: str
    """Where a ModelDeployment sets it."""
    since: Release
    source: str


_NOTES: Final = "https://github.com/triton-inference-server/server/releases/tag/"
LATER_FIELDS: Final = (
    LaterField(("model_metrics",), "spec.model.metrics", Release(24, 11), f"{_NOTES}v2.52.0"),
    LaterField(
        ("ensemble_scheduling", "max_inflight_requests"),
        "spec.modelConfig.ensemble_scheduling.max_inflight_requests",
        Release(25, 11),
        f"{_NOTES}v2.63.0",
    ),
)
DROPPED_BACKENDS: Final = {"tensorflow": (Release(25, 3), f"{_NOTES}v2.56.0")}
"""The first release without a backend that earlier ones have."""
