"""Rules for the instances of a model and the devices they run on."""

from collections.abc import Iterator
from typing import Final

from tritonfleet.triton.rules.problem import Problem
from tritonfleet.triton.schema import ModelConfig

_KINDS: Final = {0: "Auto", 1: "GPU", 2: "CPU", 3: "Model"}
_GPU: Final = 1
_WITHOUT_GPUS: Final = frozenset({2, 3})


def instance_problems(config: ModelConfig, gpus: int) -> Iterator[Problem]:
    """Check every instance group; `gpus` is how many GPUs the container will see, numbered from 0."""
    for index, group in enumerate(config.instance_group):
        yield from _group_problems(f"spec.instances[{index}]", group, gpus)
        if group.profile and not _runs_tensorrt(config):
            yield Problem(
                f"spec.instances[{index}].profile",
                ", ".join(group.profile),
                "has an effect with backend tensorrt only: remove it",
            )
    if config.instance_group and all(group.passive for group in config.instance_group):
        yield Problem("spec.instances", "passive throughout", "at least one must not be passive, or nothing executes")


def _group_problems(field: str, group: ModelConfig, gpus: int) -> Iterator[Problem]:
    kind = _KINDS[group.kind]
    if group.HasField("count") and group.count < 1:
        yield Problem(f"{field}.count", str(group.count), "must be 1 or more; Triton would quietly run 1")
    if group.kind in _WITHOUT_GPUS and group.gpus:
        yield Problem(f"{field}.gpus", _listed(group.gpus), f"must be empty when kind is {kind}")
        return
    if group.kind == _GPU and gpus == 0:
        yield Problem(f"{field}.kind", "GPU", "needs spec.server.gpu.count of 1 or more, or kind CPU")
        return
    for gpu in group.gpus:
        if not 0 <= gpu < gpus:
            yield Problem(
                f"{field}.gpus",
                str(gpu),
                f"must be below spec.server.gpu.count ({gpus}): GPUs are numbered from 0 in the container",
            )


def _runs_tensorrt(config: ModelConfig) -> bool:
    return "tensorrt" in {config.backend, config.platform.removesuffix("_plan")} or not (
        config.backend or config.platform
    )


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
