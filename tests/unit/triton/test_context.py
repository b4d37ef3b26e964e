"""Rules know the server: its release, and where it has files besides the model's."""

from typing import Any

import pytest

from tritonfleet.triton import schema
from tritonfleet.triton.context import Folder, Member
from tritonfleet.triton.images import Image, read_server_context, server_context
from tritonfleet.triton.validation import problems

NVIDIA = "nvcr.io/nvidia/tritonserver:26.11-py3"


def problems_on(image: str, text: str, **known: Any) -> list[str]:
    """Return what is wrong with a configuration on a server of this image, which has a volume at /envs."""
    server = server_context(Image.parse(image), gpus=0, server_has_cache=False, mounts=["/envs"])
    config = schema.parse_text(text, "config.pbtxt")
    return [str(each) for each in problems(config, model_name="demo", **read_server_context(server), **known)]


@pytest.mark.parametrize(
    ("image", "path", "is_accepted"),
    [
        (NVIDIA, "/opt/tritonserver/env.tar.gz", True),
        (NVIDIA, "/envs/env.tar.gz", True),
        (NVIDIA, "/home/me/env.tar.gz", False),
        (NVIDIA, "/models/demo/env.tar.gz", True),
        (NVIDIA, "$$TRITON_MODEL_DIRECTORY/env.tar.gz", True),
        ("registry.example.com/triton-with-envs:1", "/home/me/env.tar.gz", True),
    ],
)
def test_a_path_outside_the_model_must_be_in_the_image_or_a_volume(image: str, path: str, is_accepted: bool) -> None:
    text = f"backend: 'python' parameters {{ key: 'EXECUTION_ENV_PATH' value {{ string_value: '{path}' }} }}"
    assert (problems_on(image, text) == []) is is_accepted


@pytest.mark.parametrize(
    ("text", "files", "told"),
    [
        # The file's name decides on the backend, so that a profile is of no use to it.
        ("default_model_filename: 'model.onnx' instance_group { profile: '1' }", None, "with backend tensorrt only"),
        ("default_model_filename: 'model.plan' instance_group { profile: '1' }", None, ""),
        (
            "default_model_filename: 'model.plan' instance_group { profile: 'x' }",
            None,
            "the number of a TensorRT profile",
        ),
        ("instance_group { profile: '1' }", {"1/model.onnx": 9}, "with backend tensorrt only"),
        ("instance_group { profile: '1' }", {"1/model.plan": 9}, ""),
        ("instance_group { profile: '1' }", {}, "with backend tensorrt only"),
    ],
)
def test_what_the_backend_is_follows_from_the_file_or_the_folder(
    text: str, files: dict[str, int] | None, told: str
) -> None:
    folder = Folder(files) if files is not None else None
    found = [each for each in problems_on(NVIDIA, text, folder=folder) if "profile" in each]
    assert bool(found) is bool(told)
    assert all(told in each for each in found)


def test_an_ensemble_may_not_lead_back_to_itself_through_its_members() -> None:
    step = (
        "platform: 'ensemble' input { name: 'X' data_type: TYPE_FP32 dims: 4 }"
        " output { name: 'Y' data_type: TYPE_FP32 dims: 4 } ensemble_scheduling { step { model_name: '%s'"
        " model_version: -1 input_map { key: 'X' value: 'X' } output_map { key: 'Y' value: 'Y' } } }"
    )

    def circles(members: dict[str, str]) -> list[str]:
        known = {name: Member(schema.parse_text(text, name)) for name, text in members.items()}
        said = problems_on(NVIDIA, step % "a", members=known)
        return [each for each in said if "a circle" in each]

    plain = "backend: 'onnxruntime'"
    assert circles({"a": step % "b", "b": plain}) == []
    (circle,) = circles({"a": step % "b", "b": step % "demo"})
    assert "demo -> a -> b -> demo" in circle
    (circle,) = circles({"a": step % "b", "b": step % "a"})
    assert "a -> b -> a" in circle


def test_what_the_artifact_may_still_bring_is_not_missed() -> None:
    assert problems_on(NVIDIA, "platform: 'ensemble'", partial=True) == []
    assert problems_on(NVIDIA, "platform: 'ensemble'") != []


@pytest.mark.parametrize(
    ("control", "told"),
    [
        ("histogram_options { buckets: [1, 2] }", "spec.model.metrics[0].family is empty"),
        ("metric_identifier { family: 'f' }", "spec.model.metrics[0].buckets is empty"),
    ],
)
def test_a_metric_control_is_of_a_histogram_and_has_bounds(control: str, told: str) -> None:
    assert any(told in each for each in problems_on(NVIDIA, f"model_metrics {{ metric_control {{ {control} }} }}"))


def test_a_path_in_the_model_s_folder_must_be_there_once_the_folder_is_known() -> None:
    text = "backend: 'python' parameters { key: 'EXECUTION_ENV_PATH' value { string_value: '/models/demo/env' } }"
    without, with_it = Folder({"1/model.py": 9}), Folder({"1/model.py": 9, "env/bin/python": 9})
    assert len(problems_on(NVIDIA, text, folder=without)) == 1
    assert problems_on(NVIDIA, text, folder=with_it) == []


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("model_metrics { }", "24.11", "26.11"),
        ("platform: 'ensemble' ensemble_scheduling { max_inflight_requests: 1 }", "25.11", "26.11"),
        ("backend: 'tensorflow' platform: 'tensorflow_savedmodel'", "24.10", "25.02"),
        ("platform: 'tensorflow_graphdef'", "24.10", "25.02"),
        ("platform: 'torch_aoti'", "24.11", "26.11"),
    ],
)
def test_fields_and_backends_belong_to_releases(text: str, first: str, last: str) -> None:
    def refused(release: str) -> set[str]:
        said = problems_on(f"nvcr.io/nvidia/tritonserver:{release}-py3", text)
        return {each for each in said if "step is empty" not in each}

    releases = ["24.10", "24.11", "25.02", "25.03", "25.10", "25.11", "26.11"]
    assert {release for release in releases if not refused(release)} == {
        release for release in releases if first <= release <= last
    }


def test_an_image_whose_tag_names_no_release_is_trusted() -> None:
    assert problems_on("registry.example.com/triton:mine", "model_metrics { }") == []


@pytest.mark.parametrize(
    ("paths", "versions"),
    [(["1/a", "12/b"], {1, 12}), (["01/a", "x/1/a", "model.py"], set()), (["0/a", "3/"], {0, 3})],
)
def test_the_versions_are_the_folders_that_triton_takes_for_one(paths: list[str], versions: set[int]) -> None:
    assert Folder(dict.fromkeys(paths, 1)).versions == versions
