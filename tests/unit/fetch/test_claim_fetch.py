"""pvc:// sources: linked, not copied, and never past the claim."""

import os
import tarfile

import pytest

from tritonfleet.fetch import transfer


@pytest.fixture
def claim(tmp_path):
    folder = tmp_path / "claim"
    (folder / "models" / "resnet" / "1").mkdir(parents=True)
    (folder / "models" / "resnet" / "1" / "model.onnx").write_bytes(b"weights")
    return folder


def test_version_folders_are_linked_into_place(claim, fetch):
    (claim / "models" / "resnet" / "config.pbtxt").write_text("max_batch_size: 2")
    (claim / "models" / "resnet" / "labels.txt").write_text("cat")
    outcome = fetch("pvc://my-claim/models/resnet")
    assert outcome.code == 0
    assert outcome.files() == {"1/model.onnx": b"weights", "labels.txt": b"cat"}
    assert (outcome.model / "1").readlink() == claim / "models" / "resnet" / "1"
    assert (outcome.model / "labels.txt").is_symlink()
    assert not (outcome.model / "config.pbtxt").exists()


def test_bare_files_are_linked_as_version_one(claim, fetch):
    outcome = fetch("pvc://my-claim/models/resnet/1")
    assert outcome.files() == {"1/model.onnx": b"weights"}
    assert (outcome.model / "1").readlink() == claim / "models" / "resnet" / "1"


def test_a_single_file_is_linked_under_the_name_its_backend_loads(claim, fetch):
    (claim / "net.onnx").write_bytes(b"net")
    outcome = fetch("pvc://my-claim/net.onnx")
    assert outcome.files() == {"1/model.onnx": b"net"}
    assert (outcome.model / "1" / "model.onnx").readlink() == claim / "net.onnx"


def test_the_whole_claim_can_be_the_model(claim, fetch):
    (claim / "models" / "resnet" / "1").rename(claim / "1")
    (claim / "models" / "resnet").rmdir()
    (claim / "models").rmdir()
    assert fetch("pvc://my-claim").files() == {"1/model.onnx": b"weights"}


def test_the_digest_is_the_one_of_the_same_files_over_https(claim, fetch, https):
    https.files["/model.onnx"] = b"weights"
    assert fetch("pvc://my-claim/models/resnet").digest == fetch(https.url("/model.onnx")).digest


def test_a_restart_finds_the_linked_model_in_place(claim, fetch):
    fetch("pvc://my-claim/models/resnet")
    assert "already in place" in fetch("pvc://my-claim/models/resnet").log


def test_a_changed_file_on_the_claim_is_noticed_by_the_pinned_digest(claim, fetch):
    digest = fetch("pvc://my-claim/models/resnet").digest
    (claim / "models" / "resnet" / "1" / "model.onnx").write_bytes(b"changed")
    outcome = fetch("pvc://my-claim/models/resnet", TRITONFLEET_FETCH_DIGEST=digest)
    assert "has the digest sha256:" in outcome.message
    assert not outcome.model.exists()


def test_a_link_within_the_claim_is_followed(claim, fetch):
    blobs = claim / "blobs"
    blobs.mkdir()
    (blobs / "abc").write_bytes(b"blob")
    (claim / "models" / "resnet" / "1" / "model.onnx").unlink()
    (claim / "models" / "resnet" / "1" / "model.onnx").symlink_to("../../../blobs/abc")
    assert fetch("pvc://my-claim/models/resnet").files() == {"1/model.onnx": b"blob"}


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../outside", "/etc"])
def test_a_link_out_of_the_claim_is_refused(claim, fetch, tmp_path, target):
    (tmp_path / "outside").write_text("secret")
    (claim / "models" / "resnet" / "1" / "data").symlink_to(target)
    outcome = fetch("pvc://my-claim/models/resnet")
    assert "'models/resnet/1/data' is a link that leads out of the claim" in outcome.message
    assert not outcome.model.exists()


def test_a_folder_that_is_a_link_out_of_the_claim_is_refused(claim, fetch, tmp_path):
    (claim / "models" / "bert").symlink_to(tmp_path)
    assert "leads out of the claim" in fetch("pvc://my-claim/models/bert").message


def test_links_in_a_circle_are_refused(claim, fetch):
    (claim / "models" / "resnet" / "1" / "again").symlink_to("..")
    assert "does a link lead in a circle?" in fetch("pvc://my-claim/models/resnet").message


def test_a_pipe_is_refused_without_waiting_for_it(claim, fetch):
    os.mkfifo(claim / "models" / "resnet" / "1" / "pipe")
    assert "is a device, a pipe or a socket" in fetch("pvc://my-claim/models/resnet").message


def test_a_path_that_is_not_on_the_claim_is_named(claim, fetch):
    message = fetch("pvc://my-claim/models/bert").message
    assert message == "FetchFailed: pvc://my-claim/models/bert: 'models/bert' is not on the claim, or is a broken link"


def test_an_empty_folder_is_named(claim, fetch):
    (claim / "empty").mkdir()
    assert "pvc://my-claim/empty: the folder is empty" in fetch("pvc://my-claim/empty").message


def test_a_claim_that_is_not_mounted_is_named(fetch):
    assert "the claim is not mounted at" in fetch("pvc://my-claim/models").message


def test_a_pinned_digest_holds_though_the_claim_changes(claim, fetch):
    served = claim / "models" / "resnet" / "1" / "model.onnx"
    digest = fetch("pvc://my-claim/models/resnet").digest
    outcome = fetch("pvc://my-claim/models/resnet", TRITONFLEET_FETCH_DIGEST=digest)
    served.write_bytes(b"exchanged")
    assert outcome.files() == {"1/model.onnx": b"weights"}
    assert not any(path.is_symlink() for path in outcome.model.rglob("*"))


def test_a_pinned_digest_is_that_of_the_bytes_that_were_copied(claim, fetch, monkeypatch):
    """Each file is exchanged as soon as it has been read once."""
    digest = fetch("pvc://my-claim/models/resnet").digest
    served = claim / "models" / "resnet" / "1" / "model.onnx"
    monkeypatch.setattr(transfer.Progress, "finish_file", lambda _: served.write_bytes(b"exchanged"))
    outcome = fetch("pvc://my-claim/models/resnet", TRITONFLEET_FETCH_DIGEST=digest)
    assert outcome.files() == {"1/model.onnx": b"weights"}


def test_an_archive_on_a_claim_is_not_copied_before_it_is_unpacked(claim, fetch):
    with tarfile.open(claim / "m.tar", "w") as tar:
        tar.add(claim / "models" / "resnet", "resnet")
    digest = fetch("pvc://my-claim/m.tar").digest
    outcome = fetch("pvc://my-claim/m.tar", TRITONFLEET_FETCH_DIGEST=digest)
    assert outcome.files() == {"1/model.onnx": b"weights"}


def test_what_a_file_system_leaves_on_a_claim_is_passed_over_unread(claim, fetch):
    (claim / "lost+found").mkdir(mode=0)
    os.mkfifo(claim / "models" / "resnet" / "._pipe")
    (claim / "1").mkdir()
    (claim / "1" / "model.onnx").write_bytes(b"weights")
    (claim / "models" / "resnet" / ".DS_Store").write_bytes(b"x")
    assert fetch("pvc://my-claim/models/resnet").files() == {"1/model.onnx": b"weights"}
    assert "lost+found" not in fetch("pvc://my-claim").files()


def test_a_program_on_a_claim_stays_one_when_it_is_copied(claim, fetch):
    stub = claim / "models" / "resnet" / "run"
    stub.write_bytes(b"program")
    stub.chmod(0o755)
    digest = fetch("pvc://my-claim/models/resnet").digest
    model = fetch("pvc://my-claim/models/resnet", TRITONFLEET_FETCH_DIGEST=digest).model
    assert os.access(model / "run", os.X_OK)
    assert (model / "1" / "model.onnx").stat().st_mode & 0o111 == 0
