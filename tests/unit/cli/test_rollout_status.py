"""The output of `tritonfleet rollout status`: phase, numbers, and what comes next."""

import copy
from datetime import timedelta

import pytest

from tests.unit.cli.rollouts import BEFORE, CANARY, IDLE, NOW, REJECTED, STABLE, account, body, pods, under_way
from tritonfleet.cli.rollout.model import Account, waits_for, would_change
from tritonfleet.cli.rollout.output import Graphs, document, plain
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.rollout import Phase, Standby, TransitionRecord
from tritonfleet.plan.rollout.analysis import CheckResult, Numbers, Outcome, Progress, Why

RESULTS = (
    CheckResult("error-rate", Outcome.PASSED, Why.NOT_WORSE, "fine", Numbers(0.004, 1234, 0.0035, 11002, 0.006, 0.31)),
    CheckResult(
        "latency", Outcome.INCONCLUSIVE, Why.SUSPECT, "requests above 250ms", Numbers(0.021, 1000, 0.01, 11002, 0.015)
    ),
    CheckResult("promql/gpu", Outcome.PASSED, Why.NOT_WORSE, "fine", Numbers(canary=91.2, limit=95.0)),
)


def lines(said: str, label: str) -> list[str]:
    return [line.removeprefix(label).strip() for line in said.splitlines() if line.startswith(label)]


def test_the_first_line_says_phase_step_mode_and_since_when() -> None:
    first, second = plain(account(under_way(Phase.ANALYZING))).splitlines()[:2]

    assert first == "prod/shop: Analyzing, step 2 of 3, Surge, for 3m"
    assert second == "AnalysisRunning: window 4 of 10"


def test_each_revision_has_its_pods_and_its_share_as_asked_given_and_measured() -> None:
    state = under_way(Phase.SHIFTING, applied_weight=10, measured_share=0.0871)
    said = plain(account(state, [*pods(CANARY, 1, 1), *pods(STABLE, 8)]))

    assert lines(said, "canary ") == [f"shop-{CANARY} (7)  2     1      50% desired, 10% applied, 8.71% measured"]
    assert lines(said, "stable ") == [f"shop-{STABLE} (6)  8     8      50% desired, 90% applied, 91.3% measured"]


def test_pods_that_may_not_be_seen_are_not_called_none() -> None:
    said = plain(account(under_way(Phase.ANALYZING), pods=None))

    assert lines(said, "canary ")[0].startswith(f"shop-{CANARY} (7)  ?     ?")
    assert "no permission to list pods in this namespace" in said


def test_each_check_has_both_values_their_requests_the_limit_and_the_verdict() -> None:
    results = tuple(result.document() for result in RESULTS)
    said = plain(account(under_way(Phase.ANALYZING, results=results)))

    assert lines(said, "error-rate ") == ["0.40% (1,234)  0.35% (11,002)  0.60%  0.31  Pass"]
    assert lines(said, "latency ") == ["2.1% (1,000)   1.0% (11,002)   1.5%         Inconclusive, Suspect"]
    assert lines(said, "promql/gpu ") == ["91.2                           95           Pass"]
    assert lines(said, "decided by") == ["latency: requests above 250ms"]


def test_before_any_window_the_verification_is_shown() -> None:
    broken = CheckResult("contract", Outcome.FAILED, Why.BAD_ANSWER, "output SCORES is gone")
    said = plain(account(under_way(Phase.VERIFYING, verification=(broken.document(),))))

    assert lines(said, "contract ") == ["Fail, BadAnswer"]
    assert lines(said, "decided by") == ["contract: output SCORES is gone"]


def test_it_says_which_evidence_decided_and_which_was_left_out_and_why() -> None:
    results = (
        CheckResult("error-rate", Outcome.INCONCLUSIVE, Why.SUSPECT, "canary 1.0%"),
        CheckResult("latency", Outcome.PASSED, Why.NOT_WORSE, "slower because requests wait for their turn"),
        CheckResult("compute-time", Outcome.INCONCLUSIVE, Why.WARMING_UP, "pods of the canary warm up; mean: 3x"),
        CheckResult("traffic-share", Outcome.PASSED, Why.NOT_WORSE, "canary 10%, desired 10%"),
        CheckResult("golden-requests", Outcome.INCONCLUSIVE, Why.CONFIRMING, "1/2 answered wrong"),
    )
    shown = tuple(result.document() for result in results)
    said = plain(account(under_way(Phase.ANALYZING, results=shown, analysis=Progress(windows=4, silent=60))))

    assert lines(said, "decided by") == ["golden-requests: 1/2 answered wrong"]
    assert lines(said, "left out") == [
        "latency: slower because requests wait for their turn",
        "compute-time: pods of the canary warm up; mean: 3x",
        "60 windows, as no request came",
    ]
    assert lines(said, "              error-rate: ") == ["canary 1.0%"]
    assert "left out      latency" in plain(account(under_way(Phase.ROLLED_BACK, results=shown)))


def test_rejected_revisions_and_the_last_transitions_are_listed() -> None:
    record = TransitionRecord(NOW - timedelta(minutes=2), Phase.ANALYZING, Phase.ROLLING_BACK, "Worse", "errors 5.0%")
    said = plain(account(under_way(Phase.ROLLED_BACK, rejected=REJECTED, history=(record,))))

    assert lines(said, "rejected ") == [
        f"shop-{CANARY} (7) 2m ago, Worse: error rate worse than stable: canary 5.0% (20/400)"
    ]
    assert said.splitlines()[-1] == "  2m ago  Analyzing -> RollingBack  Worse  errors 5.0%"


@pytest.mark.parametrize("phase", Phase)
def test_in_every_phase_it_says_what_it_waits_for(phase: Phase) -> None:
    state = under_way(phase)

    said = plain(account(state))

    assert len(lines(said, "waiting for")[0]) > 6
    assert document(account(state))["waitingFor"] == waits_for(account(state))


def test_a_canary_without_room_says_how_many_pods_wait_and_what_follows() -> None:
    state = under_way(Phase.WAITING_FOR_CAPACITY, plan={"capacity": {"onTimeout": "InPlace"}})
    found = account(state, pods(CANARY, 1))

    assert waits_for(found) == "room for 3 more canary pods"
    assert list(would_change(found)) == [
        "without room in 12m, the rollout continues in place, one stable pod at a time"
    ]


def test_a_step_under_analysis_says_which_look_comes_and_what_decides() -> None:
    found = account(under_way(Phase.ANALYZING, analysis=Progress(windows=4)))

    assert waits_for(found) == "window 5 of 10, 60s each"
    assert next(would_change(found)).startswith("passes after window 10 if no check fails")


def test_the_last_step_waits_for_its_bake_time() -> None:
    assert "the bake time of 10m" in waits_for(account(under_way(Phase.ANALYZING, step=2)))


def test_missing_metrics_are_reported_with_their_consequence() -> None:
    state = under_way(Phase.ANALYZING, metrics_lost_since=NOW - timedelta(minutes=5))

    assert "no metrics for 5m; after 30m: Hold" in would_change(account(state))


@pytest.mark.parametrize(
    ("reason", "waits"), [("Paused", "manual action"), ("MetricsLost", "the cause to clear, or manual action")]
)
def test_a_held_rollout_says_whether_it_can_go_on_by_itself(reason: str, waits: str) -> None:
    assert waits_for(account(under_way(Phase.HELD, reason=reason))) == waits


def test_what_was_seen_of_a_canary_is_shown_until_it_serves() -> None:
    results = tuple(result.document() for result in RESULTS)

    assert "CHECK " in plain(account(under_way(Phase.ROLLED_BACK, results=results)))
    assert "CHECK " not in plain(account(under_way(Phase.STABLE, results=results)))


def test_a_pause_with_a_time_says_when_it_ends() -> None:
    state = under_way(
        Phase.AWAITING_APPROVAL, plan={"steps": [{"weight": 5}, {"weight": 9, "pause": {"duration": "10m"}}]}
    )

    assert waits_for(account(state)) == "the pause of 10m to end in 7m, or an approval"
    assert waits_for(account(under_way(Phase.AWAITING_APPROVAL))) == "approval of step 2"


def test_a_revision_that_is_on_standby_is_shown_until_its_time_is_over() -> None:
    state = under_way(Phase.STABLE, standby=Standby(BEFORE, NOW + timedelta(minutes=4)))

    assert lines(plain(account(state, wanted=STABLE)), "standby ")[0].startswith(f"shop-{BEFORE} (5)")
    assert "is on standby for 4m more" in next(would_change(account(state, wanted=STABLE)))
    assert lines(plain(account(state, at=NOW + timedelta(minutes=5), wanted=STABLE)), "standby ") == []


def test_without_steps_it_says_so_and_shows_what_serves() -> None:
    said = plain(account(None, pods(STABLE, 2), rollout={}))

    assert said.splitlines()[0] == "prod/shop: not ready; no canary rollouts (rollout.canary is not set)"
    assert lines(said, "canary ")[0].startswith(f"shop-{CANARY} (7)  0")
    assert lines(said, "actions") == []


def test_an_unprocessed_spec_is_reported_as_such() -> None:
    newer = body(IDLE)
    newer["metadata"]["generation"] = 4

    assert "the operator has not processed the latest spec yet" in plain(Account.of(newer, (), NOW))


def test_a_status_of_another_version_is_refused_in_words() -> None:
    other = copy.deepcopy(body(IDLE))
    other["status"]["rollout"]["phase"] = "Contemplating"

    with pytest.raises(InvalidSpec, match=r"its status.rollout was written by another version of the operator"):
        Account.of(other, (), NOW)


def test_plain_data_has_the_rollout_without_what_is_not_meant_for_reading() -> None:
    said = document(
        account(under_way(Phase.ANALYZING, analysis=Progress(windows=4), consumed=("pause=x",)), pods(CANARY, 1, 1))
    )

    assert said["rollout"]["weights"] == {"desired": 50, "applied": 50}
    assert "analysis" not in said["rollout"]
    assert "consumed" not in said["rollout"]
    assert said["pods"] == {f"shop-{CANARY}": {"existing": 2, "ready": 1}}
    assert said["actions"] == ["abort", "pause", "promote"]


def test_a_watched_course_draws_shares_to_a_hundred_and_pods_to_the_most() -> None:
    graphs = Graphs(interval_seconds=2.0)
    for weight in (0, 50, 100):
        graphs.add(account(under_way(Phase.SHIFTING, applied_weight=weight), [*pods(CANARY, 4), *pods(STABLE, 8)]))

    said = list(graphs.lines(60))

    assert said[0] == "the last 6s"
    assert said[1] == "  applied    ▁▅█ 100%"
    assert said[2] == "  measured       -"
    assert said[3] == "  canary     ▅▅▅ 4 ready"
    assert said[4] == "  stable     ███ 8 ready"
