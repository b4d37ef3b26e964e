"""Does the canary answer golden requests right? It works without any traffic of users."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Numbers, Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import Policy
from tritonfleet.plan.rollout.analysis.tails import most_with_none
from tritonfleet.plan.rollout.analysis.text import percent, sentence, share_of
from tritonfleet.plan.rollout.analysis.window import ProbeRun

CHECK = "probe"


@dataclass(frozen=True, slots=True)
class Probes:
    """The golden requests of a step."""

    right: int = 0
    wrong: int = 0
    streak: int = 0
    """Looks running with a wrong answer."""

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> "Probes":
        """Return what `document()` wrote; TypeError for anything else."""
        return cls(**document)


def judge(policy: Policy, probes: Probes, run: ProbeRun | None) -> tuple[CheckResult, Probes]:
    """Return what the check says after one more window, and what it keeps."""
    if run is None or run.right + run.wrong == 0:
        return CheckResult(CHECK, Outcome.ERROR, Why.UNREACHABLE, "no golden request could be sent"), probes
    kept = Probes(probes.right + run.right, probes.wrong + run.wrong, probes.streak + 1 if run.wrong else 0)
    numbers = Numbers(kept.wrong / (kept.right + kept.wrong), kept.right + kept.wrong, limit=0.0)
    if not run.wrong:
        return CheckResult(CHECK, Outcome.PASSED, Why.NOT_WORSE, proof(kept), numbers), kept
    text = sentence(f"golden requests wrong: {share_of(run.wrong, run.right + run.wrong)}; {run.first_wrong}")
    if kept.streak >= policy.confirmations:
        return CheckResult(CHECK, Outcome.FAILED, Why.PROBE_FAILED, text, numbers), kept
    return CheckResult(CHECK, Outcome.INCONCLUSIVE, Why.CONFIRMING, text, numbers), kept


def proof(probes: Probes) -> str:
    """Return what golden requests without a wrong answer prove."""
    if probes.wrong:
        return f"golden requests wrong so far: {share_of(probes.wrong, probes.right + probes.wrong)}"
    bound = percent(most_with_none(probes.right))
    return f"{probes.right:,} golden requests, none wrong: at most {bound} fail (95 % confidence)"
