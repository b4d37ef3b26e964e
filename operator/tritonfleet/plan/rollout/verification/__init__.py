"""Whether the canary may take traffic: contracts and answers in, a verdict with numbers out.

Before a canary pod gets its first request, `runtime/probes.py` asks it for its metadata (`Contract`) and sends
it the golden requests of `read_golden()`. `mismatch()` compares each answer with the expected one, `evaluate_answers()`
compares the contracts of the two revisions as well and returns a `Verification`, which `plan/rollout` acts on.
`cli/golden.py` uses the same functions.

Example: the golden file expects `scores` of [0.1, 0.9], each within 0.001, and a canary pod answers [0.1, 0.903]. It is
off by 0.003: the canary fails before it has served anybody, and the verdict says which tensor of which request it was.

Import from here and not from the modules inside.
"""

from tritonfleet.plan.rollout.verification.compare import Answer, Exact, GoldenRequest, JsonPath, mismatch
from tritonfleet.plan.rollout.verification.golden import (
    TENSORS_MAX,
    Golden,
    golden_entries,
    inputs_of,
    parse_golden,
    read_golden,
)
from tritonfleet.plan.rollout.verification.golden_json import (
    DATATYPES,
    FLOATS,
    INTEGERS,
    TENSOR_FIELDS,
    Entry,
    InvalidGolden,
    Tensor,
    Value,
)
from tritonfleet.plan.rollout.verification.verify import Contract, ContractBaseline, PodAnswers, Port, evaluate_answers

__all__ = [
    "DATATYPES",
    "FLOATS",
    "INTEGERS",
    "TENSORS_MAX",
    "TENSOR_FIELDS",
    "Answer",
    "Contract",
    "ContractBaseline",
    "Entry",
    "Exact",
    "Golden",
    "GoldenRequest",
    "InvalidGolden",
    "JsonPath",
    "PodAnswers",
    "Port",
    "Tensor",
    "Value",
    "evaluate_answers",
    "golden_entries",
    "inputs_of",
    "mismatch",
    "parse_golden",
    "read_golden",
]
