"""`spec.instances`: how many copies of the model run in one server, and on what."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from tritonfleet.api.base import ApiModel, items, text
from tritonfleet.api.cel import Rule, rule


class InstanceKind(StrEnum):
    """What an instance runs on; Model leaves it to the model's own code."""

    AUTO = "Auto"
    GPU = "GPU"
    CPU = "CPU"
    MODEL = "Model"


class InstanceGroup(ApiModel):
    """A number of equal copies of the model within one server."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.gpus) || size(self.gpus) == 0 || !(self.kind in ['CPU', 'Model'])",
            "must be absent unless `kind` is 'GPU' or 'Auto'",
            at=".gpus",
        ),
    )

    kind: InstanceKind = InstanceKind.AUTO
    """GPU, CPU, Model (the model's own code decides) or Auto."""
    count: Annotated[int, Field(ge=1, le=128)] = 1
    """Copies of the model; with GPU, copies on each GPU."""
    gpus: Annotated[
        tuple[Annotated[int, Field(ge=0, le=15, description="A GPU of the pod, counted from 0.")], ...],
        items(16, list_type="set"),
    ] = ()
    """GPUs of the pod to use, counted from 0; all of them when absent."""
    profile: Annotated[
        tuple[Annotated[str, text(64, description="A TensorRT profile.")], ...], items(16, list_type="set")
    ] = ()
    """TensorRT optimization profiles to load."""
    passive: bool = False
    """Whether the copies are loaded but get no requests from the scheduler."""
