"""Where each file of a source ends up in Triton's model folder."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.model_folder import Hints, laid_out, without_wrapper

URI = "s3://bucket/models/m"
NAMES = st.text(alphabet=string.ascii_lowercase + string.digits + "._", min_size=1, max_size=6).filter(
    lambda name: name not in {".", ".."}
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def laid(*paths, packed=False, **hints):
    return laid_out(paths, Hints(**hints), uri=URI, packed=packed)


@given(st.sets(PATHS | st.sampled_from(["config.pbtxt", "1/model.onnx", "2/a/b", "configs/x", "0/x"]), max_size=8),
       st.sampled_from([None, "onnxruntime", "openvino", "python", "mine"]))  # fmt: skip
def test_every_layout_is_a_model_folder_or_refused(paths, backend):
    try:
        places = laid(*paths, backend=backend)
    except FetchFailed:
        return
    targets = list(places.values())
    assert len(set(targets)) == len(targets)
    assert any(target.split("/")[0].isdecimal() and "/" in target for target in targets)
    assert set(places) == {path for path in paths if path.split("/")[0] != "configs"}
    folders = {target[:i] for target in targets for i, letter in enumerate(target) if letter == "/"}
    assert not folders & set(targets)


def test_a_triton_model_folder_stays_as_it_is():
    paths = ["config.pbtxt", "labels.txt", "warmup/x", "1/model.onnx", "12/model.onnx", "12/data/x"]
    assert laid(*paths) == {path: path for path in paths}


def test_bare_files_become_version_one():
    assert laid("model.py", "helper.py", "data/x.bin", backend="python") == {
        "model.py": "1/model.py",
        "helper.py": "1/helper.py",
        "data/x.bin": "1/data/x.bin",
    }


def test_the_artifact_configuration_of_bare_files_is_set_apart():
    assert laid("config.pbtxt", "model.onnx")["config.pbtxt"] == "config.pbtxt"


def test_other_configurations_of_the_artifact_are_left_behind():
    assert laid("configs/tritonfleet.pbtxt", "1/model.onnx") == {"1/model.onnx": "1/model.onnx"}


def test_labels_and_warm_up_data_of_bare_files_go_beside_the_version():
    places = laid("model.onnx", "labels.txt", "warmup/x", "initial_state/y", label_files=frozenset({"labels.txt"}))
    assert places == {
        "model.onnx": "1/model.onnx",
        "labels.txt": "labels.txt",
        "warmup/x": "warmup/x",
        "initial_state/y": "initial_state/y",
    }


@pytest.mark.parametrize(
    ("paths", "backend", "expected"),
    [
        (["net.onnx", "net.onnx.data"], "onnxruntime", {"1/model.onnx", "1/net.onnx.data"}),
        (["net.onnx"], None, {"1/model.onnx"}),
        (["net.pth"], "pytorch", {"1/model.pt"}),
        (["net.engine"], "tensorrt", {"1/model.plan"}),
        (["net.xml", "net.bin"], "openvino", {"1/model.xml", "1/model.bin"}),
        (["net.onnx", "model.onnx"], "onnxruntime", {"1/net.onnx", "1/model.onnx"}),
        (["model.savedmodel/saved_model.pb"], None, {"1/model.savedmodel/saved_model.pb"}),
        (["net.bin"], "mine", {"1/net.bin"}),
        (["net.onnx", "net.py"], None, {"1/net.onnx", "1/net.py"}),
    ],
)
def test_a_bare_model_file_gets_the_name_that_its_backend_loads(paths, backend, expected):
    assert set(laid(*paths, backend=backend).values()) == expected


def test_a_configured_file_name_is_kept():
    assert laid("net.onnx", backend="onnxruntime", default_file="net.onnx") == {"net.onnx": "1/net.onnx"}


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ([], "no model file there"),
        (["config.pbtxt"], "no model file there"),
        (["configs/a.pbtxt"], "no model file there"),
        (["warmup/x"], "only labels or warm-up data"),
        (["a.onnx", "b.onnx"], "which of a.onnx, b.onnx is the model? Rename it to model.onnx"),
        (
            ["resnet/1/model.onnx", "bert/1/model.onnx"],
            "a repository of models (bert, resnet), of which one is served: name s3://bucket/models/m/bert",
        ),
        (["resnet/config.pbtxt", "resnet/1/model.onnx"], "a repository of models (resnet)"),
        (["0/model.onnx"], "Triton ignores the version folder '0'"),
        (["01/model.onnx"], "Triton ignores the version folder '01'"),
        (["1/a", "1/a/b"], "'1/a' is a file and a folder (of '1/a/b')"),
    ],
)
def test_what_is_no_model_is_refused_with_the_remedy(paths, words):
    with pytest.raises(FetchFailed) as refusal:
        laid(*paths)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("paths", "wrapper"),
    [
        (["m/1/model.onnx", "m/config.pbtxt"], "m/"),
        (["1/model.onnx"], ""),
        (["model.savedmodel/x"], ""),
        (["a/x", "b/x"], ""),
        (["a/x", "x"], ""),
        (["model.onnx"], ""),
    ],
)
def test_an_archive_may_wrap_its_files_in_one_folder(paths, wrapper):
    assert without_wrapper(paths) == wrapper


@pytest.mark.parametrize(
    ("backend", "wanted"), [("python", "12/model.py"), ("onnxruntime", "12/model.onnx"), ("openvino", "12/model.xml")]
)
def test_the_newest_version_must_have_the_file_that_the_backend_loads(backend, wanted):
    with pytest.raises(FetchFailed, match=f"there is no {wanted}"):
        laid("2/model.py", "2/model.onnx", "2/model.xml", "12/readme.txt", backend=backend)
    assert laid("12/other", backend=backend, default_file="other") == {"12/other": "12/other"}
    assert laid("2/readme.txt", f"{wanted}/part", backend=backend)


def test_a_backend_of_ones_own_may_keep_its_model_under_any_name():
    assert laid("1/weights", backend="mine") == {"1/weights": "1/weights"}


@pytest.mark.parametrize(
    ("paths", "backend", "words"),
    [
        (["src/model.py", "readme.md"], "python", "at its top is no model.py, which the python backend loads; it is"),
        (["src/model.py"], None, "it is in 'src': name s3://bucket/models/m/src"),
        (["export/v2/model.onnx"], None, "it is in 'export/v2': name s3://bucket/models/m/export/v2"),
        (["my model/model.onnx"], "onnxruntime", "give 'my model' a name without white space"),
        (["weights.bin"], "python", "at its top is no model.py, which the python backend loads; add it"),
        (["1/src/model.py"], "python", "there is no 1/model.py, which the python backend loads; move 1/src/"),
        (["bert 1/1/model.onnx"], None, "a repository of models (bert 1), of which one is served: give 'bert 1'"),
    ],
)  # fmt: skip
def test_a_model_file_where_its_backend_does_not_look_is_refused_at_once(paths, backend, words):
    with pytest.raises(FetchFailed) as refusal:
        laid(*paths, backend=backend)
    assert words in str(refusal.value)


@pytest.mark.parametrize("paths", [["bert/1/model.onnx", "resnet/1/model.onnx"], ["src/model.onnx"]])
def test_advice_about_an_archive_names_no_address_inside_it(paths):
    with pytest.raises(FetchFailed) as refusal:
        laid(*paths, packed=True)
    assert f"{URI}/" not in str(refusal.value)
    assert f"pack only what is in '{paths[0].split('/')[0]}'" in str(refusal.value)


@pytest.mark.parametrize("environment", ["env.tar.gz", "env/bin/activate"])
def test_the_environment_and_the_stub_of_a_python_model_go_beside_the_versions(environment):
    places = laid("model.py", environment, "triton_python_backend_stub", backend="python",
                  environment=environment.partition("/")[0])  # fmt: skip
    assert places == {
        "model.py": "1/model.py",
        environment: environment,
        "triton_python_backend_stub": "triton_python_backend_stub",
    }
