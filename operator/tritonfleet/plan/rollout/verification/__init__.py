"""Whether the canary may take traffic: contracts and answers in, a verdict with numbers out.

Before a canary pod gets its first request, `runtime/verification.py` asks it for its metadata (`Contract`) and sends
it the golden requests of `read_golden()`. `mismatch()` compares each answer with the expected one, `evaluate_answers()`
compares the contracts of the two revisions as well and returns a `Verification`, which `plan/rollout` acts on.
`cli/golden` uses the same functions. Import from here and not from the modules inside.
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
