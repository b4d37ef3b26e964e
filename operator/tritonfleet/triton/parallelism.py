"""How many requests one server works on at a time: in one batch, and in batches side by side."""

from typing import Final

from tritonfleet.triton.schema import ModelConfig

_TWO_ON_THE_CPU: Final = frozenset({"onnxruntime", "tensorflow"})
"""Backends of which Triton makes two copies where the configuration asks for none in particular."""


def largest_batch(config: ModelConfig) -> int:
    """Return how many requests Triton itself puts into one batch; 1 without a dynamic batcher."""
    return max(1, int(config.max_batch_size)) if config.HasField("dynamic_batching") else 1


def executions_side_by_side(config: ModelConfig, gpus: int) -> int:
    """Return how many batches a server with so many GPUs can work on at the same time."""
    if not config.instance_group:
        return gpus or (2 if config.backend in _TWO_ON_THE_CPU else 1)
    return max(1, sum(_copies(group, gpus) for group in config.instance_group if not group.passive))


def _copies(group: ModelConfig, gpus: int) -> int:
    on_gpus = group.kind in (group.KIND_GPU, group.KIND_AUTO) and gpus > 0
    return max(1, int(group.count)) * ((len(group.gpus) or gpus) if on_gpus else 1)
