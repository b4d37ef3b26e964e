"""Does the canary fail more requests than stable?"""

from tritonfleet.plan.rollout.analysis.counts import Revision
from tritonfleet.plan.rollout.analysis.evidence import Cell
from tritonfleet.plan.rollout.analysis.policy import Policy
from tritonfleet.plan.rollout.analysis.share_check import Cells, Rule
from tritonfleet.plan.rollout.analysis.window import Window

CHECK = "errors"


def rule(policy: Policy, *, alone: bool) -> Rule:
    """Return what is asked of the share of errors."""
    return Rule(
        CHECK, CHECK, policy.error_margin, policy.min_requests, policy.error_limit, policy.hard_share, alone=alone
    )


def cells(window: Window) -> Cells:
    """Return errors and requests of each pod."""
    return Cells(failures(window.canary), failures(window.stable))


def failures(revision: Revision) -> tuple[Cell, ...]:
    """Return errors and requests of each pod of one revision, and those that reached no pod."""
    refused = ((revision.refused, revision.refused),) if revision.refused else ()
    return (*((counts.errors, counts.requests) for counts in revision.pods.values()), *refused)
