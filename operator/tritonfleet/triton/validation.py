"""Whether Triton will load a model configuration, and do what it says, found out before a GPU is taken.

Covers the rules that Triton enforces when it loads the model and those that it accepts in silence.
"""

from tritonfleet.errors import InvalidSpec
from tritonfleet.triton.rules.batching import batching_problems
from tritonfleet.triton.rules.instances import instance_problems
from tritonfleet.triton.rules.model import model_problems
from tritonfleet.triton.rules.problem import Problem
from tritonfleet.triton.rules.tensors import tensor_problems
from tritonfleet.triton.schema import ModelConfig

_SHOWN = 5
"""Problems quoted in one message; conditions are short."""


def problems(config: ModelConfig, *, model_name: str, gpus: int, server_has_cache: bool = False) -> tuple[Problem, ...]:
    """Return every broken rule; `gpus` is the number of GPUs the container sees."""
    return (
        *model_problems(config, model_name, server_has_cache=server_has_cache),
        *tensor_problems(config),
        *batching_problems(config),
        *instance_problems(config, gpus),
    )


def refuse_problems(found: tuple[Problem, ...]) -> None:
    """Raise InvalidSpec (ConfigInvalid) that names the broken rules, if there are any."""
    if not found:
        return
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise InvalidSpec("; ".join(str(problem) for problem in found[:_SHOWN]) + more)
