"""Wrong input of `tritonfleet simulate`: one line with what is wrong, where, and what is expected; exit status 2."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

SHORT = "t_s\n0.5\n1.25\n"


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("spec: [", "line 4: must be YAML: "),
        ("kind: Deployment\nspec: {}", "must contain one ModelDeployment, has none"),
        ("spec: {slo: {latency: {target: 50ms}}}", "spec.model: must be set"),
        ("apiVersion: v1\nspec: {}", "apiVersion must be tritonfleet.dev/v1alpha1, not 'v1'"),
        (
            "spec: {model: {uri: s3://m/1}, autoscaling: {maxReplicas: 3}}",
            "spec.slo.latency: must be set, such as {percentile: 99, target: 50ms}",
        ),
        (
            "spec: {model: {uri: s3://m/1}, slo: {throughput: 10}, autoscaling: {maxReplicas: 3}}",
            "spec.slo.latency: must be set: attainment is the share of requests within it",
        ),
        (
            "spec: {model: {uri: s3://m/1}, slo: {latency: {target: 50ms}}}",
            "spec.autoscaling: must be set, with mode SLO and maxReplicas",
        ),
        (
            "spec: {model: {uri: s3://m/1}, slo: {latency: {target: 50ms}}, autoscaling: {mode: External}}",
            "spec.autoscaling: must be set, with mode SLO and maxReplicas",
        ),
        (
            "spec: {model: {uri: s3://m}, slo: {latency: {target: 9s}}, autoscaling: {minReplicas: 5, maxReplicas: 3}}",
            "spec.autoscaling.maxReplicas: must be set, and not below minReplicas (5), got 3",
        ),
        (
            "spec: {model: {uri: s3://m/1}, batching: {maxBatchSize: 4, dynamic: {preferredBatchSizes: [8]}}}",
            "spec.batching.dynamic.preferredBatchSizes",
        ),
        (
            "spec: {model: {uri: s3://m/1}, slo: {latency: {target: soon}}, autoscaling: {maxReplicas: 3}}",
            "spec.slo, spec.autoscaling or spec.batching: 'soon' is not a duration: write a number and a unit",
        ),
        (
            "spec: {model: {uri: s3://m/1}, slo: {latency: {target: 50ms}}, autoscaling: {maxReplica: 3}}",
            "spec.autoscaling.maxReplica: unknown field",
        ),
    ],
)
def test_a_wrong_manifest_is_refused_by_its_field(
    simulate: Callable, manifest: Path, spec: str, complaint: str
) -> None:
    head = "apiVersion: tritonfleet.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: m}\n"
    lines = [line for line in head.splitlines() if line.split(":")[0] not in spec]
    manifest.write_text("\n".join([*lines, spec]))

    said = simulate(SHORT)

    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("tritonfleet simulate: ")
    assert complaint in said.err
    assert str(manifest) in said.err
    assert said.err.count("\n") == 1


def test_files_that_are_missing_are_named(simulate: Callable, manifest: Path) -> None:
    assert simulate("nowhere.csv").err == (
        "tritonfleet simulate: --trace: 'nowhere.csv' is neither a file nor one of daily, weekly, steps, spikes,"
        " flash-crowd, noisy-constant, on-off, ramps, bursty\n"
    )
    manifest.unlink()
    assert simulate("daily").err == f"tritonfleet simulate: {manifest}: no such file or directory\n"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--service", "4ms"], "--service: must be two durations, such as 4ms,0.6ms, not '4ms'"),
        (["--service", "4,1"], "--service: must be a number and a unit, such as 0.5ms, 90s, 1h30m or 7d"),
        (["--ready-time", "60"], "--ready-time: must be a number and a unit"),
        (["--rate", "fast"], "--rate: must be requests per second, above 0"),
        (["--seed", "-1"], "--seed: must be an integer from 0"),
        (["--jobs", "0"], "--jobs: must be a positive integer, not '0'"),
        (["--scalers", "keda,knative"], "--scalers: 'knative' must be one of hpa, hpa-latency, keda, kpa"),
        (["--plot", "out.gif"], "--plot: 'out.gif' must end in .pdf, .png, .svg"),
        (["--plot", "no/where.png"], "--plot: directory 'no' does not exist"),
        (["--faults", "blackout"], "--faults: 'blackout' must be NAME[:VALUE]@START[+LENGTH] with one of the names"),
        (["--faults", "storm@1m"], "--faults: 'storm@1m' must be NAME[:VALUE]@START[+LENGTH] with one of the names"),
        (
            ["--faults", "pod-loss@1s+10m"],
            "--faults: 'pod-loss@1s+10m' has a value or length that it does not take",
        ),
        (["--faults", "slower:fast@1s"], "--faults: 'slower:fast@1s': the value must be a number above 0, not 'fast'"),
        (["--faults", "slower@2h"], "--faults: 'slower@2h' starts after the trace, which ends at 2s"),
        (["--speed", "2"], "no such option '--speed'"),
    ],
)
def test_a_wrong_option_is_refused_with_what_would_be_right(
    simulate: Callable, options: list[str], complaint: str
) -> None:
    said = simulate(SHORT, *options)

    assert (said.status, said.out) == (2, "")
    assert complaint in said.err
    assert said.err.count("\n") == 1


def test_without_its_extra_it_says_what_to_install(simulate: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else found(name))

    said = simulate(SHORT)

    assert said.status == 2
    assert said.err == "tritonfleet simulate: needs numba: pip install 'tritonfleet[simulate]'\n"
