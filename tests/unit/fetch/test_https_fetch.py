"""https:// sources against a real TLS server on loopback that drops, redirects, stalls and lies."""

import hashlib
import io
import json
import os
import tarfile

import pytest

from tritonfleet.fetch import remote, transfer, web

MODEL = bytes(range(256)) * 4096  # 1 MiB
BIG = hashlib.shake_256(b"weights").digest(3 * 1024 * 1024 + 17)


@pytest.fixture
def small_parts(monkeypatch):
    """Make a file of a few MiB as divided as one of many GiB."""
    for module in (remote, transfer):
        monkeypatch.setattr(module, "PART_BYTES", 512 * 1024)


def test_a_bare_model_file_becomes_version_one(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    outcome = fetch(https.url("/m/model.onnx"))
    assert (outcome.code, outcome.files()) == (0, {"1/model.onnx": MODEL})


def test_a_file_with_its_own_name_gets_the_name_its_backend_loads(https, fetch):
    https.files["/m/resnet50-v1.onnx"] = MODEL
    assert fetch(https.url("/m/resnet50-v1.onnx")).files() == {"1/model.onnx": MODEL}


def test_a_percent_encoded_name_is_fetched_as_the_server_knows_it(https, fetch):
    https.files["/m/my%20model.onnx"] = MODEL
    assert fetch(https.url("/m/my%20model.onnx")).files() == {"1/model.onnx": MODEL}


def test_the_termination_message_is_the_digest_of_the_sorted_manifest(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    line = f"1/model.onnx\0{len(MODEL)}\0{hashlib.sha256(MODEL).hexdigest()}\n"
    assert json.loads(fetch(https.url("/m/model.onnx")).message) == {
        "digest": f"sha256:{hashlib.sha256(line.encode()).hexdigest()}"
    }


def test_a_file_of_many_parts_arrives_whole(https, fetch, small_parts):
    https.files["/m/model.onnx"] = BIG
    assert fetch(https.url("/m/model.onnx")).files() == {"1/model.onnx": BIG}
    assert sum(asked is not None for method, _, asked, _ in https.requests if method == "GET") == 1 + 7


def test_an_empty_file_arrives(https, fetch):
    https.files["/m/model.onnx"] = b""
    assert fetch(https.url("/m/model.onnx")).files() == {"1/model.onnx": b""}


def test_a_dropped_connection_is_resumed_from_the_byte_where_it_broke(https, fetch, small_parts, impatient):
    https.files["/m/model.onnx"] = BIG
    https.drop_after["/m/model.onnx"] = [1, 300_000, 300_000, 5000]
    assert fetch(https.url("/m/model.onnx")).files() == {"1/model.onnx": BIG}
    starts = [int(asked[6:].split("-")[0]) for method, _, asked, _ in https.requests if method == "GET" and asked]
    assert any(start % (512 * 1024) for start in starts)


def test_a_server_without_byte_ranges_starts_over(https, fetch, small_parts, impatient):
    https.files["/m/model.onnx"] = BIG
    https.ignores_ranges = True
    https.drop_after["/m/model.onnx"] = [10, 200_000]
    assert fetch(https.url("/m/model.onnx")).files() == {"1/model.onnx": BIG}


def test_a_restarted_container_does_not_fetch_finished_parts_again(https, fetch, small_parts, impatient):
    https.files["/m/model.onnx"] = BIG
    https.drop_after["/m/model.onnx"] = [None] * 4 + [0] * 500
    assert fetch(https.url("/m/model.onnx")).code == 1
    https.drop_after.clear()
    https.requests.clear()
    outcome = fetch(https.url("/m/model.onnx"))
    assert outcome.files() == {"1/model.onnx": BIG}
    assert "from an earlier attempt" in outcome.log
    assert sum(asked is not None for method, _, asked, _ in https.requests if method == "GET") < 1 + 7


def test_a_file_that_changed_between_two_attempts_is_fetched_anew(https, fetch, small_parts, impatient):
    https.files["/m/model.onnx"] = BIG
    https.drop_after["/m/model.onnx"] = [None] * 4 + [0] * 500
    assert fetch(https.url("/m/model.onnx")).code == 1
    https.drop_after.clear()
    https.files["/m/model.onnx"], https.etag = BIG[::-1], '"two"'
    assert fetch(https.url("/m/model.onnx")).files() == {"1/model.onnx": BIG[::-1]}


def test_a_file_replaced_while_it_is_read_is_refused(https, fetch, small_parts, monkeypatch):
    https.files["/m/model.onnx"] = BIG
    read = remote.Remote.read

    def replacing(self, file, start, end):
        https.etag = '"two"'
        yield from read(self, file, start, end)

    monkeypatch.setattr(remote.Remote, "read", replacing)
    outcome = fetch(https.url("/m/model.onnx"))
    assert (outcome.code, outcome.model.exists()) == (1, False)
    assert "was replaced while it was being fetched" in outcome.message


def test_answers_of_500_429_and_503_are_retried(https, fetch, impatient):
    https.files["/m/model.onnx"] = MODEL
    https.statuses["/m/model.onnx"] = [500, 429, 503, 500, 502]
    outcome = fetch(https.url("/m/model.onnx"))
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert "the server answered 503; attempt 4 of 7" in outcome.log


def test_a_server_that_answers_500_forever_ends_the_fetch(https, fetch, impatient):
    https.files["/m/model.onnx"] = MODEL
    https.statuses["/m/model.onnx"] = [500] * 100
    outcome = fetch(https.url("/m/model.onnx"))
    assert outcome.code == 1
    assert f"the server answered 500; gave up after {transfer.ATTEMPTS} attempts in a row" in outcome.message
    assert len(https.statuses["/m/model.onnx"]) == 100 - transfer.ATTEMPTS


def test_a_silent_server_is_given_up_and_asked_again(https, fetch, impatient, monkeypatch):
    https.files["/m/model.onnx"] = MODEL * 2
    https.chunk_pause_seconds = 1.5
    monkeypatch.setattr(transfer, "ATTEMPTS", 2)
    monkeypatch.setattr(web, "SILENCE_SECONDS", 0.3)
    outcome = fetch(https.url("/m/model.onnx"))
    assert "the server sent nothing for too long; gave up after 2 attempts" in outcome.message


def test_a_slow_server_that_keeps_sending_is_waited_for_and_shown(https, fetch):
    https.files["/m/model.onnx"] = MODEL * 5
    https.chunk_pause_seconds = 0.9
    outcome = fetch(https.url("/m/model.onnx"))
    assert outcome.files() == {"1/model.onnx": MODEL * 5}
    lines = [line for line in outcome.log.splitlines() if line.startswith("fetched")]
    assert 2 <= len(lines) <= 4
    assert "of 5 MiB" in lines[0]
    assert lines[-1].startswith("fetched 5 of 5 MiB (100%), ")
    assert lines[-1].endswith("1 of 1 file")


def test_a_server_that_refuses_head_is_read_by_get(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    https.refuses_head = True
    assert fetch(https.url("/m/model.onnx")).files() == {"1/model.onnx": MODEL}


def test_other_bytes_than_the_pinned_digest_are_refused_and_removed(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    wanted = "sha256:" + "0" * 64
    outcome = fetch(https.url("/m/model.onnx"), TRITONFLEET_FETCH_DIGEST=wanted)
    actual = fetch(https.url("/m/model.onnx")).digest
    assert (outcome.code, outcome.message.count("\n")) == (1, 0)
    assert outcome.message.startswith(f"FetchFailed: {https.url('/m/model.onnx')} has the digest {actual}")
    assert wanted in outcome.message


def test_a_refused_digest_leaves_no_file_anywhere(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    outcome = fetch(https.url("/m/model.onnx"), TRITONFLEET_FETCH_DIGEST="sha256:" + "0" * 64)
    assert [path for path in outcome.model.parent.rglob("*") if path.is_file()] == []


def test_the_pinned_digest_is_accepted(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    digest = fetch(https.url("/m/model.onnx")).digest
    assert fetch(https.url("/m/model.onnx"), TRITONFLEET_FETCH_DIGEST=digest).digest == digest


def test_a_model_in_place_is_kept_without_asking_the_source(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    digest = fetch(https.url("/m/model.onnx")).digest
    https.requests.clear()
    assert (fetch(https.url("/m/model.onnx")).digest, https.requests) == (digest, [])


def test_a_model_in_place_with_a_flipped_byte_is_fetched_again(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    placed = fetch(https.url("/m/model.onnx")).model / "1" / "model.onnx"
    placed.write_bytes(b"\xff" + MODEL[1:])
    assert fetch(https.url("/m/model.onnx")).files() == {"1/model.onnx": MODEL}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "access denied (401)"),
        (403, "access denied (403)"),
        (404, "not found (404)"),
        (410, "refused the request (410)"),
    ],
)
def test_a_refusal_is_final_and_names_uri_and_status(https, fetch, status, words):
    https.refuses_head = True
    https.statuses["/m/model.onnx"] = [status] * 9
    outcome = fetch(https.url("/m/model.onnx"))
    assert outcome.code == 1
    assert outcome.message.startswith(f"FetchFailed: {https.url('/m/model.onnx')}: ")
    assert words in outcome.message
    assert "attempt" not in outcome.log


def test_an_untrusted_certificate_is_rejected_with_the_remedy(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    outcome = fetch(https.url("/m/model.onnx"), CA_CERTIFICATE="")
    assert "its TLS certificate is not trusted (UnknownIssuer)" in outcome.message
    assert "CA_CERTIFICATE" in outcome.message
    assert https.requests == []


def test_a_certificate_authority_that_is_no_pem_text_is_refused_unquoted(https, fetch):
    outcome = fetch(https.url("/m/model.onnx"), CA_CERTIFICATE="-----BEGIN CERTIFICATE-----\nnonsense\n")
    assert "CA_CERTIFICATE in the Secret cannot be used" in outcome.message
    assert "nonsense" not in outcome.message + outcome.log


def test_a_host_that_does_not_exist_is_named(fetch):
    assert "host 'models.invalid' cannot be found by DNS" in fetch("https://models.invalid/model.onnx").message


def test_a_closed_port_is_retried_and_named(fetch, impatient):
    outcome = fetch("https://localhost:1/model.onnx")
    assert "cannot connect to localhost port 1" in outcome.message
    assert "Connection refused" in outcome.message


def test_loopback_is_refused_unless_the_administrator_allows_private_addresses(https, fetch):
    https.files["/m/model.onnx"] = MODEL
    outcome = fetch(https.url("/m/model.onnx"), TRITONFLEET_FETCH_ALLOW_PRIVATE="false")
    assert "host 'localhost' resolves to" in outcome.message
    assert "a private address" in outcome.message
    assert https.requests == []


def test_a_redirect_is_followed_to_an_allowed_host(https, fetch):
    https.files["/real.onnx"] = MODEL
    https.redirects["/m/model.onnx"] = https.url("/real.onnx")
    assert fetch(https.url("/m/model.onnx")).files() == {"1/model.onnx": MODEL}


def test_a_redirect_to_a_host_off_the_allow_list_is_refused(https, fetch):
    https.files["/real.onnx"] = MODEL
    https.redirects["/m/model.onnx"] = https.url("/real.onnx", host="127.0.0.1")
    outcome = fetch(https.url("/m/model.onnx"), TRITONFLEET_FETCH_ALLOWED_HOSTS="localhost")
    assert "host '127.0.0.1' is not allowed; the administrator allows only: localhost" in outcome.message
    assert "/real.onnx" not in {path for _, path, _, _ in https.requests}


def test_a_redirect_to_the_metadata_service_is_refused_even_where_private_is_allowed(https, fetch):
    https.redirects["/m/model.onnx"] = "https://169.254.169.254/latest/meta-data"
    outcome = fetch(https.url("/m/model.onnx"))
    assert "resolves to 169.254.169.254, a link-local or metadata address: never allowed" in outcome.message


def test_a_redirect_to_plain_http_is_refused(https, fetch):
    https.redirects["/m/model.onnx"] = f"http://localhost:{https.port}/real.onnx"
    assert "redirects to a plain http address" in fetch(https.url("/m/model.onnx")).message


def test_redirects_in_a_circle_end(https, fetch):
    https.redirects["/m/model.onnx"] = https.url("/m/model.onnx")
    assert "redirects more than 10 times" in fetch(https.url("/m/model.onnx")).message
    assert len(https.requests) == 11


def test_the_authorization_of_the_secret_is_sent_to_the_host_and_not_past_a_redirect(https, fetch):
    https.files["/real.onnx"] = MODEL
    https.redirects["/m/model.onnx"] = https.url("/real.onnx", host="127.0.0.1")
    assert fetch(https.url("/m/model.onnx"), HTTPS_AUTHORIZATION="Bearer opensesame").code == 0
    sent = {(path, authorization) for _, path, _, authorization in https.requests}
    assert sent == {("/m/model.onnx", "Bearer opensesame"), ("/real.onnx", None)}


def packed(files, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


def test_an_archive_of_a_model_folder_is_unpacked_without_its_wrapper(https, fetch):
    https.files["/resnet.tar.gz"] = packed({
        "resnet-v2/config.pbtxt": b'name: "other"\nmax_batch_size: 2\nversion_policy { all {} }\n',
        "resnet-v2/labels.txt": b"cat",
        "resnet-v2/1/model.onnx": MODEL,
        "resnet-v2/3/model.onnx": BIG,
    })  # fmt: skip
    outcome = fetch(https.url("/resnet.tar.gz"))
    assert outcome.files() == {"labels.txt": b"cat", "1/model.onnx": MODEL, "3/model.onnx": BIG}
    assert 'name: "resnet"' in outcome.config
    assert "max_batch_size: 8" in outcome.config
    assert "version_policy" in outcome.config


def test_nothing_of_the_archive_stays_on_the_volume(https, fetch):
    https.files["/resnet.tar.gz"] = packed({"1/model.onnx": MODEL})
    outcome = fetch(https.url("/resnet.tar.gz"))
    assert [f.name for f in outcome.model.parent.rglob(".tritonfleet/**/*") if f.is_file()] == ["receipt.json"]


def test_an_archive_that_escapes_places_nothing(https, fetch, tmp_path):
    https.files["/resnet.tar.gz"] = packed({"1/model.onnx": MODEL, "../../escaped": b"x"})
    outcome = fetch(https.url("/resnet.tar.gz"))
    assert "holds the name '../../escaped'" in outcome.message
    assert (outcome.model.exists(), list(tmp_path.rglob("escaped"))) == (False, [])


PROGRAMS = {
    "bin/tool": b"\x7fELF\2\1\1",
    "bin/run": b"#!/bin/sh\n",
    "triton_python_backend_stub": b"any",
    "data": b"\x7fEL",
}


def executable(model):
    files = [path for path in model.rglob("*") if path.is_file()]
    return {str(path.relative_to(model)) for path in files if os.access(path, os.X_OK)}


def test_programs_from_an_archive_can_be_run(https, fetch):
    https.files["/m.tar"] = packed({"1/model.onnx": MODEL} | PROGRAMS, "w")
    model = fetch(https.url("/m.tar")).model
    assert executable(model) == {"bin/tool", "bin/run", "triton_python_backend_stub"}


def test_a_program_of_a_bucket_can_be_run_though_objects_have_no_mode(https, fetch):
    https.etag = '"e"'
    files = {"m/1/model.onnx": MODEL} | {f"m/{name}": body for name, body in PROGRAMS.items()}
    objects = "".join(
        f"<Contents><Key>{key}</Key><Size>{len(body)}</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for key, body in files.items()
    )
    https.listing = f"<ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>".encode()
    https.files |= {f"/b/{key}": body for key, body in files.items()}
    model = fetch("s3://b/m", AWS_ENDPOINT_URL=https.url("")).model
    assert executable(model) == {"bin/tool", "bin/run", "triton_python_backend_stub"}


def test_a_script_from_a_web_server_can_be_run(https, fetch, tmp_path):
    (tmp_path / "overlay.pbtxt").write_text('backend: "mine"')
    https.files["/script"] = b"#!/usr/bin/env python3\n"
    assert executable(fetch(https.url("/script")).model) == {"1/script"}


def test_the_environment_that_a_python_model_names_goes_beside_the_versions(https, fetch, tmp_path):
    (tmp_path / "overlay.pbtxt").write_text(
        'backend: "python" parameters { key: "EXECUTION_ENV_PATH"'
        ' value { string_value: "$$TRITON_MODEL_DIRECTORY/envs/env.tar.gz" } }'
    )
    https.files["/m.tar"] = packed({"model.py": b"", "envs/env.tar.gz": b"env", "helper.py": b""}, "w")
    assert set(fetch(https.url("/m.tar")).files()) == {"1/model.py", "1/helper.py", "envs/env.tar.gz"}


def test_a_model_in_a_folder_of_an_archive_is_refused_without_an_address_that_cannot_be(https, fetch, tmp_path):
    (tmp_path / "overlay.pbtxt").write_text('backend: "python"')
    https.files["/m.tar"] = packed({"src/model.py": b"", "readme.md": b""}, "w")
    message = fetch(https.url("/m.tar")).message
    assert "at its top is no model.py, which the python backend loads; it is in 'src': pack only what is in" in message


def test_a_mac_users_archive_is_the_model_in_it(https, fetch):
    https.files["/m.tar"] = packed(
        {"m/1/model.onnx": MODEL, "m/1/._model.onnx": b"x", "__MACOSX/m/._1": b"x", "m/.DS_Store": b"x"}, "w"
    )
    assert fetch(https.url("/m.tar")).files() == {"1/model.onnx": MODEL}
