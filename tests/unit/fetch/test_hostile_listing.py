"""An S3 server is as little trusted as any other source: its listing may name anything."""

from xml.sax.saxutils import escape

import pytest

from tritonfleet.fetch import remote


def listing(*keys, size=7):
    objects = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for key in keys
    )
    return f"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>".encode()


@pytest.mark.parametrize(
    "key",
    ["m/../../escaped", "m//escaped", "m/1/..", "m/./escaped", "m/1\\..\\escaped", "m/%2e%2e/escaped", "m/1/x&#10;y"],
)
def test_a_key_that_is_no_safe_name_places_nothing(https, fetch, tmp_path, key):
    https.listing = listing("m/1/model.onnx", key).replace(b"&amp;#10;", b"&#10;")
    https.files["/b/m/1/model.onnx"] = b"weights"
    outcome = fetch("s3://b/m", AWS_ENDPOINT_URL=https.url(""))
    assert outcome.code == 1
    assert "rename" in outcome.message
    assert not outcome.model.exists()
    assert [path for path in tmp_path.rglob("*") if "escaped" in path.name] == []
    assert not any(path.startswith("/b/m/") for _, path, _, _ in https.requests)


def test_keys_outside_the_asked_folder_are_refused(https, fetch):
    https.listing = listing("m/1/model.onnx", "/other/1/model.onnx")
    assert fetch("s3://b/m", AWS_ENDPOINT_URL=https.url("")).code == 1


def test_a_listing_without_end_is_refused(https, fetch, monkeypatch):
    monkeypatch.setattr(remote, "MAX_FILES", 10)
    https.listing = listing(*(f"m/1/{i}" for i in range(11)))
    assert "holds more than 10 files" in fetch("s3://b/m", AWS_ENDPOINT_URL=https.url("")).message


def test_a_size_that_no_volume_holds_is_refused_before_the_transfer(https, fetch):
    https.listing = listing("m/1/model.onnx", size=2**60)
    message = fetch("s3://b/m", AWS_ENDPOINT_URL=https.url("")).message
    assert "more on the model volume" in message


def test_an_object_of_another_size_than_listed_is_refused(https, fetch):
    https.etag = '"e"'
    https.listing = listing("m/1/model.onnx", size=5)
    https.files["/b/m/1/model.onnx"] = b"weights"
    assert "was replaced while it was being fetched" in fetch("s3://b/m", AWS_ENDPOINT_URL=https.url("")).message


def test_a_listing_that_is_no_xml_is_an_error_with_its_place(https, fetch, impatient):
    https.listing = b"<html>welcome to the captive portal</html>"
    message = fetch("s3://b/m", AWS_ENDPOINT_URL=https.url("")).message
    assert message.startswith("FetchFailed: s3://b/m")


def test_a_bucket_in_another_region_is_named(https, fetch):
    https.refuses_head = True
    https.statuses["/b?list-type=2&prefix=m%2F"] = [301]
    assert "set AWS_REGION" in fetch("s3://b/m", AWS_ENDPOINT_URL=https.url("")).message


def test_a_key_that_is_a_file_and_a_folder_is_named(https, fetch):
    https.etag = '"e"'
    https.listing = listing("m/1/a", "m/1/a/b")
    https.files |= {"/b/m/1/a": b"weights", "/b/m/1/a/b": b"weights"}
    outcome = fetch("s3://b/m", AWS_ENDPOINT_URL=https.url(""))
    assert "'1/a' is a file and a folder (of '1/a/b'); rename one of them" in outcome.message
    assert not outcome.model.exists()


def test_a_source_tidied_up_after_a_failure_is_fetched_by_the_next_attempt(https, fetch):
    https.etag = '"e"'
    https.listing = listing("m/1/model.onnx", "m/1/model.onnx/b")
    https.files |= {"/b/m/1/model.onnx": b"weights", "/b/m/1/model.onnx/b": b"weights"}
    assert fetch("s3://b/m", AWS_ENDPOINT_URL=https.url("")).code == 1
    https.listing = listing("m/1/model.onnx/b")
    assert fetch("s3://b/m", AWS_ENDPOINT_URL=https.url("")).files() == {"1/model.onnx/b": b"weights"}


def test_what_file_managers_upload_is_neither_asked_for_nor_placed(https, fetch):
    https.etag = '"e"'
    https.listing = listing("m/1/model.onnx", "m/.DS_Store", "m/1/._model.onnx", "m/__MACOSX/1/._x", "m/lost+found/x")
    https.files["/b/m/1/model.onnx"] = b"weights"
    outcome = fetch("s3://b/m", AWS_ENDPOINT_URL=https.url(""))
    assert outcome.files() == {"1/model.onnx": b"weights"}
