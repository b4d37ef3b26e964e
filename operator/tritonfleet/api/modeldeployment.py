"""The ModelDeployment itself: one model, served by a fleet of Triton servers."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, ValidationError

from tritonfleet.api.base import DURATION, ApiModel, items
from tritonfleet.api.batching import Batching
from tritonfleet.api.cel import Rule, rule
from tritonfleet.api.instances import InstanceGroup
from tritonfleet.api.model import Model
from tritonfleet.api.rollout import Rollout
from tritonfleet.api.server import Server
from tritonfleet.api.traffic import Traffic
from tritonfleet.errors import InvalidSpec


class ModelDeploymentSpec(ApiModel):
    """What is served and how."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.instances) || self.server.gpu.count > 0 || self.instances.all(i, i.kind != 'GPU')",
            "must not have an instance of kind 'GPU' when `server.gpu.count` is 0",
            at=".instances",
        ),
        rule(
            "!has(self.instances) || self.instances.all(i, !has(i.gpus)"
            " || i.gpus.all(gpu, gpu < self.server.gpu.count))",
            "must only use GPUs of the pod, numbered from 0 and below `server.gpu.count`",
            got="self.instances.filter(i, has(i.gpus) && i.gpus.exists(gpu, gpu >= self.server.gpu.count))[0].gpus",
            at=".instances",
        ),
        rule(
            "[self.server.startupTimeout, self.rollout.progressDeadline].exists(given, !given.matches("
            f"'{DURATION}')) || duration(self.server.startupTimeout) <= duration(self.rollout.progressDeadline)",
            "must not be above `rollout.progressDeadline`: raise that too",
            got="self.server.startupTimeout",
            at=".server.startupTimeout",
        ),
    )

    model: Model
    """The model: where its files are and what Triton should know about it."""
    batching: Batching | None = None
    """How requests are grouped into batches."""
    instances: Annotated[tuple[InstanceGroup, ...], items(16)] = ()
    """Copies of the model within one server; Triton's default is one per GPU."""
    raw_model_config: Annotated[
        dict[str, Any],
        Field(alias="modelConfig", max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
    ] = Field(default_factory=dict)
    """Triton's ModelConfig in JSON form, laid over the typed fields, for whatever they lack.

    Field names as in Triton's model_config.proto, snake_case or camelCase."""
    server: Server = Server()
    """The pods that run Triton."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Pods that serve."""
    traffic: Traffic = Traffic()
    """How clients reach the model."""
    rollout: Rollout = Rollout()
    """How a change reaches the clients."""
    suspended: bool = False
    """Scales to nothing and stays there."""

    @property
    def wanted_replicas(self) -> int:
        """Pods to run now."""
        return 0 if self.suspended else self.replicas


class ObjectMeta(ApiModel):
    """What the operator reads of an object's metadata."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None


class ModelDeployment(ApiModel):
    """One model, served by a fleet of Triton servers."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "self.metadata.name.size() <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name must start with a letter, hold only lowercase letters, digits and '-', and be at most"
            " 52 characters long: Services are named after it",
            got="self.metadata.name",
        ),
        rule(
            "(has(self.spec.model.name) ? self.spec.model.name : self.metadata.name) == "
            "(has(oldSelf.spec.model.name) ? oldSelf.spec.model.name : self.metadata.name)",
            "must not change, since clients use it: create a new ModelDeployment for another name",
            got="has(self.spec.model.name) ? self.spec.model.name : self.metadata.name",
            at=".spec.model.name",
        ),
    )

    metadata: ObjectMeta
    spec: ModelDeploymentSpec

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        """Read an object as the API server gave it; raises InvalidSpec naming field, value and remedy."""
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise InvalidSpec("; ".join(_described(problem) for problem in error.errors()[:5])) from error

    @property
    def model_name(self) -> str:
        """The name by which clients address the model in Triton."""
        return self.spec.model.name or self.metadata.name


def _described(problem: Any) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
    given = "" if problem["type"] == "missing" else f", got {problem['input']!r}"[:100]
    return f"{path.lstrip('.')}: {problem['msg'][:1].lower()}{problem['msg'][1:]}{given}"
