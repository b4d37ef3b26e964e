"""What the spec says of an analysis, and what the checks make of it."""

from tritonfleet.api.canary import Analysis, ErrorMargin
from tritonfleet.api.slo import Slo
from tritonfleet.plan.rollout.analysis import AnalysisPolicy, analysis_policy
from tritonfleet.plan.rollout.analysis.checks import thresholds
from tritonfleet.plan.rollout.analysis.proportions import RequestCounts, error_rate_rule, largest_share, latency_rule


def test_what_the_spec_leaves_out_is_what_has_measured_error_rates():
    assert analysis_policy(Analysis(), None) == AnalysisPolicy()


def test_the_analysis_has_what_the_spec_says_and_the_objective():
    slo = Slo.model_validate({"latency": {"percentile": 99.9, "target": "50ms"}})
    analysis = Analysis.model_validate(
        {
            "errorRate": {"ratio": 2, "difference": 1},
            "maxErrorRate": 3,
            "bakeTime": "2m",
            "onTooFewRequests": "PassOnProbe",
            "minRequests": 10,
        }
    )
    found = analysis_policy(analysis, slo)

    assert analysis.model_dump().items() <= found.model_dump().items()
    assert (found.objective, found.objective_share) == (slo.latency, 0.001)


def test_percent_of_the_spec_are_shares_of_the_checks():
    analysis = Analysis(error_rate=ErrorMargin(ratio=2, difference=1), max_error_rate=3, min_requests=10)
    errors, slow = error_rate_rule(analysis, alone=False), latency_rule(analysis, "latency", 0.25, None, alone=False)

    assert (errors.limit, errors.min_requests, slow.min_requests) == (0.03, 10, 20)
    assert largest_share(errors.margin, RequestCounts(0, 100)) == 0.01
    assert largest_share(errors.margin, RequestCounts(5, 100)) == 0.1


def test_a_query_with_both_limits_is_held_to_both():
    queries = [
        {"name": "both", "query": "a", "max": 5, "min": 1},
        {"name": "ratio", "query": "a", "baseline": "b", "maxRatio": 2},
    ]
    low, high, ratio = sorted(
        thresholds(Analysis.model_validate({"queries": queries}).queries),
        key=lambda threshold: (threshold.name, threshold.above_is_bad),
    )

    assert (low.key, low.limit, low.above_is_bad) == ("both/min", 1, False)
    assert (high.key, high.limit, high.above_is_bad) == ("both", 5, True)
    assert (ratio.limit, ratio.max_ratio) == (None, 2)
