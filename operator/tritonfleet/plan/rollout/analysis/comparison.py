"""Is the canary's share of bad requests larger than stable's, and how surely?

Given the bad requests of both together, those of the canary are binomial (Przyborowski and Wilenski, Biometrika 31,
1940): with a true ratio `r` of the shares, each belongs to the canary with chance `r n_c / (r n_c + n_s)`. The tail of
that is exact for small counts, needs no estimate of the share itself, and does not see what hits both revisions alike.
"""

from dataclasses import dataclass

from tritonfleet.plan.rollout.analysis.evidence import Evidence, Tally
from tritonfleet.plan.rollout.analysis.policy import Margin
from tritonfleet.plan.rollout.analysis.tails import upper_tail


@dataclass(frozen=True, slots=True)
class Comparison:
    """The canary against stable, or against a fixed limit, on everything a step has seen."""

    evidence: Evidence
    margin: Margin
    canary_effect: float
    """By how much the canary's counts overstate what they prove; at least 1."""
    stable_effect: float

    @property
    def limit(self) -> float:
        """Return the share up to which the canary is not worse than stable."""
        return self.margin.limit(self.evidence.stable.share)

    @property
    def is_beyond(self) -> bool:
        """Whether the canary's observed share is worse than stable's by more than the margin."""
        return is_beyond(self.evidence.canary, self.evidence.stable, self.margin)

    def p_ratio(self, ratio: float) -> float:
        """Return the p-value against "the canary's share is at most `ratio` times stable's"; 1 without data."""
        canary, stable = self.evidence.canary, self.evidence.stable
        if not canary.requests or not stable.requests:
            return 1.0
        bad, trials = canary.bad / self.canary_effect, ratio * canary.requests / self.canary_effect
        others, other_trials = stable.bad / self.stable_effect, stable.requests / self.stable_effect
        return upper_tail(bad, bad + others, trials / (trials + other_trials))

    def p_limit(self, share: float) -> float:
        """Return the p-value against "the canary's share is at most `share`"; 1 without data."""
        canary = self.evidence.canary
        if not canary.requests:
            return 1.0
        return upper_tail(canary.bad / self.canary_effect, canary.requests / self.canary_effect, share)


def compare(evidence: Evidence, margin: Margin) -> Comparison:
    """Return the comparison of everything a step has seen."""
    return Comparison(evidence, margin, *evidence.design_effects())


def is_beyond(canary: Tally, stable: Tally, margin: Margin) -> bool:
    """Tell whether the canary's observed share is worse than stable's by more than the margin."""
    return canary.requests > 0 and canary.share > margin.limit(stable.share)
