"""s3:// sources against a real S3 server, through the environment that the operator gives the container."""

import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile

import pytest

from tests.stores.servers import ACCESS_KEY, HUGE, MODEL, SECRET_KEY


def test_a_model_folder_arrives_with_its_versions_and_labels(bucket, fetch):
    bucket.put({
        "models/resnet/config.pbtxt": b'max_batch_size: 4\noutput { name: "y" label_filename: "labels.txt" }',
        "models/resnet/labels.txt": b"cat\ndog\n",
        "models/resnet/1/model.onnx": MODEL,
        "models/resnet/2/model.onnx": MODEL[::-1],
        "models/resnet-other/1/model.onnx": b"not this one",
    })  # fmt: skip
    outcome = fetch("models/resnet")
    assert outcome.files() == {
        "labels.txt": b"cat\ndog\n",
        "1/model.onnx": MODEL,
        "2/model.onnx": MODEL[::-1],
    }
    config = (outcome.model / "configs" / "tritonfleet.pbtxt").read_text()
    assert all(part in config for part in ('name: "resnet"', "max_batch_size: 4", 'backend: "onnxruntime"'))


def test_a_trailing_slash_changes_nothing(bucket, fetch):
    bucket.put({"models/resnet/1/model.onnx": MODEL})
    assert fetch("models/resnet/").files() == {"1/model.onnx": MODEL}


def test_a_whole_bucket_can_be_the_model(bucket, fetch):
    bucket.put({"1/model.onnx": MODEL})
    assert fetch("").files() == {"1/model.onnx": MODEL}


def test_one_object_can_be_the_model(bucket, fetch):
    bucket.put({"models/resnet.onnx": MODEL})
    assert fetch("models/resnet.onnx").files() == {"1/model.onnx": MODEL}


def test_names_with_unusual_characters_are_read(bucket, fetch):
    bucket.put({"m/1/model.onnx": MODEL, "m/1/a b+c~(1)&=,@é.bin": b"weights", "m/1/100%.txt": b"x"})
    files = fetch("m").files()
    assert files == {"1/model.onnx": MODEL, "1/a b+c~(1)&=,@é.bin": b"weights", "1/100%.txt": b"x"}


def test_the_objects_of_folders_are_no_files(bucket, fetch):
    bucket.put({"models/resnet/1/model.onnx": MODEL})
    (bucket.folder / "models" / "empty").mkdir()
    assert fetch("models/resnet").files() == {"1/model.onnx": MODEL}


def test_a_large_object_arrives_in_parts_and_whole(bucket, fetch):
    bucket.put({"big/1/model.onnx": HUGE, **{f"big/1/weights-{i}": MODEL for i in range(30)}})
    outcome = fetch("big")
    assert outcome.files()["1/model.onnx"] == HUGE
    assert re.search(r"fetched 100 of 100 MiB \(100%\), .* 31 of 31 files", outcome.log)


def test_the_digest_does_not_depend_on_how_the_model_was_stored(bucket, fetch):
    bucket.put({"folder/1/model.onnx": MODEL, "bare/model.onnx": MODEL, "one.onnx": MODEL})
    digests = {fetch(path).message for path in ("folder", "bare", "one.onnx")}
    assert len(digests) == 1
    assert len(json.loads(digests.pop())["digest"]) == len("sha256:") + 64


def test_an_empty_prefix_is_named(bucket, fetch):
    bucket.put({"models/resnet/1/model.onnx": MODEL})
    outcome = fetch("models/resnett")
    assert outcome.code == 1
    assert outcome.message == (
        f"FetchFailed: s3://{bucket.name}/models/resnett: nothing is stored there (404); check the path"
    )


def test_a_bucket_that_does_not_exist_is_named(bucket, fetch):
    outcome = fetch("", TRITONFLEET_FETCH_URI="s3://no-such-bucket-here/m")
    assert "s3://no-such-bucket-here/m: no such bucket (404 NoSuchBucket)" in outcome.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret-value"}, "access denied (403 SignatureDoesNotMatch)"),
        ({"AWS_ACCESS_KEY_ID": "AKIAUNKNOWNUNKNOWN"}, "access denied (404 XAdminUserNotFound)"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "access denied (403 AccessDenied)"),
    ],
)
def test_refused_credentials_are_named_and_never_shown(bucket, fetch, changes, words):
    bucket.put({"m/1/model.onnx": MODEL})
    outcome = fetch("m", **changes)
    assert outcome.code == 1
    assert words in outcome.message
    assert "credentialsSecretName" in outcome.message
    for secret in filter(None, [SECRET_KEY, ACCESS_KEY, *changes.values()]):
        assert secret not in outcome.message + outcome.log


def test_half_a_pair_of_keys_is_refused_before_anything_is_sent(bucket, fetch):
    outcome = fetch("m", AWS_SECRET_ACCESS_KEY="")
    assert "the Secret has no AWS_SECRET_ACCESS_KEY" in outcome.message


def test_a_private_endpoint_is_refused_unless_the_administrator_allows_it(bucket, fetch):
    outcome = fetch(
        "m", TRITONFLEET_FETCH_ALLOW_PRIVATE="false", AWS_ENDPOINT_URL=bucket.endpoint.replace("http", "https")
    )
    assert "host '127.0.0.1' resolves to 127.0.0.1, a private address" in outcome.message


def test_a_plain_http_endpoint_is_refused_where_private_addresses_are(bucket, fetch):
    outcome = fetch("m", TRITONFLEET_FETCH_ALLOW_PRIVATE="false")
    assert "over plain http, which is only for private addresses" in outcome.message


def test_an_endpoint_off_the_allow_list_is_refused(bucket, fetch):
    outcome = fetch("m", TRITONFLEET_FETCH_ALLOWED_HOSTS="s3.example.com,*.internal.example.com")
    assert "host '127.0.0.1' is not allowed; the administrator allows only: s3.example.com" in outcome.message


def test_the_secret_cannot_send_the_fetch_around_the_checks(bucket, fetch, monkeypatch):
    bucket.put({"m/1/model.onnx": MODEL})
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://169.254.169.254",
        "AWS_PROXY_URL": "http://127.0.0.1:9",
        "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    assert fetch("m").files() == {"1/model.onnx": MODEL}
    assert (
        "never allowed" in fetch("m", AWS_ENDPOINT_URL_S3="http://169.254.169.254", TRITONFLEET_FETCH_MODEL="x").message
    )


def process_environment(bucket, folder):
    """Return what a fetch of the bucket's model `m` into the folder needs when it runs as a process of its own."""
    (folder / "overlay.pbtxt").write_text("")
    return os.environ | bucket.environment() | {
        "TRITONFLEET_FETCH_URI": f"s3://{bucket.name}/m",
        "TRITONFLEET_FETCH_MODEL": "resnet",
        "TRITONFLEET_FETCH_TARGET": str(folder),
        "TRITONFLEET_FETCH_CONFIG": str(folder / "overlay.pbtxt"),
        "TRITONFLEET_FETCH_ALLOW_PRIVATE": "true",
    }  # fmt: skip


def test_nothing_is_in_place_while_the_fetch_runs(bucket, tmp_path):
    bucket.put({"m/1/model.onnx": HUGE})
    environment = process_environment(bucket, tmp_path)
    program = "import sys; from tritonfleet.fetch import main; sys.exit(main())"
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as process:
        seen = set()
        while process.poll() is None:
            model = tmp_path / "resnet" / "1" / "model.onnx"
            seen.add(model.stat().st_size if model.exists() else None)
    assert process.returncode == 0
    assert seen <= {None, len(HUGE)}
    assert None in seen


def test_a_killed_fetch_goes_on_where_it_stopped(bucket, tmp_path):
    bucket.put({f"m/1/part-{i}.bin": HUGE for i in range(4)} | {"m/1/model.onnx": MODEL})
    environment = process_environment(bucket, tmp_path)
    command = [sys.executable, "-c", "import sys; from tritonfleet.fetch import main; sys.exit(main())"]
    journal = tmp_path / ".tritonfleet" / "resnet" / "journal"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (journal.exists() and journal.read_text().count("\n") >= 3):
            time.sleep(0.002)
        process.kill()
    assert not (tmp_path / "resnet").exists()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "from an earlier attempt" in again.stdout
    for i in range(4):
        assert (tmp_path / "resnet" / "1" / f"part-{i}.bin").read_bytes() == HUGE


@pytest.fixture
def small_volume(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", volume], check=True)
    yield volume
    subprocess.run(["umount", volume], check=True)


def test_a_model_larger_than_the_volume_is_refused_before_it_is_fetched(bucket, fetch, small_volume):
    bucket.put({"m/1/model.onnx": HUGE})
    outcome = fetch("m", TRITONFLEET_FETCH_TARGET=str(small_volume))
    assert "the model needs 70 MiB more on the model volume, 40 MiB are free" in outcome.message


def test_a_volume_that_fills_up_while_unpacking_is_named(bucket, fetch, small_volume):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1/model.onnx", bytes(60 * 1024 * 1024))
    bucket.put({"m.zip": packed.getvalue()})
    outcome = fetch("m.zip", TRITONFLEET_FETCH_TARGET=str(small_volume))
    assert "the model volume is full" in outcome.message
    assert not (small_volume / "resnet").exists()
