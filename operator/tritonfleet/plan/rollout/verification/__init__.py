"""Verification: may the canary get traffic? Contracts and answers in, a verdict with numbers out.

Before a canary gets traffic, `runtime/probes.py` reads the model metadata of each pod (`Contract`) and sends it the
golden requests of `read_golden()`. `mismatch()` compares each answer with the expected one; `evaluate_answers()` also
compares the contracts of the two revisions, and returns a `Verification`, on which `plan/rollout` decides.
`cli/golden.py` uses the same functions.

Example: the golden file expects `scores` of [0.1, 0.9], each within 0.001, and a canary pod answers [0.1, 0.903]. That
is off by 0.003: the canary fails before it gets traffic, and the verdict names the request and the tensor.

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
