"""The time after the last step, when the new revision has all the traffic and the old one still stands by.

There is no stable in the same windows any more, and before against after would blame the canary for the hour of the
day. So only what needs no comparison is asked: the hard limit, the objectives, golden requests, custom queries.
"""

from dataclasses import replace

from tritonfleet.plan.rollout.analysis.look import look
from tritonfleet.plan.rollout.analysis.outcome import Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import Policy
from tritonfleet.plan.rollout.analysis.progress import Progress
from tritonfleet.plan.rollout.analysis.step import already_seen, deciding, text_of
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.analysis.verdict import Verdict
from tritonfleet.plan.rollout.analysis.window import Window


def bake(policy: Policy, progress: Progress, window: Window, started_seconds: float) -> Verdict:
    """Return the verdict after one more window since the canary got everything, at `started_seconds`.

    Too few requests do not hold it: they are all there is. It passes when the bake time is over and nothing else is
    open; no answer from the metrics is no pass.
    """
    seen = already_seen(progress, window)
    if seen is not None:
        return seen
    results, progress = look(policy, progress, window, alone=True)
    open_results = tuple(result for result in results if result.why is not Why.TOO_FEW_REQUESTS)
    worst = deciding(open_results or results)
    verdict = Verdict(worst.outcome, worst.why, text_of(worst), results, progress)
    if open_results and worst.outcome is not Outcome.PASSED:
        return verdict
    left = started_seconds + policy.bake_seconds - window.end_seconds
    if left > 0:
        text = sentence(f"{left:.0f} s of the bake time left; {text_of(worst)}")
        return replace(verdict, outcome=Outcome.INCONCLUSIVE, why=Why.BAKING, message=text)
    return replace(verdict, outcome=Outcome.PASSED, why=Why.NOT_WORSE)
