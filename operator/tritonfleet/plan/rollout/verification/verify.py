"""The verification of a canary: its contract against stable's, and its answers to golden requests.

`runtime/probes.py` queries every ready canary pod and passes the `PodAnswers` to `evaluate_answers`, which returns the
`Verification` for the rollout's Verifying phase. `contract_findings` lists the differences of two contracts that
clients could notice. Example: an input of FP32 [-1, 4] that becomes FP32 [-1, 8] is breaking; one that becomes FP32
[-1, -1] is not, as it still accepts every request that it accepted before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tritonfleet.api.canary import ContractPolicy
from tritonfleet.api.quantities import counted
from tritonfleet.plan.rollout.analysis import GOLDEN_REQUESTS, CheckResult, Numbers, Outcome, Verification, Why, shorten
from tritonfleet.plan.rollout.verification.golden_json import shape_text

ANY_SIZE = -1


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a model."""

    name: str
    datatype: str
    """As the KServe v2 protocol names it: FP32, INT64, BYTES."""
    shape: tuple[int, ...]
    """-1 for any size; with batching the first dimension is the batch."""
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.datatype} {shape_text(self.shape)}"


@dataclass(frozen=True, slots=True)
class Contract:
    """A model's inputs, outputs and batching, from its metadata."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    max_batch_size: int = 0
    """0 for a model without batching by Triton."""
    decoupled: bool = False


@dataclass(frozen=True, slots=True)
class ContractFinding:
    """One difference between two contracts."""

    text: str
    """A sentence that names the tensor and both values."""
    breaking: bool
    """Whether a request that stable answers may fail, or an answer may be misread."""


def contract_findings(stable: Contract, canary: Contract) -> tuple[ContractFinding, ...]:
    """Return every difference that clients could notice, the breaking ones first."""
    found = (
        *_inputs(_by_name(stable.inputs), _by_name(canary.inputs)),
        *_outputs(_by_name(stable.outputs), _by_name(canary.outputs)),
        *_batch(stable, canary),
        *_decoupling(stable, canary),
    )
    return tuple(sorted(found, key=lambda finding: not finding.breaking))


def _by_name(ports: tuple[Port, ...]) -> Mapping[str, Port]:
    return {port.name: port for port in ports}


def _inputs(stable: Mapping[str, Port], canary: Mapping[str, Port]) -> Iterator[ContractFinding]:
    for name, old in stable.items():
        new = canary.get(name)
        if new is None:
            yield ContractFinding(f"input '{name}' ({old}) was removed", breaking=True)
            continue
        yield from _datatype(f"input '{name}'", old, new)
        yield from _taken_shape(f"input '{name}'", old, new)
        if old.optional and not new.optional:
            yield ContractFinding(f"input '{name}' is required; optional on stable", breaking=True)
        if new.optional and not old.optional:
            yield ContractFinding(f"input '{name}' is optional; required on stable", breaking=False)
    for name, new in canary.items():
        if name not in stable:
            kind = "optional" if new.optional else "required"
            yield ContractFinding(f"input '{name}' ({new}) is new and {kind}", breaking=not new.optional)


def _outputs(stable: Mapping[str, Port], canary: Mapping[str, Port]) -> Iterator[ContractFinding]:
    for name, old in stable.items():
        new = canary.get(name)
        if new is None:
            yield ContractFinding(f"output '{name}' ({old}) was removed", breaking=True)
            continue
        yield from _datatype(f"output '{name}'", old, new)
        yield from _given_shape(f"output '{name}'", old, new)
    for name, new in canary.items():
        if name not in stable:
            yield ContractFinding(f"output '{name}' ({new}) is new", breaking=False)


def _datatype(what: str, old: Port, new: Port) -> Iterator[ContractFinding]:
    if new.datatype != old.datatype:
        yield ContractFinding(f"{what} is {new.datatype}; {old.datatype} on stable", breaking=True)


def _taken_shape(what: str, old: Port, new: Port) -> Iterator[ContractFinding]:
    """An input may accept more than before: a fixed size may become any size, but not the reverse."""
    if new.shape != old.shape:
        fits = len(new.shape) == len(old.shape) and all(
            now in (before, ANY_SIZE) for before, now in zip(old.shape, new.shape, strict=True)
        )
        yield _shapes(what, old, new, breaking=not fits)


def _given_shape(what: str, old: Port, new: Port) -> Iterator[ContractFinding]:
    """An output must keep its rank and sizes; a size that is declared as any, before or now, is compatible."""
    if new.shape != old.shape:
        fits = len(new.shape) == len(old.shape) and all(
            before == now or ANY_SIZE in (before, now) for before, now in zip(old.shape, new.shape, strict=True)
        )
        yield _shapes(what, old, new, breaking=not fits)


def _shapes(what: str, old: Port, new: Port, *, breaking: bool) -> ContractFinding:
    return ContractFinding(
        f"{what} has shape {shape_text(new.shape)}; {shape_text(old.shape)} on stable", breaking=breaking
    )


def _batch(stable: Contract, canary: Contract) -> Iterator[ContractFinding]:
    """Without batching by Triton, the shapes alone determine how many rows a request may have."""
    before, now = _most_rows(stable), _most_rows(canary)
    if canary.max_batch_size and (before is None or before > canary.max_batch_size):
        most = "any number" if before is None else str(before)
        text = f"a request may have {counted(canary.max_batch_size, 'row')}; {most} on stable"
        yield ContractFinding(text, breaking=True)
    elif stable.max_batch_size and (now is None or now > stable.max_batch_size):
        most = "any number of rows" if now is None else counted(now, "row")
        yield ContractFinding(f"a request may have {most}; {stable.max_batch_size} on stable", breaking=False)


def _most_rows(contract: Contract) -> int | None:
    """Return how many rows a request may have; None for any number."""
    if contract.max_batch_size:
        return contract.max_batch_size
    firsts = [port.shape[0] for port in contract.inputs if port.shape]
    return None if ANY_SIZE in firsts else max(firsts, default=1)


def _decoupling(stable: Contract, canary: Contract) -> Iterator[ContractFinding]:
    if canary.decoupled != stable.decoupled:
        now, before = (
            "any number of responses" if contract.decoupled else "one response" for contract in (canary, stable)
        )
        yield ContractFinding(
            f"a request gets {now} (decoupled: {_yes(canary.decoupled)}); {before} on stable", breaking=True
        )


def _yes(flag: bool) -> str:
    return "true" if flag else "false"


CONTRACT: Final = "contract"
_WORST_FIRST: Final = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class PodAnswers:
    """The result of verifying one canary pod."""

    contract: Contract | None = None
    """None if it was not requested, or could not be read."""
    wrong: str = ""
    """The first wrong answer: request, output, expected and got; empty if there was none."""
    unreachable: str = ""
    """Why the pod could not be verified; empty if it could."""


@dataclass(frozen=True, slots=True)
class ContractBaseline:
    """The contract to compare with, and the policy."""

    policy: ContractPolicy
    stable: Contract | None = None
    problem: str = ""
    """Why stable's contract is unknown; empty if it is known."""


def evaluate_answers(
    pods: Sequence[PodAnswers], baseline: ContractBaseline, *, golden_requests: int, golden_problem: str = ""
) -> Verification:
    """Return the verdict on the canary; `golden_requests` is the number of requests sent to every pod."""
    checks = []
    if baseline.policy is not ContractPolicy.OFF:
        checks.append(_contract(pods, baseline))
    if golden_problem:
        checks.append(CheckResult(GOLDEN_REQUESTS, Outcome.ERROR, Why.GOLDEN_UNREADABLE, shorten(golden_problem)))
    elif golden_requests:
        checks.append(_golden(pods, golden_requests))
    outcomes = {check.outcome for check in checks}
    outcome = next((worst for worst in _WORST_FIRST if worst in outcomes), Outcome.PASSED)
    return Verification(outcome, tuple(checks), sum(not pod.unreachable for pod in pods))


def _contract(pods: Sequence[PodAnswers], baseline: ContractBaseline) -> CheckResult:
    if baseline.stable is None:
        return _unreachable(CONTRACT, f"stable's contract is unknown: {baseline.problem}")
    contracts = {pod.contract for pod in pods if pod.contract is not None}
    found = tuple(
        dict.fromkeys(each for contract in contracts for each in contract_findings(baseline.stable, contract))
    )
    broken = [finding for finding in found if finding.breaking]
    if broken and baseline.policy is ContractPolicy.ENFORCE:
        text = f"incompatible with stable's clients: {_listed(broken)}"
        return CheckResult(CONTRACT, Outcome.FAILED, Why.CONTRACT_BROKEN, shorten(text))
    silent = _silent(pods)
    if silent or not contracts:
        return _unreachable(CONTRACT, silent)
    if broken:
        text = f"incompatible with stable's clients, allowed by `contract: Warn`: {_listed(broken)}"
        return CheckResult(CONTRACT, Outcome.PASSED, Why.CONTRACT_BROKEN, shorten(text))
    text = f"{len(pods)}/{len(pods)} pods compatible with stable's clients" + (f"; {_listed(found)}" if found else "")
    return CheckResult(CONTRACT, Outcome.PASSED, Why.CONTRACT_FITS, shorten(text))


def _golden(pods: Sequence[PodAnswers], requests: int) -> CheckResult:
    wrong = [pod.wrong for pod in pods if pod.wrong]
    numbers = Numbers(canary=len(wrong) / len(pods) if pods else None, canary_samples=len(pods), limit=0.0)
    if wrong:
        text = f"{len(wrong)}/{len(pods)} pods answered golden requests wrong: {wrong[0]}"
        return CheckResult(GOLDEN_REQUESTS, Outcome.FAILED, Why.GOLDEN_WRONG, shorten(text), numbers)
    silent = _silent(pods)
    if silent or not pods:
        return _unreachable(GOLDEN_REQUESTS, silent)
    text = f"{counted(requests, 'golden request')} answered correctly by {len(pods)}/{len(pods)} pods"
    return CheckResult(GOLDEN_REQUESTS, Outcome.PASSED, Why.GOLDEN_RIGHT, shorten(text), numbers)


def _silent(pods: Sequence[PodAnswers]) -> str:
    """Return how many pods could not be reached, and why; empty if none."""
    reasons = [pod.unreachable for pod in pods if pod.unreachable]
    return f"{len(reasons)}/{len(pods)} pods unreachable: {reasons[0]}" if reasons else ""


def _unreachable(check: str, text: str) -> CheckResult:
    return CheckResult(check, Outcome.ERROR, Why.UNREACHABLE, shorten(text or "no canary pod is ready"))


def _listed(found: Sequence[ContractFinding]) -> str:
    return "; ".join(finding.text for finding in found)
