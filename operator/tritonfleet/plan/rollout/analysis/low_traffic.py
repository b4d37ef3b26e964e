"""What becomes of a step that has waited as long as it may and still has too few requests."""

from dataclasses import replace

from tritonfleet.plan.rollout.analysis import probe
from tritonfleet.plan.rollout.analysis.outcome import Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import OnTooFewRequests, Policy
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.analysis.verdict import Verdict


def settle(policy: Policy, verdict: Verdict) -> Verdict:
    """Return what the policy makes of an inconclusive verdict, if too few requests are all that is wrong."""
    open_whys = {result.why for result in verdict.results if result.outcome is not Outcome.PASSED}
    if open_whys != {Why.TOO_FEW_REQUESTS}:
        return verdict
    if policy.on_too_few is OnTooFewRequests.ROLLBACK:
        return replace(verdict, outcome=Outcome.FAILED, needs_person=False)
    if policy.on_too_few is OnTooFewRequests.ON_PROBE:
        return _on_probe(policy, verdict)
    return verdict


def _on_probe(policy: Policy, verdict: Verdict) -> Verdict:
    probes = verdict.progress.probes
    if probes.wrong or probes.right < policy.min_probes:
        text = sentence(f"{probe.proof(probes)}; {policy.min_probes} right and none wrong are needed")
        return replace(verdict, message=text)
    text = sentence(f"passed without enough requests: {probe.proof(probes)}; nothing else is proven")
    return replace(verdict, outcome=Outcome.PASSED, why=Why.UNPROVEN, message=text, needs_person=False, unproven=True)
