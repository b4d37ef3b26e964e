"""Windows of a canary beside stable, in the words of the tests."""

import pytest

from tritonfleet.plan.rollout.analysis import AnalysisPolicy, PodCounts, Progress, RevisionCounts, Window, analyze


class Rollout:
    """One step, looked at window by window."""

    def __init__(self, **policy):
        self.policy = AnalysisPolicy(**{"compare_latency": False, **policy})
        self.progress = Progress()
        self.verdicts = []

    def look(self, canary_errors=0, stable_errors=0, canary=200, stable=200, stable_pods=3, **window):
        """One more window: `canary` requests of its one pod, `stable` of each of stable's; or the counts themselves."""
        end = 60.0 * (len(self.verdicts) + 1)
        given = {
            "canary": revision("c", 1, canary, canary_errors),
            "stable": revision("s", stable_pods, stable, stable_errors),
            "desired_share": 1 / (1 + stable_pods),
        }
        verdict = analyze(self.policy, self.progress, Window(end, **{**given, **window}))
        self.progress = verdict.progress
        self.verdicts.append(verdict)
        return verdict

    def windows(self, number, **window):
        """Return the verdict after as many equal windows."""
        for _ in range(number):
            verdict = self.look(**window)
        return verdict

    def result(self, check):
        """Return what one check said last."""
        return next(result for result in self.verdicts[-1].results if result.check == check)


def revision(name, pods, counted, errors):
    if isinstance(counted, RevisionCounts):
        return counted
    return RevisionCounts({f"{name}{pod}": PodCounts(counted, errors) for pod in range(pods)})


@pytest.fixture
def rollout():
    return Rollout
