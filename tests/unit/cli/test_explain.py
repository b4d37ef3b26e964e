"""The output of `tritonfleet explain`, with and without the autoscaler.

The autoscaling status is what the autoscaler wrote in a simulated quarter of an hour.
"""

import copy
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
import yaml

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.cli.arguments import per_second
from tritonfleet.cli.explain.command import Graphs, plain
from tritonfleet.cli.explain.model import Account, document
from tritonfleet.cli.terminal import sparkline
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.scaling import autoscaling_policy, limits_of
from tritonfleet.plan.scaling_status import scale_report
from tritonfleet.plan.world import Manifest
from tritonfleet.sim import Distribution, Plant, RateTrace, ServerModel, Slo, Tritonfleet, simulate

MANIFEST = """
apiVersion: tritonfleet.dev/v1alpha1
kind: ModelDeployment
metadata: {name: ranker, namespace: shop, generation: 2}
spec:
  model: {uri: s3://models/ranker/1}
  batching: {maxBatchSize: 16, dynamic: {maxQueueDelay: 2ms}}
  slo: {latency: {percentile: 99, target: 750ms}}
  autoscaling: {minReplicas: 2, maxReplicas: 8}
status: {observedGeneration: 2}
"""
MINUTES = 15
NOW = datetime.fromtimestamp(MINUTES * 60, UTC)


class Operator:
    """Our scaler, and what the operator writes to the status of what it decides."""

    name, interval_seconds = "ours", 5.0

    def __init__(self) -> None:
        self.body = yaml.safe_load(MANIFEST)
        self._deployment = ModelDeployment.parse(self.body)
        self._ours = Tritonfleet(autoscaling_policy(self._deployment, NOW))

    def desired(self, now: float, replicas: int, pods: Any, metrics: Any) -> int:
        wanted = self._ours.desired(now, replicas, pods, metrics)
        moment = datetime.fromtimestamp(now, UTC)
        limits = limits_of(self._deployment, moment)
        report = scale_report(self._deployment, self.body, self._ours.verdict, limits, moment)
        self.body["status"] |= {
            "autoscaling": report.document,
            "replicas": len(pods),
            "readyReplicas": sum(pod.ready_seconds is not None for pod in pods),
            "revision": {"stable": f"ranker-{pods[0].revision}"},
            "conditions": [
                {
                    "type": "ScalingActive",
                    "status": "True",
                    "observedGeneration": 2,
                    "lastTransitionTime": "1970-01-01T00:00:00Z",
                    "reason": report.document["reason"],
                    "message": report.document["message"],
                }
            ],
        }
        return wanted


@cache
def scaled() -> Manifest:
    """The object after a calm start, a rise from 60 to 150 requests/s, and ten minutes of that."""
    operator = Operator()
    rates = np.array([60.0] * 4 + [150.0] * (MINUTES - 4))
    simulate(
        RateTrace("rise", 60.0, rates),
        operator,
        ServerModel(0.060, 0.015, max_batch_size=16, max_queue_delay_seconds=0.002),
        Plant(ready=Distribution.always(30.0), min_replicas=2, max_replicas=8),
        slo=Slo(0.750),
    )
    return operator.body


@pytest.fixture
def body() -> Manifest:
    return copy.deepcopy(scaled())


def text(body: Manifest) -> str:
    return plain(Account.of(body, NOW))


def line(body: Manifest, label: str) -> str:
    found = [row for row in text(body).splitlines() if row.startswith(label)]
    assert len(found) == 1, text(body)
    return found[0].removeprefix(label).strip()


def test_it_shows_the_metrics_with_target_source_and_age(body: Manifest) -> None:
    seen = line(body, "metrics").split(", ")

    scaling = body["status"]["autoscaling"]
    assert seen[0] == f"{per_second(scaling['observedRate'])} requests/s"
    assert seen[1] == f"{per_second(scaling['capacityPerReplica'])} requests/s per replica within the SLO"
    assert seen[2] == f"p99 {scaling['p99']} (Estimated)"
    assert seen[3] == "target 750ms"
    assert seen[4] == f"{scaling['sloAttainment']:.2%} within the target"
    assert seen[5] == f"{scaling['metricsAge']} old"
    assert seen[6].startswith("written ")


def test_it_shows_the_decision_with_its_message(body: Manifest) -> None:
    scaling = body["status"]["autoscaling"]

    assert line(body, "needs") == f"{scaling['uncappedReplicas']} ({scaling['reason']}): {scaling['message']}"
    assert text(body).startswith(
        f"shop/ranker: {body['status']['replicas']} replicas, {body['status']['readyReplicas']} ready;"
        f" the autoscaler wants {scaling['desiredReplicas']}\n"
    )


def test_it_lists_the_decisions_newest_first(body: Manifest) -> None:
    rows = text(body).split("last decisions\n")[1].split("\n\n")[0].splitlines()

    history = body["status"]["autoscaling"]["history"]
    assert len(rows) == len(history) >= 2
    for row, entry in zip(rows, history, strict=True):
        assert f"ago  {entry['from']:>4} -> {entry['to']:<4} {entry['reason']:<20} {entry['message']}" in row


def test_its_thresholds_are_those_of_the_autoscaler(body: Manifest) -> None:
    found = Account.of(body, NOW).outlook

    scaling = body["status"]["autoscaling"]
    assert found is not None
    assert found.more_above is not None
    assert found.fewer_below is not None
    # More replicas carry more, and never more than their capacity.
    assert found.fewer_below < found.more_above <= scaling["desiredReplicas"] * scaling["capacityPerReplica"] * 1.01
    assert f"scales out above {per_second(found.more_above)} requests/s" in line(body, "thresholds")
    assert f"scales in below {per_second(found.fewer_below)} requests/s for " in line(body, "thresholds")


def test_it_says_what_headroom_costs_a_day_and_what_it_is_for(body: Manifest) -> None:
    found = Account.of(body, NOW).outlook

    assert found is not None
    body["status"]["autoscaling"]["desiredReplicas"] += 2 - found.headroom
    expected = r"2 replicas beyond the present rate, 48 GPU-hours a day, for a rise of \d+% within \d+s"
    assert re.match(expected, line(body, "headroom"))

    body["status"]["autoscaling"]["desiredReplicas"] = 2
    assert line(body, "headroom") == "no replica beyond what the present rate needs"


def test_what_was_learned_of_the_model_is_near_the_truth(body: Manifest) -> None:
    found = Account.of(body, NOW).outlook

    assert found is not None
    assert found.alpha_seconds == pytest.approx(0.060, rel=0.25)
    assert found.beta_seconds == pytest.approx(0.015, rel=0.25)
    assert "a pod takes 30s to become ready" in line(body, "learned")


@pytest.mark.parametrize(
    ("reason", "bound"),
    [
        ("AtMaxReplicas", "maxReplicas 8"),
        ("AtMinReplicas", "minReplicas 2"),
        ("NoTraffic", "minReplicas 2"),
        ("MetricsStale", "no fresh metrics: scale-in disabled"),
        ("Demand", "nothing"),
    ],
)
def test_it_names_the_limit_that_binds(body: Manifest, reason: str, bound: str) -> None:
    body["status"]["autoscaling"]["reason"] = reason

    assert line(body, "limited by") == bound


def test_at_a_limit_it_names_the_limit_instead_of_a_threshold(body: Manifest) -> None:
    body["status"]["autoscaling"]["desiredReplicas"] = 8
    assert line(body, "thresholds").startswith("at maxReplicas; scales in below")

    body["status"]["autoscaling"]["desiredReplicas"] = 2
    assert line(body, "thresholds").endswith("; at minReplicas")


def test_without_a_memory_it_does_not_guess(body: Manifest) -> None:
    body["status"]["autoscaling"]["memory"] = {"version": "unknown"}

    assert line(body, "thresholds") == "unknown: the operator's memory was written by another version than this command"

    del body["status"]["autoscaling"]["capacityPerReplica"]
    assert line(body, "thresholds") == "unknown: the capacity per replica has not been learned yet"


def test_an_advisory_decision_is_marked_as_such(body: Manifest) -> None:
    body["spec"]["replicas"] = 3
    body["spec"]["autoscaling"]["advisory"] = True

    desired = body["status"]["autoscaling"]["desiredReplicas"]
    assert f"; `replicas` is 3; the autoscaler would run {desired} (advisory)\n" in text(body)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"suspend": True}, "suspended: no pods run until `suspend` is false"),
        ({"autoscaling": None, "replicas": 3}, "`replicas` is 3; `autoscaling` is not set"),
        (
            {"autoscaling": {"mode": "External"}, "replicas": 3},
            "`replicas` is 3, written by another scaler (mode External)",
        ),
    ],
)
def test_without_autoscaling_it_says_what_sets_the_replicas(body: Manifest, spec: dict[str, Any], said: str) -> None:
    body["spec"] |= spec
    del body["status"]["autoscaling"]

    shown = text(body)

    assert said in shown.splitlines()[0]
    assert "metrics" not in shown
    assert "ScalingActive" in shown


def test_an_object_that_was_never_processed_is_shown_as_such(body: Manifest) -> None:
    del body["status"]

    assert text(body).splitlines() == [
        "shop/ranker: 0 replicas, 0 ready; the autoscaler has not decided yet",
        "the operator has not processed the latest spec yet; this is about the previous one",
    ]


def test_a_status_of_another_version_is_rejected_with_a_message(body: Manifest) -> None:
    body["status"]["replicas"] = "many"

    with pytest.raises(InvalidSpec, match="its status was written by another version of the operator"):
        Account.of(body, NOW)


def test_json_has_the_numbers_and_no_memory(body: Manifest) -> None:
    found = document(Account.of(body, NOW))

    scaling = body["status"]["autoscaling"]
    assert found["autoscaling"] == {key: value for key, value in scaling.items() if key != "memory"}
    assert found["outlook"]["moreAbove"] > found["outlook"]["fewerBelow"]
    assert found["conditions"] == body["status"]["conditions"]
    assert (found["name"], found["namespace"], found["advisory"]) == ("ranker", "shop", False)


def test_a_watched_course_is_drawn_in_proportion_and_cut_to_the_width(body: Manifest) -> None:
    graphs = Graphs(interval_seconds=2.0)
    for step in range(100):
        body["status"]["replicas"] = step // 10
        graphs.add(Account.of(body, NOW + timedelta(seconds=2 * step)))

    lines = list(graphs.lines(Account.of(body, NOW), width=71))

    assert lines[0] == "the last 1m20s"
    assert lines[3] == "  replicas   " + "▆" * 10 + "▆" * 10 + "▇" * 10 + "█" * 10 + " 9"


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([], ""), ([0.0, 0.0], "▁▁"), ([None, 7.0, 3.5, 0.0], " █▅▁"), ([None, None], "  ")],
)
def test_a_sparkline_leaves_a_gap_where_nothing_is_known(values: list[float | None], drawn: str) -> None:
    assert sparkline(values) == drawn
