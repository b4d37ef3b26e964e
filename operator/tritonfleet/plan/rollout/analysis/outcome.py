"""What a check or a whole look says, and why."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pydantic.alias_generators import to_camel


class Outcome(StrEnum):
    """What follows from a check; only `PASSED` lets a rollout go on, only `FAILED` rolls it back."""

    PASSED = "Pass"
    FAILED = "Fail"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"
    """The source of the data did not answer."""


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
    LOOKING = "Looking"
    NOT_WORSE = "NotWorse"
    NOTHING_ARRIVES = "NothingArrives"
    NO_SERIES = "NoSeries"
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
    WORSE = "Worse"


@dataclass(frozen=True, slots=True)
class Numbers:
    """What an outcome rests on; shares are 0..1, `None` where there is no such number."""

    canary: float | None = None
    canary_n: int | None = None
    stable: float | None = None
    stable_n: int | None = None
    limit: float | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check says of one window."""

    check: str
    outcome: Outcome
    why: Why
    message: str
    """A sentence with the numbers, at most 256 characters."""
    numbers: Numbers = Numbers()

    def document(self) -> dict[str, Any]:
        """Return the entry for the status: outcome, reason, message, and the numbers that there are."""
        numbers = {to_camel(name): number for name, number in asdict(self.numbers).items() if number is not None}
        return {
            "check": self.check,
            "outcome": self.outcome.value,
            "reason": self.why.value,
            "message": self.message,
            **numbers,
        }
