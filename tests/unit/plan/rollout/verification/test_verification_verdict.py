from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.canary import ContractPolicy
from tritonfleet.plan.rollout.analysis import CheckResult, Outcome, Verification, Why
from tritonfleet.plan.rollout.verification import Contract, ContractBaseline, PodAnswers, Port, evaluate_answers

DIGITS = Contract((Port("X", "FP32", (-1, 64)),), (Port("label", "INT64", (-1,)),), max_batch_size=16)
RENAMED = replace(DIGITS, inputs=(Port("image", "FP32", (-1, 64)),))
RICHER = replace(DIGITS, outputs=(*DIGITS.outputs, Port("scores", "FP32", (-1, 10))))
FITS, BREAKS = PodAnswers(DIGITS), PodAnswers(RENAMED)
WRONG = PodAnswers(DIGITS, wrong="'a seven': output 'label'[0]: expected 7, got 3 (1/1 values differ)")
SILENT = PodAnswers(unreachable="UNAVAILABLE: connection refused")
ENFORCE, WARN, OFF = (ContractBaseline(policy, DIGITS) for policy in ContractPolicy)


def verdict(
    *pods: PodAnswers, compared: ContractBaseline = ENFORCE, golden: int = 3, problem: str = ""
) -> Verification:
    return evaluate_answers(pods, compared, golden_requests=golden, golden_problem=problem)


def check(found: Verification, name: str) -> CheckResult:
    return next(each for each in found.checks if each.check == name)


def test_a_canary_that_fits_and_answers_right_passes() -> None:
    found = verdict(FITS, FITS)

    assert found.outcome is Outcome.PASSED
    assert found.pods == 2
    assert [(each.check, each.outcome, each.why) for each in found.checks] == [
        ("contract", Outcome.PASSED, Why.CONTRACT_FITS),
        ("golden-requests", Outcome.PASSED, Why.GOLDEN_RIGHT),
    ]
    assert check(found, "golden-requests").message == "3 golden requests answered correctly by 2/2 pods"


def test_a_contract_that_breaks_clients_fails_and_names_what_breaks() -> None:
    found = verdict(BREAKS, BREAKS)

    assert found.outcome is Outcome.FAILED
    assert check(found, "contract").why is Why.CONTRACT_BROKEN
    assert check(found, "contract").message == (
        "incompatible with stable's clients: input 'X' (FP32 [-1, 64]) was removed; "
        "input 'image' (FP32 [-1, 64]) is new and required"
    )


def test_one_pod_with_another_contract_is_enough_to_fail() -> None:
    assert verdict(FITS, BREAKS).outcome is Outcome.FAILED


def test_a_warning_lets_a_broken_contract_pass_and_says_so() -> None:
    found = verdict(BREAKS, compared=WARN)

    assert found.outcome is Outcome.PASSED
    assert check(found, "contract").why is Why.CONTRACT_BROKEN
    assert "incompatible with stable's clients, allowed by `contract: Warn`: input 'X'" in found.checks[0].message


def test_a_disabled_contract_check_is_not_reported() -> None:
    assert [each.check for each in verdict(BREAKS, compared=OFF).checks] == ["golden-requests"]


def test_what_is_new_and_harmless_is_mentioned() -> None:
    found = verdict(PodAnswers(RICHER))

    assert found.outcome is Outcome.PASSED
    assert check(found, "contract").message == (
        "1/1 pods compatible with stable's clients; output 'scores' (FP32 [-1, 10]) is new"
    )


def test_one_pod_that_answers_wrong_fails_the_canary_with_numbers() -> None:
    found = verdict(FITS, WRONG, FITS)

    golden = check(found, "golden-requests")
    assert found.outcome is Outcome.FAILED
    assert golden.why is Why.GOLDEN_WRONG
    assert golden.message == (
        "1/3 pods answered golden requests wrong: 'a seven': output 'label'[0]: expected 7, got 3 (1/1 values differ)"
    )
    assert golden.numbers.canary == pytest.approx(1 / 3)
    assert golden.numbers.canary_samples == 3


def test_a_pod_that_cannot_be_asked_is_no_reason_to_roll_back_and_none_to_go_on() -> None:
    found = verdict(FITS, SILENT)

    assert found.outcome is Outcome.ERROR
    assert found.pods == 1
    assert {each.message for each in found.checks} == {"1/2 pods unreachable: UNAVAILABLE: connection refused"}


def test_a_wrong_response_counts_even_if_other_pods_do_not_answer() -> None:
    assert verdict(SILENT, WRONG).outcome is Outcome.FAILED
    assert verdict(SILENT, BREAKS).outcome is Outcome.FAILED


def test_without_a_stable_pod_the_contract_check_is_an_error() -> None:
    found = verdict(FITS, compared=ContractBaseline(ContractPolicy.ENFORCE, problem="none of its pods is ready"))

    assert found.outcome is Outcome.ERROR
    assert check(found, "contract").message == "stable's contract is unknown: none of its pods is ready"


def test_a_golden_file_that_cannot_be_read_holds_the_rollout_and_blames_the_file() -> None:
    found = verdict(FITS, golden=0, problem="golden[0].name: is missing")

    assert found.outcome is Outcome.ERROR
    assert check(found, "golden-requests").why is Why.GOLDEN_UNREADABLE
    assert check(found, "golden-requests").message == "golden[0].name: is missing"


def test_without_a_ready_pod_nothing_is_known() -> None:
    found = verdict()

    assert found.outcome is Outcome.ERROR
    assert {each.message for each in found.checks} == {"no canary pod is ready"}


def test_when_nothing_is_asked_there_is_nothing_against_it() -> None:
    assert verdict(PodAnswers(), compared=OFF, golden=0) == Verification(Outcome.PASSED, (), 1)


INTERVIEWS = st.builds(
    PodAnswers,
    contract=st.sampled_from([None, DIGITS, RENAMED, RICHER]),
    wrong=st.sampled_from(["", "x" * 400]),
    unreachable=st.sampled_from(["", "y" * 400]),
)
COMPARED = st.builds(
    ContractBaseline,
    policy=st.sampled_from(ContractPolicy),
    stable=st.sampled_from([None, DIGITS]),
    problem=st.just("z" * 400),
)


@given(st.lists(INTERVIEWS, max_size=5), COMPARED, st.integers(0, 3), st.sampled_from(["", "p" * 400]))
def test_nothing_passes_with_a_wrong_answer_or_a_silent_pod(
    pods: list[PodAnswers], compared: ContractBaseline, golden: int, problem: str
) -> None:
    found = evaluate_answers(pods, compared, golden_requests=golden, golden_problem=problem)

    assert all(0 < len(each.message) <= 256 for each in found.checks)
    if found.outcome is Outcome.PASSED and found.checks:
        assert pods
        assert not problem
        assert not any(pod.unreachable for pod in pods)
        assert not (golden and any(pod.wrong for pod in pods))
    if compared.policy is ContractPolicy.ENFORCE and any(pod.contract == RENAMED for pod in pods):
        assert found.outcome is not Outcome.PASSED
