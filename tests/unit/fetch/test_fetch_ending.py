"""How the container ends: one line, whatever happened, and no secret in it."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.fetch import command
from tritonfleet.fetch.failure import MAX_MESSAGE_BYTES, one_line, secrets_of


@given(st.text(max_size=5000))
def test_a_message_is_one_printable_line_below_the_limit(text):
    line = one_line(text, ())
    assert line.startswith("FetchFailed: ")
    assert len(line.encode()) <= MAX_MESSAGE_BYTES
    assert line.isprintable()


@given(
    st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40), st.text(max_size=30)
)
def test_no_credential_survives_in_a_message(secret, around):
    secrets = secrets_of({"AWS_SECRET_ACCESS_KEY": secret, "HTTPS_AUTHORIZATION": f"Bearer {secret}"})
    masked = one_line(f"{around}{secret}{around} Bearer {secret}", secrets)
    assert secret not in masked.removeprefix("FetchFailed: ")


def test_an_unexpected_error_still_ends_in_a_line_without_secrets(fetch, monkeypatch, https):
    def broken(*_):
        raise ZeroDivisionError("with hunter2hunter2 inside")

    monkeypatch.setattr(command, "_contents", broken)
    outcome = fetch(https.url("/m/model.onnx"), AWS_SECRET_ACCESS_KEY="hunter2hunter2")
    assert outcome.code == 1
    assert outcome.message == (
        "FetchFailed: unexpected ZeroDivisionError: with *** inside; please report this as a bug"
    )
    assert "Traceback" in outcome.log
    assert "hunter2" not in outcome.log


def test_a_full_disk_during_the_transfer_is_named(fetch, https, monkeypatch):
    https.files["/m/model.onnx"] = bytes(1000)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert "the model volume is full" in fetch(https.url("/m/model.onnx")).message


def test_a_model_larger_than_the_volume_is_refused_before_it_is_fetched(fetch, https, monkeypatch):
    https.files["/m/model.onnx"] = bytes(5_000_000)
    free = 17 * 1024 * 1024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    message = fetch(https.url("/m/model.onnx")).message
    assert "the model needs 4.77 MiB more on the model volume, 17 MiB are free" in message
    assert {method for method, *_ in https.requests} == {"HEAD"}


def test_a_volume_that_cannot_be_written_is_named(fetch, https):
    assert "model volume" in fetch(https.url("/m/model.onnx"), TRITONFLEET_FETCH_TARGET="/proc/nothing").message


def test_a_configuration_that_is_none_is_named_with_its_line(fetch, https, tmp_path):
    https.files["/m/model.onnx"] = b"x"
    (tmp_path / "overlay.pbtxt").write_text("max_batch_sighs: 3")
    message = fetch(https.url("/m/model.onnx")).message
    assert "is not a Triton model configuration: 1:1" in message
    assert "max_batch_sighs" in message


def test_a_missing_termination_log_is_not_created(tmp_path):
    program = "from pathlib import Path; from tritonfleet.fetch import main; main({}, Path('log'))"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


def test_sigterm_ends_the_process_at_once(https, tmp_path):
    https.files["/m/model.onnx"] = bytes(60 * 1024 * 1024)
    https.chunk_pause_seconds = 20
    (tmp_path / "overlay.pbtxt").write_text("")
    environment = os.environ | {
        "TRITONFLEET_FETCH_URI": https.url("/m/model.onnx"),
        "TRITONFLEET_FETCH_MODEL": "resnet",
        "TRITONFLEET_FETCH_TARGET": str(tmp_path),
        "TRITONFLEET_FETCH_CONFIG": str(tmp_path / "overlay.pbtxt"),
        "TRITONFLEET_FETCH_ALLOW_PRIVATE": "true",
        "SSL_CERT_FILE": str(https.authority),
    }
    program = "import sys; from tritonfleet.fetch import main; sys.exit(main())"
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL) as process:
        while not any((tmp_path / ".tritonfleet").rglob("files/*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        # All that it was fetching would take twenty minutes.
        assert process.wait(60) == 128 + signal.SIGTERM


@pytest.mark.parametrize("heavy", ["aiohttp", "kopf", "kubernetes", "pydantic", "tritonclient", "obstore", "numpy"])
def test_nothing_heavy_is_imported_before_the_uri_is_known(heavy):
    program = f"import sys, tritonfleet.fetch; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_step_writes_below_its_target_only(fetch, https, tmp_path):
    https.files["/m/model.onnx"] = b"weights"
    before = _outside(tmp_path)
    fetch(https.url("/m/model.onnx"))
    assert _outside(tmp_path) == before


def _outside(folder):
    return {path for path in folder.rglob("*") if not path.is_relative_to(folder / "models")} - {
        folder / "termination-log"
    }


def test_a_model_with_sequence_batching_is_reported_also_when_it_is_in_place_already(https, fetch):
    files = {"m/config.pbtxt": b"sequence_batching { max_sequence_idle_microseconds: 1000 }", "m/1/model.onnx": b"x"}
    https.files["/m.tar"] = packed(files)

    first, second = fetch(https.url("/m.tar")), fetch(https.url("/m.tar"))

    assert [json.loads(outcome.message)["stateful"] for outcome in (first, second)] == [True, True]


def test_a_model_that_only_mentions_sequences_is_not(https, fetch):
    config = b'# sequence_batching {\nparameters { key: "sequence_batching" value { string_value: "x" } }'
    https.files["/m.tar"] = packed({"m/config.pbtxt": config, "m/1/model.onnx": b"x"})

    assert "stateful" not in json.loads(fetch(https.url("/m.tar")).message)


def packed(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()
