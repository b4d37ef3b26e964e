"""Fields that were renamed: what is still written under a former name is refused with the new one."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tritonfleet.api.crd import definition, root_schema
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.renames import RENAMES, with_new_names
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.rollout import restore_state
from tritonfleet.plan.rollout.analysis import Progress

ROOT = Path(__file__).parents[3]
SCHEMA = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
EACH = pytest.mark.parametrize("rename", RENAMES, ids=lambda rename: rename.old)
EXAMPLES = {"boolean": True, "integer": 5, "number": 5, "string": "5m", "object": {"ratio": 2.0}}


def example(rename):
    """Return a value that fits the former field and is not what the API server filled in."""
    return EXAMPLES[rename.schema["type"]]


def manifest(rename, value, **metadata):
    spec = {"model": {"uri": "s3://models/demo"}}
    node: Any = spec
    for name in rename.parent.split(".")[1:]:
        node = node.setdefault(name, {"throughput": 5} if name == "slo" else {})
    node[rename.old] = value
    return {"metadata": {"name": "demo", "namespace": "shop", **metadata}, "spec": spec}


def at(schema, path):
    for name in path.split("."):
        schema = schema["properties"][name]
    return schema


@EACH
def test_a_former_name_is_refused_with_the_new_one(rename):
    message = f"{re.escape(rename.path)}: must not be set: it was renamed to `{rename.new}`, got "
    with pytest.raises(InvalidSpec, match=message):
        ModelDeployment.parse(manifest(rename, example(rename)))
    with pytest.raises(InvalidSpec, match=message):
        ModelDeployment.parse(manifest(rename, rename.default))


@EACH
def test_a_former_default_that_an_api_server_stored_means_the_same_as_no_field(rename):
    if rename.default is not None:
        stored = ModelDeployment.parse(manifest(rename, rename.default, uid="1"))
        absent = manifest(rename, None, uid="1")
        parent = absent
        for name in rename.parent.split("."):
            parent = parent[name]
        del parent[rename.old]
        assert stored == ModelDeployment.parse(absent)
    with pytest.raises(InvalidSpec, match=f"renamed to `{rename.new}`"):
        ModelDeployment.parse(manifest(rename, example(rename), uid="1"))


@EACH
def test_the_new_field_has_the_default_of_the_former_one(rename):
    new = at(root_schema(), f"{rename.parent}.{rename.new}")
    nested = {name: child["default"] for name, child in new.get("properties", {}).items()}
    assert (nested or new.get("default")) == rename.default


@EACH
def test_the_definition_refuses_a_former_name_and_has_the_new_one_beside_it(rename):
    parent = at(SCHEMA, rename.parent)
    former = parent["properties"][rename.old]
    assert former["x-kubernetes-validations"] == [{"rule": "false", "message": rename.message}]
    assert "default" not in former
    assert rename.new in parent["properties"]


def test_a_former_name_is_reported_beside_what_else_is_wrong():
    rename = RENAMES[0]
    wrong = manifest(rename, example(rename))
    wrong["spec"]["replicas"] = -1
    with pytest.raises(InvalidSpec, match=rf"renamed to `{rename.new}`.*spec\.replicas: must be at least 0"):
        ModelDeployment.parse(wrong)


MIDWAY = {
    "phase": "Analyzing",
    "reason": "AnalysisRunning",
    "enteredAt": "2026-01-01T00:00:00Z",
    "stable": "shop-aaaaaaaaaa",
    "canary": "shop-bbbbbbbbbb",
}


def test_the_plan_of_a_rollout_that_began_before_the_upgrade_is_carried_on():
    before = {
        "steps": [{"weight": 5}],
        "analysis": {
            "looks": 3,
            "maxLooks": 6,
            "confirmations": 1,
            "errors": {"ratio": 2.0},
            "maxErrors": 1.5,
            "slow": {"difference": 1.0},
            "bake": "1m",
            "minRequests": 50,
        },
    }
    found = restore_state({**MIDWAY, "plan": before}).attempt.plan
    analysis = found.analysis
    assert (analysis.windows, analysis.max_windows, analysis.failure_threshold) == (3, 6, 1)
    assert (analysis.error_rate.ratio, analysis.max_error_rate, analysis.latency.difference) == (2.0, 1.5, 1.0)
    assert (analysis.bake_time, analysis.min_requests, found.steps[0].weight) == ("1m", 50, 5)


LOOKED = {"canary": {"bad": 3, "requests": 400}, "stable": {"bad": 2, "requests": 900}}


def test_a_step_that_was_analyzed_before_the_upgrade_goes_on_with_what_it_counted():
    now = Progress(windows=2, last_end_seconds=9.0, latency_bound_seconds=0.25).document()
    now["errorRate"]["evidence"] |= LOOKED
    before = {
        {"errorRate": "errors", "latency": "slow", "latencyBoundSeconds": "slowBoundSeconds"}.get(name, name): value
        for name, value in now.items()
    }
    found = restore_state({**MIDWAY, "analysis": before}).attempt.analysis
    assert found == Progress.restore(now)
    assert (found.error_rate.evidence.canary.bad, found.latency_bound_seconds) == (3, 0.25)


@pytest.mark.parametrize(
    ("before", "now"),
    [("Looking", "AnalysisRunning"), ("PromotedBroke", "PromotedRevisionFailed"), ("Paused", "Paused")],
)
def test_a_reason_that_was_written_before_the_upgrade_is_read_by_its_new_word(before, now):
    said = {"at": "2026-01-01T00:00:00Z", "reason": before, "message": "so"}
    state = restore_state(
        {
            **MIDWAY,
            "reason": before,
            "history": [{**said, "from": "Shifting", "to": "Analyzing"}],
            "rejected": [{**said, "revision": "shop-cccccccccc"}],
        }
    )
    assert (state.reason, state.history[0].reason, state.rejected[0].reason) == (now, now, now)


def test_a_check_that_was_written_before_the_upgrade_is_read_by_its_new_name():
    checks = {
        "errors": "error-rate",
        "slow": "latency",
        "slo": "latency-objective",
        "arrival": "traffic-share",
        "probe": "golden-requests",
        "promql/slow": "promql/slow",
    }
    results = [{"check": name, "outcome": "Pass", "reason": "NotWorse"} for name in checks]
    state = restore_state({**MIDWAY, "results": results, "verification": [{**results[0], "check": "golden"}]})
    assert [each["check"] for each in state.results] == list(checks.values())
    assert state.verification[0]["check"] == "golden-requests"


def test_a_new_name_wins_over_the_former_one():
    assert with_new_names({"bake": "1m", "bakeTime": "2m"}, "spec.rollout.canary.analysis") == {"bakeTime": "2m"}


def test_a_rollout_that_lost_its_metrics_before_the_upgrade_waits_for_them_anew():
    former = {"blindSince": "2026-01-01T00:00:00Z", "analysis": {"looks": 4}, "plan": {"analysis": {"looks": 4}}}
    state = restore_state({**MIDWAY, **former})
    assert state is not None
    assert state.attempt.metrics_lost_since is None
    assert state.attempt.analysis == Progress()


FORMER = re.compile(
    r"wantedReplicas|p99Source|\breadySeconds|\b(canary|stable)N\b|last_look_age|"
    r"holdWindow|hold_window|[mM]axLooks|max_looks|blindSince|blind_since|shedLate|maxErrors|"
    r"[\"`.]looks[\"`]|\blooks: [0-9]|[\"`]confirmations[\"`]|\bconfirmations: [0-9]|[\"`]bake[\"`]:|\bbake: [0-9]|"
    r"^ *suspended: (true|false)|[\"']suspended[\"']: (true|True)|spec\.suspended"
)
MAY_SAY_IT = {
    "CHANGELOG.md",
    "operator/tritonfleet/api/renames.py",
    "operator/tritonfleet/plan/objects/revision.py",
    "tests/unit/api/test_renames.py",
    "tests/cluster/test_definition_upgrade.py",
}
GENERATED = ("crds/", "charts/tritonfleet/crd/", "charts/tritonfleet-crds/crd/", "benchmarks/results/")


def test_no_former_name_remains_in_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [name for name in listed.stdout.splitlines() if name not in MAY_SAY_IT and not name.startswith(GENERATED)]
    assert len(files) > 300
    found = []
    for name in files:
        try:
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        found += [f"{name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if FORMER.search(line)]
    assert found == []
