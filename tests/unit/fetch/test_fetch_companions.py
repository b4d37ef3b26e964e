"""Several models in one pod: each is fetched by itself, and the last run checks that they fit together."""

import json
import shutil
from pathlib import Path

import pytest

from tritonfleet.triton.images import Image, server_context

CPU = server_context(Image.parse("nvcr.io/nvidia/tritonserver:26.11-py3"), gpus=0, server_has_cache=False)
STEP = (
    'step {{ model_name: "{name}" model_version: -1 input_map {{ key: "IN" value: "{given}" }}'
    ' output_map {{ key: "OUT" value: "{made}" }} }}'
)
ENSEMBLE = (
    'platform: "ensemble" input {{ name: "X" data_type: TYPE_FP32 dims: 4 }}'
    ' output {{ name: "Y" data_type: TYPE_FP32 dims: 4 }} ensemble_scheduling {{ {steps} }}'
)
PIPELINE = ENSEMBLE.format(
    steps=STEP.format(name="pre", given="X", made="between") + STEP.format(name="post", given="between", made="Y")
)


def member(data_type: str = "FP32", more: str = "") -> str:
    tensor = f"data_type: TYPE_{data_type} dims: 4"
    return f'backend: "python" input {{ name: "IN" {tensor} }} output {{ name: "OUT" {tensor} }} {more}'


@pytest.fixture
def chain(tmp_path: Path, fetch):
    """Fetch an ensemble and its companions, as a pod does, from one folder; return how each run ended."""

    def run(models: dict[str, str], companions: tuple[str, ...] = ("pre", "post"), uri: str = "pvc://claim/models"):
        for name, config in models.items():
            folder = tmp_path / "claim" / "models" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.pbtxt").write_text(config)
            if "ensemble" not in config:
                (folder / "1").mkdir(exist_ok=True)
                (folder / "1" / "model.py").write_text(f"# {name}")
        (tmp_path / "overlay.pbtxt").write_text("")
        common = {"TRITONFLEET_FETCH_SERVER": CPU}
        ended = {}
        for number, name in enumerate(companions):
            own = {"MODEL": name, "FOLDER": name, "COMPANION": str(number)}
            ended[name] = fetch(uri, **common, **{f"TRITONFLEET_FETCH_{key}": value for key, value in own.items()})
            if ended[name].code:
                return ended
        own = {"MODEL": "pipeline", "FOLDER": "pipeline", "COMPANIONS": ",".join(companions)}
        ended["pipeline"] = fetch(uri, **common, **{f"TRITONFLEET_FETCH_{key}": value for key, value in own.items()})
        return ended

    return run


def test_a_repository_of_an_ensemble_and_its_members_is_put_in_place(chain, tmp_path):
    ended = chain({"pipeline": PIPELINE, "pre": member(), "post": member(), "unused": member()})
    assert {name: outcome.code for name, outcome in ended.items()} == {"pre": 0, "post": 0, "pipeline": 0}
    placed = tmp_path / "models"
    assert sorted(each.name for each in placed.iterdir() if each.name[0] != ".") == ["pipeline", "post", "pre"]
    assert (placed / "pipeline" / "1").is_dir(), "Triton wants a version, which object stores cannot keep"
    assert (placed / "pre" / "1" / "model.py").read_text() == "# pre"
    report = json.loads(ended["pipeline"].message)
    assert report["companionsDigest"].startswith("sha256:")
    assert report["digest"] != report["companionsDigest"]


def test_other_content_of_a_companion_is_another_digest_of_the_companions_alone(chain, tmp_path):
    models = {"pipeline": PIPELINE, "pre": member(), "post": member()}
    first = json.loads(chain(models)["pipeline"].message)
    (tmp_path / "claim" / "models" / "pre" / "1" / "weights").write_text("new")
    for name in models:
        shutil.rmtree(tmp_path / "models" / name)
    second = json.loads(chain(models)["pipeline"].message)
    assert first["digest"] == second["digest"]
    assert first["companionsDigest"] != second["companionsDigest"]


def test_a_member_that_is_not_among_the_companions_is_named_before_triton_starts(chain):
    ended = chain({"pipeline": PIPELINE, "pre": member(), "post": member()}, companions=("pre",))
    assert ended["pipeline"].message == (
        "FetchFailed: Triton would not load pvc://claim/models as its config.pbtxt and the spec have it:"
        " spec.modelConfig.ensemble_scheduling.step[1].model_name is 'post': must be a model of the same server:"
        " name it in spec.companions"
    )


def test_an_ensemble_without_companions_is_refused_by_the_name_of_its_first_member(chain):
    ended = chain({"pipeline": PIPELINE}, companions=())
    assert "step[0].model_name is 'pre': must be a model of the same server" in ended["pipeline"].message


@pytest.mark.parametrize(
    ("pre", "post", "told"),
    [
        (member(), member("INT64"), "with tensor 'between' of TYPE_FP32 in 'pre': must be TYPE_INT64, as in 'post'"),
        (member(more='input { name: "IN2" data_type: TYPE_FP32 dims: 1 }'), member(), "must give every input of 'pre'"),
    ],
)
def test_a_member_that_does_not_fit_the_maps_is_refused(chain, pre, post, told):
    assert told in chain({"pipeline": PIPELINE, "pre": pre, "post": post})["pipeline"].message


def test_a_companion_whose_folder_is_missing_is_named_with_what_is_there(chain):
    ended = chain({"pipeline": PIPELINE, "post": member()})
    assert ended["pre"].message == (
        "FetchFailed: companion 'pre': pvc://claim/models: no folder 'pre' there, which is the model's, since a"
        " companion without `uri` has its folder beside it; there are pipeline, post"
    )


def test_what_triton_would_not_load_of_a_companion_is_told_by_its_own_fields(chain):
    wrong = member(more="max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }")
    assert chain({"pipeline": PIPELINE, "pre": wrong, "post": member()})["pre"].message == (
        "FetchFailed: Triton would not load companion 'pre' as its config.pbtxt and the spec have it:"
        " spec.companions[0].modelConfig.dynamic_batching is 8: must be from 1 to"
        " spec.companions[0].batching.maxBatchSize (4)"
    )


def test_an_ensemble_among_the_companions_is_checked_against_all_models(chain):
    inner = ENSEMBLE.format(steps=STEP.format(name="lost", given="X", made="Y")).replace('"X"', '"IN"')
    inner = inner.replace('"Y"', '"OUT"')
    ended = chain({"pipeline": PIPELINE, "pre": member(), "post": inner})
    assert (
        "companion 'post' as its config.pbtxt and the spec have it:"
        " spec.companions[1].modelConfig.ensemble_scheduling.step[0].model_name is 'lost'"
    ) in ended["pipeline"].message


def test_a_companion_that_keeps_state_makes_the_chain_keep_state(chain):
    sequence = "sequence_batching { }"
    ended = chain({"pipeline": PIPELINE, "pre": member(more=sequence), "post": member()})
    assert json.loads(ended["pipeline"].message)["stateful"] is True


def test_an_ensemble_executes_as_much_side_by_side_as_the_least_of_its_members(chain):
    models = {"pipeline": PIPELINE, "pre": member(more="instance_group { count: 4 }")}
    report = json.loads(chain(models | {"post": member(more="instance_group { count: 2 }")})["pipeline"].message)
    assert (report["largestBatch"], report["concurrentBatches"]) == (1, 2)
