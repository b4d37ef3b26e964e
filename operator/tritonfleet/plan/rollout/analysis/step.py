"""The verdict on a step, look by look: a pure function of what is kept and of one window's counters.

Looking again at the same window from the same progress gives the same verdict, so a crash between a look and the write
of its status changes nothing.
"""

from dataclasses import replace

from tritonfleet.plan.rollout.analysis import low_traffic
from tritonfleet.plan.rollout.analysis.look import look
from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import Policy
from tritonfleet.plan.rollout.analysis.progress import Progress
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.analysis.verdict import Verdict
from tritonfleet.plan.rollout.analysis.window import Window


def analyze(policy: Policy, progress: Progress, window: Window) -> Verdict:
    """Return the verdict after one more window in which both revisions got traffic.

    Fail: any check fails. Else Error: any check could not ask. Else Inconclusive, until the planned looks are over and
    every check passes. A window that does not come after the last one is no look and changes nothing.

    Raises:
        ValueError: The desired share leaves one of the revisions without traffic.
    """
    if not 0 < window.desired_share < 1:
        raise ValueError(f"desired_share must be between 0 and 1, not {window.desired_share}: use bake() at 1")
    seen = already_seen(progress, window)
    if seen is not None:
        return seen
    results, progress = look(policy, progress, window, alone=False)
    worst = deciding(results)
    verdict = Verdict(worst.outcome, worst.why, text_of(worst), results, progress)
    if worst.outcome in (Outcome.FAILED, Outcome.ERROR):
        return verdict
    if progress.looks < policy.looks and worst.why is not Why.CONFIRMING:
        ahead = sentence(f"look {progress.looks} of {policy.looks}; {text_of(worst)}")
        return replace(verdict, outcome=Outcome.INCONCLUSIVE, why=Why.LOOKING, message=ahead)
    if worst.outcome is Outcome.INCONCLUSIVE and progress.looks >= policy.max_looks:
        return low_traffic.settle(policy, replace(verdict, needs_person=True))
    return verdict


def already_seen(progress: Progress, window: Window) -> Verdict | None:
    """Return the verdict on a window that is not after the last one; None when it is."""
    last = progress.last_end_seconds
    if last is None or window.end_seconds > last:
        return None
    text = "the window was looked at before"
    return Verdict(Outcome.INCONCLUSIVE, Why.ALREADY_SEEN, text, (), progress)


def deciding(results: tuple[CheckResult, ...]) -> CheckResult:
    """Return the result that decides: the first of the worst outcome, one that is being confirmed before others."""
    order = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.PASSED)
    return min(results, key=lambda result: (order.index(result.outcome), result.why is not Why.CONFIRMING))


def text_of(result: CheckResult) -> str:
    """Return a result as one sentence that names its check."""
    return sentence(f"{result.check} {result.why}: {result.message}")
