"""The verdict on a step: no data is never a pass, never a rollback, and a crash changes nothing."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritonfleet.api.canary import OnTooFewRequests, PromQuery
from tritonfleet.api.slo import LatencyObjective
from tritonfleet.plan.rollout.analysis import (
    AnalysisPolicy,
    Outcome,
    PodCounts,
    ProbeRun,
    Progress,
    QueryAnswer,
    RevisionCounts,
    Why,
    Window,
    analyze,
    record_stable,
)
from tritonfleet.plan.rollout.analysis.results import MOST_CHARACTERS

POLICY = AnalysisPolicy(
    objective=LatencyObjective(target="250ms"), queries=(PromQuery(name="queue", query="q", max=1),)
)
BOUNDS = (0.1, 0.25, 0.5)


@st.composite
def pod_counts(draw):
    requests = draw(st.integers(0, 300))
    within = sorted(draw(st.integers(0, requests)) for _ in BOUNDS)
    return PodCounts(requests, draw(st.integers(0, requests)), requests, dict(zip(BOUNDS, within, strict=True)))


REVISIONS = st.builds(RevisionCounts, st.dictionaries(st.sampled_from("abc"), pod_counts(), min_size=1))
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
WINDOWS = st.lists(
    st.builds(
        Window,
        end_seconds=st.just(0.0),
        canary=REVISIONS,
        stable=REVISIONS,
        desired_share=st.floats(0.01, 0.99),
        probe=st.none() | st.builds(ProbeRun, st.integers(0, 5), st.integers(0, 5), st.text(max_size=400)),
        probe_expected=st.booleans(),
        answers=st.just(())
        | st.tuples(st.builds(QueryAnswer, st.just("queue"), st.lists(NUMBERS, max_size=3).map(tuple))),
    ),
    max_size=4,
)

GAPS = {
    "unreachable": "connection refused",
    "canary": RevisionCounts(missing=("a",)),
    "stable": RevisionCounts(missing=("b",)),
}


def run(windows, policy=POLICY, progress=None):
    verdicts = []
    progress = progress or Progress()
    for number, window in enumerate(windows, 1):
        verdict = analyze(policy, progress, at(window, 60.0 * number))
        progress = verdict.progress
        verdicts.append(verdict)
    return verdicts


def at(window, end_seconds, **changes):
    fields = {name: getattr(window, name) for name in Window.__slots__}
    return Window(**{**fields, "end_seconds": end_seconds, **changes})


@settings(max_examples=30)
@given(WINDOWS)
def test_the_same_windows_give_the_same_verdicts(windows):
    assert run(windows) == run(windows)


@settings(max_examples=30)
@given(WINDOWS)
def test_a_crash_between_any_two_windows_changes_nothing(windows):
    progress, through_status = Progress(), []
    for number, window in enumerate(windows, 1):
        verdict = analyze(POLICY, progress, at(window, 60.0 * number))
        through_status.append(verdict)
        progress = Progress.restore(json.loads(json.dumps(verdict.progress.document())))

    assert through_status == run(windows)


@settings(max_examples=30)
@given(WINDOWS, st.sampled_from(sorted(GAPS)))
def test_missing_data_never_fails_and_never_passes(windows, what):
    missing = {"probe": None, "probe_expected": False, "answers": (), what: GAPS[what]}
    verdicts = run([at(window, 0.0, **missing) for window in windows])

    assert {verdict.outcome for verdict in verdicts} <= {Outcome.ERROR}
    assert all(verdict.progress.windows == 0 for verdict in verdicts)


@settings(max_examples=30)
@given(WINDOWS, st.data())
def test_more_errors_of_the_canary_never_turn_a_failure_into_a_pass(windows, data):
    policy = AnalysisPolicy(compare_latency=False, windows=3, min_requests=100, max_error_rate=5)
    counted = [at(window, 0.0, probe_expected=False) for window in windows]
    worse = [at(window, 0.0, canary=with_more_errors(window.canary, data)) for window in counted]

    for before, after in zip(run(counted, policy), run(worse, policy), strict=True):
        if before.outcome is Outcome.FAILED:
            assert after.outcome is Outcome.FAILED
            break


def with_more_errors(revision, data):
    return RevisionCounts(
        {
            name: PodCounts(counts.requests, data.draw(st.integers(counts.errors, counts.requests)))
            for name, counts in revision.pods.items()
        }
    )


@settings(max_examples=30)
@given(WINDOWS)
def test_what_goes_into_the_status_is_bounded(windows):
    for verdict in run(windows):
        texts = [verdict.message, *(result.message for result in verdict.results)]
        assert max(map(len, texts)) <= MOST_CHARACTERS
        assert len(json.dumps(verdict.progress.document())) < 4000
        json.dumps([result.document() for result in verdict.results])


@settings(max_examples=30)
@given(WINDOWS)
def test_a_pass_needs_every_check_to_pass(windows):
    for verdict in run(windows, AnalysisPolicy(compare_latency=False, windows=1, min_requests=20)):
        outcomes = {result.outcome for result in verdict.results}
        assert (verdict.outcome is Outcome.PASSED) == (outcomes == {Outcome.PASSED})
        assert (verdict.outcome is Outcome.FAILED) == (Outcome.FAILED in outcomes)


def test_a_window_that_was_seen_is_not_counted_again(rollout):
    step = rollout()
    step.look(canary_errors=10, stable_errors=1)
    again = analyze(step.policy, step.progress, Window(60.0, desired_share=0.25))

    assert (again.outcome, again.why, again.progress) == (Outcome.INCONCLUSIVE, Why.ALREADY_SEEN, step.progress)


def test_an_outage_of_the_metrics_is_no_look_and_forgets_nothing(rollout):
    step = rollout()
    step.look(canary_errors=15, stable_errors=1)
    gap = step.look(unreachable="Prometheus does not answer: timed out after 10 s")

    assert (gap.outcome, gap.why, gap.progress.windows) == (Outcome.ERROR, Why.UNREACHABLE, 1)
    assert gap.message == "error rate unknown: Prometheus does not answer: timed out after 10 s"
    assert step.look(canary_errors=15, stable_errors=1).outcome is Outcome.FAILED


def test_a_revision_without_series_is_distinguished_from_an_outage(rollout):
    verdict = rollout().look(canary=RevisionCounts(missing=("a", "b")))

    assert (verdict.why, verdict.message) == (
        Why.NO_SERIES,
        "error rate unknown: no metrics from canary pods, 2 expected",
    )


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_step_needs_traffic_on_both_sides(rollout, share):
    with pytest.raises(ValueError, match="desired_share must be between 0 and 1"):
        rollout().look(desired_share=share)


def test_the_next_step_knows_how_stable_varies_and_nothing_else(rollout):
    step = rollout()
    step.windows(5, canary_errors=3, stable_errors=1)
    anew = step.progress.next_step()

    assert anew.error_rate.evidence.by_pod == step.progress.error_rate.evidence.by_pod
    assert (anew.windows, anew.error_rate.evidence.canary.requests, anew.error_rate.ring) == (0, 0, ())
    assert anew.last_end_seconds == step.progress.last_end_seconds


def test_watching_stable_counts_no_look(rollout):
    step = rollout(compare_latency=True, objective=LatencyObjective(target="250ms"))
    stable = RevisionCounts({"s": PodCounts(100, 1, 100, {0.1: 50, 0.25: 99, 0.5: 100})})
    progress = record_stable(step.policy, Progress(), Window(60.0, stable=stable))

    assert progress.error_rate.evidence.by_pod.cells == progress.latency.evidence.by_pod.cells == 1
    assert (progress.windows, progress.latency_bound_seconds, progress.objective_bound_seconds) == (0, 0.25, 0.25)
    for ignored in (Window(60.0, stable=stable), Window(120.0, stable=stable, unreachable="down"), Window(120.0)):
        assert record_stable(step.policy, progress, ignored) == progress


@pytest.mark.parametrize(
    "document", [{}, {"windows": 1}, {"windows": None}, {**Progress().document(), "errorRate": []}]
)
def test_a_document_that_is_no_progress_is_refused(document):
    with pytest.raises(ValueError, match=r"[pP]rogress"):
        Progress.restore(document)


LOW = {"canary": 10, "stable": 10, "probe_expected": True}


@pytest.mark.parametrize(
    ("policy", "probe", "expected"),
    [
        ({}, ProbeRun(right=5), (Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS, True, False)),
        (
            {"on_too_few_requests": OnTooFewRequests.PASS_ON_PROBE},
            ProbeRun(right=5),
            (Outcome.PASSED, Why.UNPROVEN, False, True),
        ),
        (
            {"on_too_few_requests": OnTooFewRequests.PASS_ON_PROBE},
            ProbeRun(right=2),
            (Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS, True, False),
        ),
        (
            {"on_too_few_requests": OnTooFewRequests.ROLLBACK},
            ProbeRun(right=5),
            (Outcome.FAILED, Why.TOO_FEW_REQUESTS, False, False),
        ),
    ],
)
def test_a_step_with_too_little_traffic_ends_as_the_policy_says(rollout, policy, probe, expected):
    step = rollout(max_windows=12, **policy)
    before = step.windows(11, probe=probe, **LOW)
    assert (before.outcome, before.why) == (Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS)

    last = step.look(probe=probe, **LOW)
    assert (last.outcome, last.why, last.needs_person, last.unproven) == expected


def test_the_message_says_what_golden_requests_prove(rollout):
    step = rollout(max_windows=10, on_too_few_requests=OnTooFewRequests.PASS_ON_PROBE)
    verdict = step.windows(10, probe=ProbeRun(right=30), **LOW)

    assert verdict.message == (
        "too few requests, passed on golden requests alone: 300/300 answered correctly, so at most 0.99% fail "
        "(95% confidence)"
    )


def test_too_little_traffic_does_not_excuse_another_doubt(rollout):
    step = rollout(
        max_windows=10,
        on_too_few_requests=OnTooFewRequests.PASS_ON_PROBE,
        queries=(PromQuery(name="queue", query="q", max=1),),
    )
    answers = (QueryAnswer("queue"),)
    verdict = step.windows(10, probe=ProbeRun(right=30), answers=answers, **LOW)

    assert (verdict.outcome, verdict.needs_person) == (Outcome.INCONCLUSIVE, True)


def test_silence_is_no_window_and_passes_nothing_and_requests_after_it_decide(rollout):
    step = rollout(windows=5, max_windows=8)
    step.windows(2, canary_errors=1, stable_errors=1)
    night = step.windows(60, canary=0, stable=0)
    assert (night.outcome, night.why, night.needs_person) == (Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS, True)
    assert (step.progress.windows, step.progress.silent) == (2, 60)

    assert step.windows(2, canary_errors=1, stable_errors=1).outcome is Outcome.INCONCLUSIVE
    assert step.look(canary_errors=1, stable_errors=1).outcome is Outcome.PASSED


def test_a_step_that_a_former_version_counted_starts_anew(rollout):
    step = rollout()
    step.windows(5, canary_errors=1, stable_errors=1)
    document = step.progress.document()
    del document["silent"]
    for check in ("errorRate", "latency", "objective"):
        document[check] = {"evidence": document[check]["evidence"], "streak": 1}
    restored = Progress.restore(document)

    assert (restored.windows, restored.last_end_seconds) == (0, step.progress.last_end_seconds)
    assert restored == step.progress.next_step()
