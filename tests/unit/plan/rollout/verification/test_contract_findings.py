from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.rollout.verification import Contract, Port
from tritonfleet.plan.rollout.verification.verify import ContractFinding, contract_findings

DIGITS = Contract(
    inputs=(Port("X", "FP32", (-1, 64)),),
    outputs=(Port("label", "INT64", (-1,)), Port("probabilities", "FP32", (-1, 10))),
    max_batch_size=16,
)
X, LABEL, PROBABILITIES = *DIGITS.inputs, *DIGITS.outputs
UNBATCHED = replace(DIGITS, max_batch_size=0)


def with_inputs(*ports: Port) -> Contract:
    return replace(DIGITS, inputs=ports)


def with_outputs(*ports: Port) -> Contract:
    return replace(DIGITS, outputs=ports)


BREAKING = {
    "an output is gone": (
        DIGITS,
        with_outputs(LABEL),
        ["output 'probabilities' (FP32 [-1, 10]) was removed"],
    ),
    "an output has another name": (
        DIGITS,
        with_outputs(LABEL, replace(PROBABILITIES, name="scores")),
        [
            "output 'probabilities' (FP32 [-1, 10]) was removed",
            "output 'scores' (FP32 [-1, 10]) is new",
        ],
    ),
    "an output has another type": (
        DIGITS,
        with_outputs(LABEL, replace(PROBABILITIES, datatype="FP16")),
        ["output 'probabilities' is FP16; FP32 on stable"],
    ),
    "an output has another size": (
        DIGITS,
        with_outputs(LABEL, replace(PROBABILITIES, shape=(-1, 12))),
        ["output 'probabilities' has shape [-1, 12]; [-1, 10] on stable"],
    ),
    "an output has another rank": (
        DIGITS,
        with_outputs(replace(LABEL, shape=(-1, 1)), PROBABILITIES),
        ["output 'label' has shape [-1, 1]; [-1] on stable"],
    ),
    "an input is gone": (
        with_inputs(X, Port("mask", "BOOL", (-1, 64))),
        DIGITS,
        ["input 'mask' (BOOL [-1, 64]) was removed"],
    ),
    "a new input is required": (
        DIGITS,
        with_inputs(X, Port("mask", "BOOL", (-1, 64))),
        ["input 'mask' (BOOL [-1, 64]) is new and required"],
    ),
    "an input has another type": (
        DIGITS,
        with_inputs(replace(X, datatype="UINT8")),
        ["input 'X' is UINT8; FP32 on stable"],
    ),
    "an input takes one size only": (
        with_inputs(replace(X, shape=(-1, -1))),
        DIGITS,
        ["input 'X' has shape [-1, 64]; [-1, -1] on stable"],
    ),
    "an input has another rank": (
        DIGITS,
        with_inputs(replace(X, shape=(-1, 8, 8))),
        ["input 'X' has shape [-1, 8, 8]; [-1, 64] on stable"],
    ),
    "an input is not optional any more": (
        with_inputs(replace(X, optional=True)),
        DIGITS,
        ["input 'X' is required; optional on stable"],
    ),
    "batches are smaller": (
        DIGITS,
        replace(DIGITS, max_batch_size=8),
        ["a request may have 8 rows; 16 on stable"],
    ),
    "batches are bounded": (
        UNBATCHED,
        DIGITS,
        ["a request may have 16 rows; any number on stable"],
    ),
    "batches are gone": (
        DIGITS,
        replace(DIGITS, max_batch_size=0, inputs=(replace(X, shape=(64,)),), outputs=(LABEL, PROBABILITIES)),
        ["input 'X' has shape [64]; [-1, 64] on stable"],
    ),
    "only one row is taken": (
        DIGITS,
        replace(DIGITS, max_batch_size=0, inputs=(replace(X, shape=(1, 64)),)),
        ["input 'X' has shape [1, 64]; [-1, 64] on stable"],
    ),
    "answers may be many": (
        DIGITS,
        replace(DIGITS, decoupled=True),
        ["a request gets any number of responses (decoupled: true); one response on stable"],
    ),
    "answers are one": (
        replace(DIGITS, decoupled=True),
        DIGITS,
        ["a request gets one response (decoupled: false); any number of responses on stable"],
    ),
}

COMPATIBLE = {
    "a new input is optional": (
        DIGITS,
        with_inputs(X, Port("mask", "BOOL", (-1, 64), optional=True)),
        ["input 'mask' (BOOL [-1, 64]) is new and optional"],
    ),
    "an input becomes optional": (
        DIGITS,
        with_inputs(replace(X, optional=True)),
        ["input 'X' is optional; required on stable"],
    ),
    "an input takes any size": (
        DIGITS,
        with_inputs(replace(X, shape=(-1, -1))),
        ["input 'X' has shape [-1, -1]; [-1, 64] on stable"],
    ),
    "an output is new": (
        with_outputs(LABEL),
        DIGITS,
        ["output 'probabilities' (FP32 [-1, 10]) is new"],
    ),
    "an output is declared with any size": (
        DIGITS,
        with_outputs(LABEL, replace(PROBABILITIES, shape=(-1, -1))),
        ["output 'probabilities' has shape [-1, -1]; [-1, 10] on stable"],
    ),
    "batches are larger": (
        DIGITS,
        replace(DIGITS, max_batch_size=32),
        ["a request may have 32 rows; 16 on stable"],
    ),
    "batches are unbounded": (
        DIGITS,
        UNBATCHED,
        ["a request may have any number of rows; 16 on stable"],
    ),
    "a single row becomes a batch": (
        replace(UNBATCHED, inputs=(replace(X, shape=(1, 64)),)),
        DIGITS,
        ["input 'X' has shape [-1, 64]; [1, 64] on stable"],
    ),
    "tensors change places": (DIGITS, with_outputs(PROBABILITIES, LABEL), []),
}


@pytest.mark.parametrize(("stable", "canary", "texts"), BREAKING.values(), ids=BREAKING)
def test_what_breaks_clients_is_named_with_both_values(stable: Contract, canary: Contract, texts: list[str]) -> None:
    found = contract_findings(stable, canary)

    assert found[0].breaking
    assert [finding.text for finding in found][: len(texts)] == texts


@pytest.mark.parametrize(("stable", "canary", "texts"), COMPATIBLE.values(), ids=COMPATIBLE)
def test_compatible_additions_are_listed(stable: Contract, canary: Contract, texts: list[str]) -> None:
    assert contract_findings(stable, canary) == tuple(ContractFinding(text, breaking=False) for text in texts)


SIZES = st.sampled_from([-1, 1, 2, 3])
PORTS = st.lists(
    st.builds(
        Port,
        name=st.sampled_from("ABC"),
        datatype=st.sampled_from(["FP32", "INT64"]),
        shape=st.lists(SIZES, min_size=1, max_size=2).map(tuple),
        optional=st.booleans(),
    ),
    unique_by=lambda port: port.name,
    max_size=3,
).map(tuple)
CONTRACTS = st.builds(
    Contract, inputs=PORTS, outputs=PORTS, max_batch_size=st.sampled_from([0, 1, 4]), decoupled=st.booleans()
)


@given(CONTRACTS)
def test_a_contract_is_compatible_with_itself(contract: Contract) -> None:
    assert contract_findings(contract, contract) == ()


def taken(contract: Contract, name: str, shape: tuple[int, ...], datatype: str) -> bool:
    """Whether Triton would take a tensor: what the rules must never contradict."""
    port = next((port for port in contract.inputs if port.name == name), None)
    if port is None or port.datatype != datatype or len(port.shape) != len(shape):
        return False
    rows_fit = not contract.max_batch_size or shape[0] <= contract.max_batch_size
    return rows_fit and all(wanted in (-1, size) for wanted, size in zip(port.shape, shape, strict=True))


@given(CONTRACTS, CONTRACTS, st.data())
def test_a_request_that_stable_takes_is_taken_by_a_canary_without_breaking_findings(
    stable: Contract, canary: Contract, data: st.DataObject
) -> None:
    if any(finding.breaking for finding in contract_findings(stable, canary)):
        return
    for port in stable.inputs:
        shape = tuple(data.draw(st.integers(1, 6)) if size == -1 else size for size in port.shape)
        if taken(stable, port.name, shape, port.datatype):
            assert taken(canary, port.name, shape, port.datatype)
    assert {port.name for port in canary.inputs if not port.optional} <= {port.name for port in stable.inputs}
    assert {port.name for port in stable.outputs} <= {port.name for port in canary.outputs}
