"""oci:// sources against the registry of the CNCF, pushed to by its API and as ORAS does."""

import contextlib
import json
import os
import platform
import subprocess
import sys

import pytest

from devcluster.host import pinned_package
from devcluster.progress import Progress
from tests.stores.registries import IMAGE, INDEX, PLAIN, TAR, TITLE, digest, tar
from tests.stores.servers import HUGE, MODEL, Answer, Door, answering
from tritonfleet.fetch import transfer

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def test_an_artifact_is_fetched_by_its_tag_which_is_recorded_as_a_digest(repository, run_fetch):
    pushed = repository.push(repository.file("model.onnx", MODEL), repository.file("labels.txt", b"cat"))
    outcome = run_fetch(repository.uri(), PLAIN)
    assert outcome.files() == {"1/model.onnx": MODEL, "1/labels.txt": b"cat"}
    assert json.loads(outcome.message)["modelVersion"] == pushed["digest"]


def test_a_digest_is_fetched_after_its_tag_has_moved_on(repository, run_fetch):
    before = repository.push(repository.file("model.onnx", MODEL))
    after = repository.push(repository.file("model.onnx", MODEL[::-1]))
    for reference, version, body in ((f"@{before['digest']}", before, MODEL), (":v1", after, MODEL[::-1])):
        outcome = run_fetch(repository.uri(reference), PLAIN)
        assert outcome.files() == {"1/model.onnx": body}
        assert json.loads(outcome.message)["modelVersion"] == version["digest"]


def test_the_tag_is_latest_where_none_is_named(repository, run_fetch):
    repository.push(repository.file("model.onnx", MODEL), tag="latest")
    assert run_fetch(repository.uri(""), PLAIN).files() == {"1/model.onnx": MODEL}


def test_a_large_layer_arrives_in_parts_and_whole(repository, run_fetch):
    repository.push(repository.file("1/model.onnx", HUGE), *(repository.file(f"1/w{i}", MODEL[i:]) for i in range(3)))
    outcome = run_fetch(repository.uri(), PLAIN)
    assert outcome.files() == {"1/model.onnx": HUGE, **{f"1/w{i}": MODEL[i:] for i in range(3)}}


ORAS = """
import sys
import oras.client
client = oras.client.OrasClient(insecure=True)
client.push(target=sys.argv[1], files=sys.argv[2:], disable_path_validation=True)
"""


def test_what_oras_pushes_is_fetched_files_and_folders(repository, run_fetch, tmp_path):
    folder = tmp_path / "pushed" / "recommender"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(MODEL)
    (folder / "labels.txt").write_text("cat")
    (folder.parent / "net.onnx").write_bytes(MODEL[::-1])
    packages = os.environ | {"PYTHONPATH": str(pinned_package("oras", Progress())), "HOME": str(tmp_path)}
    for tag, pushed in (("folder", "recommender"), ("file", "net.onnx")):
        command = (sys.executable, "-c", ORAS, repository.uri(f":{tag}").removeprefix("oci://"), pushed)
        said = subprocess.run(command, env=packages, cwd=folder.parent, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
    outcome = run_fetch(repository.uri(":folder"), PLAIN)
    assert outcome.code == 0, outcome.message
    assert outcome.files() == {"1/model.onnx": MODEL, "labels.txt": b"cat"}
    assert run_fetch(repository.uri(":file"), PLAIN).files() == {"1/model.onnx": MODEL[::-1]}


@pytest.mark.parametrize("packed", [True, False])
def test_a_layer_without_a_name_is_an_archive(repository, run_fetch, packed):
    kind = f"{TAR}+gzip" if packed else TAR
    repository.push(repository.layer(tar({"m/1/model.onnx": MODEL, "m/labels.txt": b"cat"}, packed=packed), kind))
    assert run_fetch(repository.uri(), PLAIN).files() == {"1/model.onnx": MODEL, "labels.txt": b"cat"}


def test_of_an_image_the_folder_models_is_served_and_the_rest_passed_over(repository, run_fetch):
    base = {"bin/sh": b"#!", "etc/link": None, "models/1/model.onnx": MODEL[::-1], "models/old.txt": b"old"}
    above = {"models/1/model.onnx": MODEL, "models/.wh.old.txt": b"", "models/labels.txt": b"cat"}
    layers = [repository.layer(tar(files), f"{TAR}+gzip") for files in (base, above)]
    repository.push(*layers, config=IMAGE)
    assert run_fetch(repository.uri(), PLAIN).files() == {"1/model.onnx": MODEL, "labels.txt": b"cat"}


def test_a_layer_of_an_image_can_hide_a_whole_folder_of_those_below(repository, run_fetch):
    below = {"models/1/model.onnx": MODEL[::-1], "models/1/model.onnx.data": b"old"}
    above = {"models/1/.wh..wh..opq": b"", "models/1/model.onnx": MODEL}
    repository.push(*(repository.layer(tar(files), f"{TAR}+gzip") for files in (below, above)), config=IMAGE)
    assert run_fetch(repository.uri(), PLAIN).files() == {"1/model.onnx": MODEL}


def test_an_image_without_that_folder_is_the_model_itself(repository, run_fetch):
    repository.push(repository.layer(tar({"1/model.onnx": MODEL}), f"{TAR}+gzip"), config=IMAGE)
    assert run_fetch(repository.uri(), PLAIN).files() == {"1/model.onnx": MODEL}


def test_of_an_index_the_manifest_for_this_machine_is_taken(repository, run_fetch):
    images = {}
    for architecture, body in ((MACHINE, MODEL), ("s390x", MODEL[::-1])):
        layer = repository.layer(tar({"models/1/model.onnx": body}), f"{TAR}+gzip")
        images[architecture] = repository.push(layer, tag="", config=IMAGE)
    entries = [found | {"platform": {"os": "linux", "architecture": name}} for name, found in images.items()]
    index = repository.manifest({"mediaType": INDEX, "manifests": entries[::-1]}, "v1")
    outcome = run_fetch(repository.uri(), PLAIN)
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert json.loads(outcome.message)["modelVersion"] == index["digest"]
    repository.manifest({"mediaType": INDEX, "manifests": [entries[1], entries[1] | {"platform": {}}]}, "v2")
    message = run_fetch(repository.uri(":v2"), PLAIN).message
    assert f"it is not there for linux/{MACHINE} (there are: s390x)" in message


def test_a_tag_and_a_repository_that_do_not_exist_are_named(repository, run_fetch):
    repository.push(repository.file("model.onnx", MODEL))
    message = run_fetch(repository.uri(":v2"), PLAIN).message
    assert "no such tag or digest (404 MANIFEST_UNKNOWN); check that 'v2' has been pushed" in message
    assert "(404 " in run_fetch(repository.uri().replace("team/", "other/"), PLAIN).message


def test_a_file_that_is_no_archive_needs_a_name(repository, run_fetch):
    repository.push(repository.layer(MODEL))
    message = run_fetch(repository.uri(), PLAIN).message
    assert "layer 1 is no archive" in message
    assert f"push it with the annotation {TITLE}" in message


@pytest.mark.parametrize("path", ["../model.onnx", "/model.onnx", "a\\b", "a/./b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(repository, run_fetch, path):
    repository.push(repository.file(path, MODEL))
    assert "holds the name" in run_fetch(repository.uri(), PLAIN).message


@pytest.mark.parametrize("files", [{"../../model.onnx": MODEL}, {"1/model.onnx": None}])
def test_an_archive_with_links_or_names_outside_is_refused(repository, run_fetch, files):
    repository.push(repository.layer(tar(files), f"{TAR}+gzip"))
    message = run_fetch(repository.uri(), PLAIN).message
    assert "layer 1 holds" in message


def test_two_layers_with_one_name_are_refused(repository, run_fetch):
    repository.push(repository.file("model.onnx", MODEL), repository.file("model.onnx", MODEL[::-1]))
    assert "two layers hold 'model.onnx'; push it once" in run_fetch(repository.uri(), PLAIN).message


@contextlib.contextmanager
def lying(repository, change):
    """Serve the repository by way of a door that changes what the registry says."""
    door = Door(repository.port, Answer(403))

    def answer(request):
        return change(request, door(request))

    with answering(answer) as port:
        yield repository.uri(port=port)


def test_a_registry_that_lies_about_a_digest_is_refused(repository, run_fetch):
    repository.push(repository.file("model.onnx", MODEL))

    def swapped(request, found):
        return Answer(200, MODEL[::-1]) if "/blobs/" in request.path else found

    with lying(repository, swapped) as uri:
        outcome = run_fetch(uri, PLAIN)
    assert f"model.onnx: what arrived has the SHA-256 {digest(MODEL[::-1])[7:]}" in outcome.message
    assert not outcome.model.exists()


@pytest.mark.parametrize(("body", "words"), [(MODEL + b"more", "the server sent more bytes than were asked for"),
                                             (MODEL[:-4], "the connection ended 4 bytes too early")])  # fmt: skip
def test_a_registry_that_lies_about_a_size_is_refused(repository, run_fetch, monkeypatch, body, words):
    monkeypatch.setattr(transfer, "FIRST_PAUSE_SECONDS", 0.0)
    repository.push(repository.file("model.onnx", MODEL))

    def other(request, found):
        return Answer(200, body) if "/blobs/" in request.path else found

    with lying(repository, other) as uri:
        assert words in run_fetch(uri, PLAIN).message


@pytest.mark.parametrize("by_digest", [True, False])
def test_a_manifest_that_is_not_what_its_digest_says_is_refused(repository, run_fetch, by_digest):
    pushed = repository.push(repository.file("model.onnx", MODEL))

    def other(request, found):
        found.body += b" "
        return Answer(found.status, found.body, found.headers | {"Content-Length": str(len(found.body))})

    with lying(repository, other) as uri:
        reference = uri.replace(":v1", f"@{pushed['digest']}") if by_digest else uri
        message = run_fetch(reference, PLAIN).message
    assert f"not the {pushed['digest']} that was asked for" in message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "the registry sent no manifest; is 127.0.0.1 a registry?"),
        (b"[]", "the registry sent no manifest"),
        (b"{}", "the manifest lists no layers"),
        (b'{"layers": [1]}', "the manifest lists layer 1 without a SHA-256 or a size"),
        (b'{"layers": [{"digest": "md5:1", "size": 1}]}', "the manifest lists layer 1 without a SHA-256 or a size"),
        (b'{"layers": [{"digest": "sha256:%s", "size": -1}]}' % (b"0" * 64), "without a SHA-256 or a size"),
        (b'{"layers": [{"digest": "sha256:%s", "size": 1e9}]}' % (b"0" * 64), "without a SHA-256 or a size"),
        (b'{"manifests": [1, {"digest": 2}]}', "it is not there for linux/"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_named(run_fetch, body, words):
    with answering(lambda _: Answer(200, body)) as port:
        assert words in run_fetch(f"oci://127.0.0.1:{port}/m:v1", PLAIN).message


def test_a_busy_registry_is_asked_again(repository, run_fetch, monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_PAUSE_SECONDS", 0.0)
    repository.push(repository.file("model.onnx", MODEL))
    busy = [Answer(429), Answer(503)]
    with lying(repository, lambda _, found: busy.pop() if busy else found) as uri:
        outcome = run_fetch(uri, PLAIN)
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert all(f"the server answered {status}; attempt" in outcome.log for status in (429, 503))
