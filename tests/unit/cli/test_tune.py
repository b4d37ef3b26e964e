"""`tritonfleet tune` on trials that a formula makes: what it prints, keeps, and goes on with."""

import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tritonfleet.adapters.loadtest import Reloaded
from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.cli import tune
from tritonfleet.cli.manifests import merge_patched
from tritonfleet.errors import Rejected
from tritonfleet.plan.objects import build_revision, trial_objects
from tritonfleet.plan.rollout.verification import Port
from tritonfleet.settings import from_environment
from tritonfleet.sim import Setting, Trial

CONFIG = {"max_batch_size": 4, "dynamic_batching": {}, "instance_group": [{"count": 1}]}
URL = "http://triton:8000"


@dataclass
class Pretend:
    """Makes trials of T(b) = 20 ms + 2 ms * b; a second instance adds half of what the first carries."""

    made: list[Trial]
    loaded: list[Any]
    refuses: str = ""

    async def load(self, config: Any) -> None:
        if self.refuses and config["max_batch_size"] > 4:
            raise Rejected(self.refuses)
        self.loaded.append(config)

    async def inputs(self) -> tuple[Port, ...]:
        return (Port("X", "FP32", (-1, 2)),)

    async def trial(self, _server: Any, _requests: Any, wanted: Any, slo: Any, *, seed: int) -> Trial:
        size, slower = wanted.setting.max_batch_size, (1, 1, 4 / 3, 2, 8 / 3)[wanted.setting.instances]
        seconds = {each: slower * (0.020 + 0.002 * each) for each in (1, 2, 4, 8, 16, 32) if each <= size}
        capacity = 0.9 * wanted.setting.instances * size / seconds[size]
        within = wanted.rate <= capacity
        found = Trial(
            wanted.setting,
            wanted.rate,
            within=within,
            requests=1000,
            percentile_seconds=slo.latency_seconds * (0.9 if within else 2),
            median_seconds=0.01,
            took_seconds=2.0,
            batches=() if wanted.rate else tuple((each, 10, 10 * spent) for each, spent in seconds.items()),
            lone_seconds=seconds[1],
            sigma=0.02,
        )
        assert seed == len(self.made)
        self.made.append(found)
        return found


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pretend:
    one = Pretend([], [])

    @asynccontextmanager
    async def server(*_: Any) -> Any:
        yield one

    @asynccontextmanager
    async def reloaded(*_: Any) -> Any:
        double: Any = one
        yield Reloaded(double, CONFIG)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tune, "trial_server", server)
    monkeypatch.setattr(tune, "reloaded", reloaded)
    monkeypatch.setattr(tune, "make_trial", one.trial)
    return one


def test_it_prints_a_table_a_patch_and_what_it_means(
    tritonfleet: Callable[..., Any], manifest: Path, pretend: Pretend, tmp_path: Path
) -> None:
    html, png = tmp_path / "page.html", tmp_path / "plot.png"
    said = tritonfleet("tune", manifest, "--server", URL, "--rate", 5000, "--html", html, "--plot", png)

    assert said.status == 0, said.err
    assert "recommender: p99 <= 750ms, one replica" in said.out
    assert said.out.splitlines()[3].startswith("best  batches of 32, delay 0s, ")
    assert " replicas instead of " in said.out
    assert "maxBatchSize: 32" in said.out.split("spec:\n")[1]
    assert "inputs were made up from the model's shapes" in said.out
    assert html.read_text().startswith("<!DOCTYPE html>")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert all("response_cache" not in config for config in pretend.loaded)


def test_trials_are_used_again(tritonfleet: Callable[..., Any], manifest: Path, pretend: Pretend) -> None:
    first = tritonfleet("tune", manifest, "--server", URL, "-o", "json")
    made = len(pretend.made)
    state = Path("recommender.tune.json")
    document = json.loads(state.read_text())
    document["trials"] = document["trials"][: made // 2]
    state.write_text(json.dumps(document))
    del pretend.made[made // 2 :]

    again = tritonfleet("tune", manifest, "--server", URL, "-o", "json")

    assert len(pretend.made) == made
    assert json.loads(again.out) == json.loads(first.out) | {"notes": json.loads(again.out)["notes"]}
    assert f"using {made // 2} trials of an earlier run" in again.err


def test_another_objective_begins_anew(tritonfleet: Callable[..., Any], manifest: Path, pretend: Pretend) -> None:
    tritonfleet("tune", manifest, "--server", URL)
    pretend.made.clear()
    manifest.write_text(manifest.read_text().replace("750ms", "900ms"))

    said = tritonfleet("tune", manifest, "--server", URL)

    assert "of another model, server or SLO, and replaced" in said.err
    assert pretend.made


def test_a_file_that_is_no_state_is_left_alone(
    tritonfleet: Callable[..., Any], manifest: Path, pretend: Pretend
) -> None:
    state = Path("recommender.tune.json")
    state.write_text("mine")

    said = tritonfleet("tune", manifest, "--server", URL)

    assert (said.status, state.read_text(), pretend.made) == (2, "mine", [])
    assert "no state of this command; remove it or choose another --state" in said.err


def test_a_model_that_does_not_load_is_told_with_tritons_words(
    tritonfleet: Callable[..., Any], manifest: Path, pretend: Pretend
) -> None:
    pretend.refuses = "no optimization profile\nfor batch 32"

    said = tritonfleet("tune", manifest, "--server", URL)

    assert said.status == 1
    assert said.err.splitlines()[-1].endswith("no trial was possible: no optimization profile for batch 32")


def test_a_budget_that_is_used_up_is_said(
    tritonfleet: Callable[..., Any], manifest: Path, pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 100_000, 50))
    monkeypatch.setattr(tune, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    said = tritonfleet("tune", manifest, "--server", URL, "--budget", "5m")

    assert said.status == 0
    assert "the budget is used up: run it again" in said.out
    assert len(pretend.made) == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("slo: {latency: {percentile: 99, target: 750ms}}", "slo: {throughput: 5}"), "spec.slo.latency: must be set"),
        (("backend: onnxruntime", "backend: ensemble"), "cannot be tuned: it is an ensemble"),
        (("backend: onnxruntime", "decoupled: true"), "cannot be tuned: it is decoupled"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    tritonfleet: Callable[..., Any], manifest: Path, change: tuple[str, str], words: str
) -> None:
    manifest.write_text(manifest.read_text().replace(*change))

    said = tritonfleet("tune", manifest, "--server", URL)

    assert said.status == 2
    assert words in said.err


def test_a_file_needs_a_server(tritonfleet: Callable[..., Any], manifest: Path) -> None:
    assert "a FILE needs --server" in tritonfleet("tune", manifest).err


BODY: dict[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "recommender", "namespace": "shop", "uid": "u-1"},
    "spec": {
        "model": {"uri": "s3://models/recommender/7", "backend": "onnxruntime"},
        "batching": {"maxBatchSize": 8, "dynamic": {"maxQueueDelay": "2ms", "preferredBatchSizes": [8]}},
        "server": {"podLabels": {"app": "shop", "kueue.x-k8s.io/queue-name": "gpus"}},
    },
}


def test_a_trials_pod_is_selected_by_nothing_and_ends_by_itself() -> None:
    deployment = ModelDeployment.parse(BODY)
    revision = build_revision(deployment, from_environment().defaults)

    files, pod = trial_objects(deployment, revision, "max_batch_size: 16", 300)

    assert pod["metadata"]["labels"] == {names.TRIAL_LABEL: "recommender", "kueue.x-k8s.io/queue-name": "gpus"}
    assert [(each["uid"], each["controller"]) for each in pod["metadata"]["ownerReferences"]] == [("u-1", False)]
    assert (pod["spec"]["activeDeadlineSeconds"], pod["spec"]["restartPolicy"]) == (300, "Never")
    assert not any("lifecycle" in each for each in pod["spec"]["containers"])
    assert [each["configMap"]["name"] for each in pod["spec"]["volumes"] if each["name"] == "config"] == [
        files["metadata"]["name"]
    ]
    assert files["data"] == {**revision.config, "tritonfleet.pbtxt": "max_batch_size: 16"}
    containers = revision.template["spec"]["containers"]
    assert [{**each, "lifecycle": None} for each in containers] == [
        {**each, "lifecycle": None} for each in pod["spec"]["containers"]
    ]


def test_the_patch_makes_the_setting_of_the_spec_and_keeps_the_rest() -> None:
    deployment = ModelDeployment.parse(BODY)
    patch = tune._patch_of(deployment, Setting(2, 2000, 8), Setting(4, 0, 4), 2)

    assert patch == {
        "batching": {"maxBatchSize": 4, "dynamic": {"maxQueueDelay": "0s", "preferredBatchSizes": None}},
        "instances": [{"count": 2}],
    }
    merged = merge_patched(BODY["spec"], patch)
    assert merged["batching"] == {"maxBatchSize": 4, "dynamic": {"maxQueueDelay": "0s"}}
    assert ModelDeployment.parse({**BODY, "spec": merged}).spec.model == deployment.spec.model
