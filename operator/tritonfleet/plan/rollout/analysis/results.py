"""The results of checks, the formatting of their numbers, and the evidence passed to a rollout.

Every check of `analysis` and `verification` returns a `CheckResult`: an `Outcome`, a reason (`Why`), a message and the
numbers behind it. The formatting functions keep messages within `MOST_CHARACTERS`, the limit of the status.
`Evidence` is what `runtime/canary_monitor.py` passes to the planner: the newest window and the verification of one step
of one attempt.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic.alias_generators import to_camel

from tritonfleet.plan.rollout.analysis.samples import Window


class Outcome(StrEnum):
    """The outcome of a check; only `PASSED` advances a rollout, only `FAILED` rolls it back."""

    PASSED = "Pass"
    FAILED = "Fail"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"
    """The data source is unavailable."""


class Why(StrEnum):
    """The reason of an outcome; each word is part of the API."""

    ALREADY_SEEN = "AlreadySeen"
    BAD_ANSWER = "BadAnswer"
    BAKING = "Baking"
    BEYOND_LIMIT = "BeyondLimit"
    CONFIRMING = "Confirming"
    CONTRACT_BROKEN = "ContractBroken"
    CONTRACT_FITS = "ContractFits"
    GOLDEN_RIGHT = "GoldenRight"
    GOLDEN_UNREADABLE = "GoldenUnreadable"
    GOLDEN_WRONG = "GoldenWrong"
    HARD_LIMIT = "HardLimit"
    ANALYSIS_RUNNING = "AnalysisRunning"
    NOT_WORSE = "NotWorse"
    NO_CANARY_TRAFFIC = "NoCanaryTraffic"
    NO_SERIES = "NoSeries"
    OTHER_HARDWARE = "OtherHardware"
    PODS_MISSING = "PodsMissing"
    PROBE_FAILED = "ProbeFailed"
    REJECTS_EVERYTHING = "RejectsEverything"
    SHARED_INCIDENT = "SharedIncident"
    SHARE_MISMATCH = "ShareMismatch"
    SUSPECT = "Suspect"
    TOO_FEW_REQUESTS = "TooFewRequests"
    UNEQUAL_LOAD = "UnequalLoad"
    UNPROVEN = "Unproven"
    UNREACHABLE = "Unreachable"
    WARMING_UP = "WarmingUp"
    WORSE = "Worse"


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers behind an outcome; shares are 0..1, None where a number does not apply."""

    canary: float | None = None
    canary_samples: int | None = None
    stable: float | None = None
    stable_samples: int | None = None
    limit: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check on one window."""

    check: str
    outcome: Outcome
    why: Why
    message: str
    """A sentence with the numbers, at most 256 characters."""
    numbers: Numbers = Numbers()

    def document(self) -> dict[str, Any]:
        """Return the entry for the status: outcome, reason, message, and the numbers that apply."""
        numbers = {to_camel(name): number for name, number in asdict(self.numbers).items() if number is not None}
        return {
            "check": self.check,
            "outcome": self.outcome.value,
            "reason": self.why.value,
            "message": self.message,
            **numbers,
        }


MOST_CHARACTERS = 256


def shorten(text: str) -> str:
    """Return `text`, truncated to the limit of the status."""
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def percent(share: float) -> str:
    """Return a share of 0..1 in percent, with two decimals below 1%: `0.53%`, `5.0%`."""
    value = 100 * share
    if value and abs(value) < 0.01:
        return "<0.01%"
    return f"{value:.2f}%" if abs(value) < 1 else f"{value:.1f}%"


def share_of(bad: int, requests: int) -> str:
    """Return a share with its counts: `5.0% (20/400)`."""
    return f"{percent(bad / requests)} ({bad:,}/{requests:,})" if requests else "no requests"


def probability(p: float) -> str:
    """Return a p-value such as `p=0.031`; below 1e-9 its exact value is meaningless."""
    return "p<1e-9" if p < 1e-9 else f"p={p:.2g}"


def value_of(value: float) -> str:
    """Return a value of unknown unit."""
    return f"{value:.4g}"


def seconds_of(seconds: float) -> str:
    """Return a latency, in milliseconds below ten seconds: `250ms`, `12s`."""
    return f"{1000 * seconds:.4g}ms" if seconds < 10 else f"{seconds:.4g}s"


def title_of(check: str) -> str:
    """Return a check's name in messages: `error rate` for `error-rate`; that of a custom query as it is."""
    return check if "/" in check else check.replace("-", " ")


EXPLAINED: Final = "slower because"
"""How the message of a check begins that passes because something else than the version explains the difference."""


def rank(outcome: str, why: str) -> tuple[int, bool]:
    """Return the rank of a result, or of what the status says of it: the lowest decides.

    The worst outcome goes first, and among equal ones what awaits confirmation.
    """
    return _WORST_FIRST.index(outcome), why != Why.CONFIRMING


_WORST_FIRST: Final = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.PASSED)


def deciding(results: Sequence[CheckResult]) -> CheckResult:
    """Return the result that decides: the first with the lowest rank."""
    return min(results, key=lambda result: rank(result.outcome, result.why))


_PHRASES: Final = {
    Why.BAD_ANSWER: "unknown",
    Why.BEYOND_LIMIT: "beyond the limit",
    Why.CONFIRMING: "failing, to be confirmed",
    Why.HARD_LIMIT: "above the hard limit",
    Why.NOT_WORSE: "OK",
    Why.NO_CANARY_TRAFFIC: "too low",
    Why.NO_SERIES: "unknown",
    Why.OTHER_HARDWARE: "not comparable",
    Why.PODS_MISSING: "unknown",
    Why.PROBE_FAILED: "failed",
    Why.REJECTS_EVERYTHING: "too low",
    Why.SHARED_INCIDENT: "beyond the limit on both revisions",
    Why.SHARE_MISMATCH: "off target",
    Why.SUSPECT: "suspect",
    Why.TOO_FEW_REQUESTS: "needs more requests",
    Why.UNEQUAL_LOAD: "not comparable",
    Why.UNREACHABLE: "unknown",
    Why.WARMING_UP: "not judged yet",
    Why.WORSE: "worse than stable",
}
"""The reasons in the words of a message, after the name of a check."""


def sentence_of(result: CheckResult) -> str:
    """Return a result as one sentence, such as `error rate OK: canary 0.40% (2/500), ...`."""
    return shorten(f"{title_of(result.check)} {_PHRASES.get(result.why, result.why)}: {result.message}")


@dataclass(frozen=True, slots=True)
class Verification:
    """The contract and the golden requests, checked on every ready canary pod before it gets traffic."""

    outcome: Outcome
    """The worst of the checks; `ERROR` while a pod could not be reached."""
    checks: tuple[CheckResult, ...]
    pods: int
    """Number of canary pods that answered."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for one step of one attempt; the planner ignores that of another."""

    canary: str
    attempt: int
    step: int
    window: Window | None = None
    """The newest complete window."""
    verification: Verification | None = None
