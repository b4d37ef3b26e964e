"""`spec.companions`: further models in the same server, which the model calls: members of an ensemble, or by its code.

A companion is described like the model, in fewer typed fields: the schema is repeated in every ModelDeployment's
definition, which has a limit of size. What has no field here has one in Triton's own words, in `modelConfig`.
"""

from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from tritonfleet.api.base import ApiModel, ObjectName, Rule, duration, items, open_object, rule, text
from tritonfleet.api.batching import InstanceKind
from tritonfleet.api.model import Backend, Digest, ModelName

MODEL_CONFIG_SHAPES: Final = ("ooo", "lolo", "loolo", "loool", "olool", "ololol", "ooloool", "oolooool")
"""How objects and lists are nested in Triton's ModelConfig (model_config.proto)."""

_SHALLOW_SHAPES: Final = tuple(shape for shape in MODEL_CONFIG_SHAPES if len(shape) < 7)
"""All but those of CUDA graphs, which only the artifact of a companion can describe."""

RawModelConfig = Annotated[dict[str, Any], *open_object(64, MODEL_CONFIG_SHAPES)]
"""Triton's ModelConfig in JSON form."""


class CompanionDynamicBatching(ApiModel):
    """Groups requests that arrive close together into one batch."""

    max_queue_delay: Annotated[str, duration("0us", "10s", in_list=True)] | None = None
    """How long a request may wait for others to join its batch, such as 2ms."""


class CompanionBatching(ApiModel):
    """How its requests are grouped into batches."""

    max_batch_size: Annotated[int, Field(ge=0, le=65536)] | None = None
    """Maximum batch size; 0 means no batch dimension."""
    dynamic: CompanionDynamicBatching | None = None
    """Enables dynamic batching."""


class CompanionInstances(ApiModel):
    """A group of identical copies."""

    kind: InstanceKind = InstanceKind.AUTO
    """GPU, CPU, Model (decided by the model's code) or Auto."""
    count: Annotated[int, Field(ge=1, le=128)] = 1
    """Copies; with GPU, copies on each GPU."""
    gpus: Annotated[
        tuple[Annotated[int, Field(ge=0, le=15, description="A GPU of the pod, counted from 0.")], ...],
        items(16, list_type="set"),
    ] = ()
    """GPUs of the pod to use; absent: all."""


class Companion(ApiModel):
    """A further model in the same server."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.uri) || self.uri.matches(r'^(s3|gs|az|hf|oci|mlflow|https|pvc)://[^?#\\\\\\s[:cntrl:]]+$')"
            " && !self.uri.matches('/[.][.]?(/|$)|://.*//|%(2[eEfF5]|5[cC]|00)') && (!self.uri.startsWith('pvc://')"
            " || self.uri.matches('^pvc://[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(/|$)'))",
            "must be a URI as `model.uri` takes it, such as s3://bucket/folder: without white space, a query, and '.'"
            " or '..' in the path",
            at=".uri",
        ),
        rule(
            "!has(self.uri) || !self.uri.matches('^[^/]*//[^/]*@')",
            "must not carry a user name or password: put credentials into a Secret and name it in"
            " `credentialsSecretName`",
            at=".uri",
        ),
        rule(
            "!has(self.credentialsSecretName) || has(self.uri)",
            "must come with `uri`: without one, the model is in the folder of `model.uri`, with its credentials",
            at=".credentialsSecretName",
        ),
    )

    name: ModelName
    """Name in Triton, by which ensembles and other models call it."""
    uri: Annotated[str, text(1024)] | None = None
    """URI of the files, as in `model.uri`; absent: the folder of this name in `model.uri`.

    Then that holds several models, and the model itself is the folder of its own name."""
    digest: Digest | None = None
    """Expected digest."""
    credentials_secret_name: ObjectName | None = None
    """Secret whose keys become environment variables of its fetch step only."""
    backend: Backend | None = None
    """Triton backend; absent: inferred."""
    batching: CompanionBatching | None = None
    """How its requests are grouped into batches."""
    instances: Annotated[tuple[CompanionInstances, ...], items(8)] = ()
    """Copies of it within one server."""
    raw_model_config: Annotated[dict[str, Any], *open_object(64, _SHALLOW_SHAPES)] = Field(
        default_factory=dict, alias="modelConfig"
    )
    """Its ModelConfig in JSON form, merged over these fields."""
