"""Objects of S3 that are read without obstore."""

from datetime import UTC, datetime

import pytest

from tritonfleet.fetch.direct import Keys

KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secretsecret"}
LISTING = (
    "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>m/model.onnx</Key><Size>{}</Size>"
    "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{}&quot;</ETag></Contents></ListBucketResult>"
)


@pytest.fixture
def fetch_m(https, fetch):
    https.files["/b/m/model.onnx"] = b"weights"
    https.listing = LISTING.format(7, "one").encode()
    return lambda **changes: fetch("s3://b/m", AWS_ENDPOINT_URL=https.url(""), **KEYS, **changes)


def test_an_object_is_read_with_the_keys(https, fetch_m):
    assert fetch_m().files() == {"1/model.onnx": b"weights"}
    read = [request for request in https.requests if request[1] == "/b/m/model.onnx"]
    assert [(method, "AKIATEST" in authorization) for method, _, _, authorization in read] == [("GET", True)]


@pytest.mark.parametrize(("size", "tag"), [(7, "two"), (8, "one")])
def test_an_object_that_is_not_the_listed_one_is_refused(https, fetch_m, size, tag):
    https.listing = LISTING.format(size, tag).encode()
    assert "was replaced while it was being fetched" in fetch_m().message


def test_a_signature_is_not_sent_to_another_server(https, fetch_m):
    https.redirects["/b/m/model.onnx"] = https.url("/elsewhere", host="127.0.0.1")
    https.files["/elsewhere"] = b"weights"
    assert fetch_m().files() == {"1/model.onnx": b"weights"}
    sent = {path: authorization is not None for _, path, _, authorization in https.requests if "list" not in path}
    assert sent == {"/b/m/model.onnx": True, "/elsewhere": False}


def test_a_redirect_of_an_object_leads_to_no_address_that_is_not_allowed(https, fetch_m):
    https.redirects["/b/m/model.onnx"] = "https://169.254.169.254/latest/meta-data"
    assert "a link-local or metadata address: never allowed" in fetch_m().message


def test_an_object_that_may_not_be_read_is_named_with_what_to_do(https, fetch_m):
    https.statuses["/b/m/model.onnx"] = [403]
    message = fetch_m().message
    assert message.startswith("FetchFailed: s3://b/m/model.onnx: access denied (403); check the keys in the Secret")


def test_a_broken_read_goes_on_at_the_byte_where_it_broke(https, fetch_m, impatient):
    body = bytes(range(256)) * 8192
    https.files["/b/m/model.onnx"] = body
    https.listing = LISTING.format(len(body), "one").encode()
    https.drop_after["/b/m/model.onnx"] = [1_500_000]
    assert fetch_m().files() == {"1/model.onnx": body}
    asked = [request[2] for request in https.requests if request[1] == "/b/m/model.onnx"]
    assert asked == [None, f"bytes=1500000-{len(body) - 1}"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://s3.example.com/b/k", "s3.example.com"),
        ("https://s3.example.com:443/b/k", "s3.example.com"),
        ("http://s3.example.com:443/b/k", "s3.example.com:443"),
        ("http://[::1]:9000/b/k", "[::1]:9000"),
        ("http://[::1]/b/k", "[::1]"),
    ],
)
def test_the_host_is_signed_as_it_is_sent(url, host):
    headers = Keys("us-east-1", "AKIATEST", "secretsecret", "").headers(url, datetime(2026, 1, 1, tzinfo=UTC))
    assert headers["host"] == host


def test_a_signature_is_that_of_the_algorithm():
    """Compared with botocore's S3SigV4Auth for the same request, keys and time."""
    headers = Keys("eu-west-3", "AKIATEST", "secretsecret", "tokentoken").headers(
        "https://s3.eu-west-3.amazonaws.com/b/a%20b/model.onnx", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    )
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIATEST/20260102/eu-west-3/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, "
        "Signature=1091f783aef3a80af8f13895b536b76378bb385d9690a990d7f8a3e75dcabd9b"
    )
