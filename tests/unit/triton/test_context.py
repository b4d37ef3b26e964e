"""Rules know the server: its release, and where it has files besides the model's."""

from typing import Any

import pytest

from tritonfleet.triton import schema
from tritonfleet.triton.context import Folder
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
