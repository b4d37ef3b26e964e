"""The ModelDeployment itself: one model, served by a fleet of Triton servers."""

import json
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, ValidationError

from tritonfleet.api.autoscaling import REPLICAS_MAX, Autoscaling, ScalingMode
from tritonfleet.api.base import DURATION, ApiModel, Rule, Schema, items, rule, structural
from tritonfleet.api.batching import Batching, InstanceGroup
from tritonfleet.api.companions import Companion, RawModelConfig
from tritonfleet.api.model import Model
from tritonfleet.api.problems import described
from tritonfleet.api.renames import refusals
from tritonfleet.api.rollout import Rollback, Rollout
from tritonfleet.api.server import Server
from tritonfleet.api.slo import Metrics, Slo
from tritonfleet.api.traffic import Traffic
from tritonfleet.errors import InvalidSpec

_OTHERS_DECIDE = "!has(self.autoscaling) || self.autoscaling.mode != 'SLO' || self.autoscaling.advisory"

COMPANIONS_MAX: Final = 16


class ModelDeploymentSpec(ApiModel):
    """Desired state of the model."""

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
            "[self.server.startupTimeout, self.rollout.progressDeadline].exists(given, type(given) != string"
            f" || !given.matches('{DURATION}'))"
            " || duration(self.server.startupTimeout) <= duration(self.rollout.progressDeadline)",
            "must not be above `rollout.progressDeadline`: raise that too",
            got="self.server.startupTimeout",
            at=".server.startupTimeout",
        ),
        rule(
            "!has(self.autoscaling) || self.autoscaling.mode != 'SLO' || has(self.slo)",
            "must be set when `autoscaling.mode` is 'SLO', which scales by it",
            at=".slo",
        ),
        rule(
            f"!has(self.replicas) || {_OTHERS_DECIDE}",
            "must be absent when `autoscaling` decides: set `autoscaling.minReplicas` and `maxReplicas`, or"
            " `autoscaling.advisory`",
            got="self.replicas",
            at=".replicas",
        ),
        rule(
            "!has(self.autoscaling) || has(self.replicas) || !(self.autoscaling.mode == 'External'"
            " || self.autoscaling.advisory)",
            "must be set when `autoscaling.mode` is 'External' or `autoscaling.advisory` is true: it is the number of"
            " pods, and what another scaler starts from",
            at=".replicas",
        ),
        rule(
            "!has(self.slo) || !self.slo.loadShedding || (has(self.batching) && has(self.batching.dynamic))",
            "must come with `batching.dynamic`: only its queue can reject late requests",
            at=".slo.loadShedding",
        ),
        rule(
            "!has(self.slo) || !self.slo.loadShedding || !has(self.batching) || !has(self.batching.dynamic)"
            " || !(has(self.batching.dynamic.queueTimeout) || has(self.batching.dynamic.priorityPolicies)"
            " && self.batching.dynamic.priorityPolicies.exists(p, has(p.queueTimeout)))",
            "must be absent, for every priority, when `slo.loadShedding` is true, which sets it",
            at=".batching.dynamic.queueTimeout",
        ),
        rule(
            "!has(self.slo) || !self.slo.loadShedding || !has(self.batching) || !has(self.batching.dynamic)"
            " || !(has(self.batching.dynamic.timeoutAction) && self.batching.dynamic.timeoutAction == 'Delay')"
            " && (!has(self.batching.dynamic.priorityPolicies) || !self.batching.dynamic.priorityPolicies.exists(p,"
            " has(p.timeoutAction) && p.timeoutAction == 'Delay'))",
            "must be 'Reject', for every priority, when `slo.loadShedding` is true: late requests are rejected",
            at=".batching.dynamic.timeoutAction",
        ),
        rule(
            "!has(self.metrics) || has(self.slo)",
            "must come with `slo`: it has no effect otherwise",
            at=".metrics",
        ),
    )

    model: Model
    """The model, its files, and its configuration in Triton."""
    batching: Batching | None = None
    """How requests are grouped into batches."""
    instances: Annotated[tuple[InstanceGroup, ...], items(16)] = ()
    """Copies of the model within one server; Triton's default is one per GPU."""
    raw_model_config: RawModelConfig = Field(default_factory=dict, alias="modelConfig")
    """Triton's ModelConfig in JSON form, merged over the typed fields, for settings that they lack.

    Field names as in Triton's model_config.proto, snake_case or camelCase."""
    companions: Annotated[tuple[Companion, ...], items(COMPANIONS_MAX, key="name")] = ()
    """Further models in the same server, which the model calls: members of an ensemble, or models that its code calls.

    Pods are ready when all are; clients call `model`, whose contract, golden requests and latency count."""
    server: Server = Server()
    """The pods that run Triton."""
    replicas: Annotated[int, Field(ge=0, le=REPLICAS_MAX)] | None = None
    """Number of pods; absent means 1, or those that `autoscaling` left when it was removed. The scale subresource reads
    and writes it. In mode SLO `autoscaling` decides."""
    slo: Slo | None = None
    """Service level objective; the condition `SLOMet` reports whether it is met."""
    autoscaling: Autoscaling | None = None
    """What sets the number of replicas, and its limits; absent: `replicas`."""
    metrics: Metrics | None = None
    """Source of the measured latency."""
    traffic: Traffic = Traffic()
    """How clients reach the model."""
    rollout: Rollout = Rollout()
    """How a new revision is rolled out."""
    rollback: Rollback | None = None
    """Serves an older revision instead of the rest of the spec."""
    suspend: bool = False
    """Scales to zero until unset."""

    @property
    def declared_replicas(self) -> int:
        """The value of `replicas`, or its default."""
        return self.replicas if self.replicas is not None else 1

    @property
    def scales_by_slo(self) -> bool:
        """Whether the operator computes a number of replicas, even if only advisory."""
        return self.autoscaling is not None and self.autoscaling.mode is ScalingMode.SLO

    @property
    def scaled_by_us(self) -> bool:
        """Whether the number that the operator computes is applied."""
        return self.scales_by_slo and self.autoscaling is not None and not self.autoscaling.advisory


class ObjectMeta(ApiModel):
    """The metadata that the operator reads."""

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
        rule(
            "!has(self.spec.companions) || self.spec.companions.all(c, c.name != "
            "(has(self.spec.model.name) ? self.spec.model.name : self.metadata.name))",
            "must have other names than the model that clients call",
            got="has(self.spec.model.name) ? self.spec.model.name : self.metadata.name",
            at=".spec.companions",
        ),
    )

    metadata: ObjectMeta
    spec: ModelDeploymentSpec

    @classmethod
    def parse(cls, body: dict[str, Any], *, strict: bool = False) -> Self:
        """Parse an object from the API server; raises InvalidSpec naming field, value and remedy.

        `strict` is for one that no API server has checked: the text "3" does not count as a number.
        """
        found, problems = cls.read(body, strict=strict)
        if found is None or problems:
            raise InvalidSpec("; ".join(problems[:5]))
        return found

    @classmethod
    def read(cls, body: dict[str, Any], *, strict: bool = False) -> tuple[Self | None, list[str]]:
        """Return an object, None if it cannot be read, and a sentence for each value that is wrong."""
        renamed = list(refusals(body))
        try:
            if strict:
                # As JSON, in which a list is a tuple all the same.
                return cls.model_validate_json(json.dumps(body, default=str), strict=True), renamed
            return cls.model_validate(body), renamed
        except ValidationError as error:
            return None, [*renamed, *described(error, _schema())]

    @property
    def model_name(self) -> str:
        """The model's name in Triton."""
        return self.spec.model.name or self.metadata.name


@cache
def _schema() -> Schema:
    """Return the schema with the remedies; it takes some 70 ms, which an invalid object must not cost at each retry."""
    return structural(ModelDeployment)
