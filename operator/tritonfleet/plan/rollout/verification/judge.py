"""What contracts and golden answers come to before a canary gets any request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tritonfleet.api.canary import ContractPolicy
from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Numbers, Outcome, Why
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.evidence import Verification
from tritonfleet.plan.rollout.verification.contract import Contract, Finding, findings

CONTRACT: Final = "contract"
GOLDEN: Final = "golden"
_WORST_FIRST: Final = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Interview:
    """What one pod of the canary said to everything it was asked."""

    contract: Contract | None = None
    """None when it was not asked for, or did not come."""
    wrong: str = ""
    """The first wrong answer: request, output, expected and got; empty if there was none."""
    unreachable: str = ""
    """Why the pod could not be asked everything; empty if it could."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What the contract check is made with."""

    policy: ContractPolicy
    stable: Contract | None = None
    problem: str = ""
    """Why stable's contract is not known; empty if it is."""


def verification(
    pods: Sequence[Interview], compared: Compared, *, golden_requests: int, golden_problem: str = ""
) -> Verification:
    """Return the verdict on the canary; `golden_requests` were to be sent to every pod."""
    checks = []
    if compared.policy is not ContractPolicy.OFF:
        checks.append(_contract(pods, compared))
    if golden_problem:
        checks.append(CheckResult(GOLDEN, Outcome.ERROR, Why.GOLDEN_UNREADABLE, sentence(golden_problem)))
    elif golden_requests:
        checks.append(_golden(pods, golden_requests))
    outcomes = {check.outcome for check in checks}
    outcome = next((worst for worst in _WORST_FIRST if worst in outcomes), Outcome.PASSED)
    return Verification(outcome, tuple(checks), sum(not pod.unreachable for pod in pods))


def _contract(pods: Sequence[Interview], compared: Compared) -> CheckResult:
    if compared.stable is None:
        return _unreachable(CONTRACT, f"stable's contract is not known: {compared.problem}")
    contracts = {pod.contract for pod in pods if pod.contract is not None}
    found = tuple(dict.fromkeys(each for contract in contracts for each in findings(compared.stable, contract)))
    broken = [finding for finding in found if finding.breaking]
    if broken and compared.policy is ContractPolicy.ENFORCE:
        text = f"clients of stable would break: {_listed(broken)}"
        return CheckResult(CONTRACT, Outcome.FAILED, Why.CONTRACT_BROKEN, sentence(text))
    silent = _silent(pods)
    if silent or not contracts:
        return _unreachable(CONTRACT, silent)
    if broken:
        text = f"clients of stable may break, which `contract: Warn` lets pass: {_listed(broken)}"
        return CheckResult(CONTRACT, Outcome.PASSED, Why.CONTRACT_BROKEN, sentence(text))
    text = f"{len(pods)} of {len(pods)} pods fit clients of stable" + (f"; {_listed(found)}" if found else "")
    return CheckResult(CONTRACT, Outcome.PASSED, Why.CONTRACT_FITS, sentence(text))


def _golden(pods: Sequence[Interview], requests: int) -> CheckResult:
    wrong = [pod.wrong for pod in pods if pod.wrong]
    numbers = Numbers(canary=len(wrong) / len(pods) if pods else None, canary_n=len(pods), limit=0.0)
    if wrong:
        text = f"{len(wrong)} of {len(pods)} pods answer golden requests wrong: {wrong[0]}"
        return CheckResult(GOLDEN, Outcome.FAILED, Why.GOLDEN_WRONG, sentence(text), numbers)
    silent = _silent(pods)
    if silent or not pods:
        return _unreachable(GOLDEN, silent)
    text = f"{requests} golden requests answered right by {len(pods)} of {len(pods)} pods"
    return CheckResult(GOLDEN, Outcome.PASSED, Why.GOLDEN_RIGHT, sentence(text), numbers)


def _silent(pods: Sequence[Interview]) -> str:
    """Return who could not be asked; empty if everybody could."""
    reasons = [pod.unreachable for pod in pods if pod.unreachable]
    return f"{len(reasons)} of {len(pods)} pods could not be asked: {reasons[0]}" if reasons else ""


def _unreachable(check: str, text: str) -> CheckResult:
    return CheckResult(check, Outcome.ERROR, Why.UNREACHABLE, sentence(text or "no pod of the canary is ready"))


def _listed(found: Sequence[Finding]) -> str:
    return "; ".join(finding.text for finding in found)
