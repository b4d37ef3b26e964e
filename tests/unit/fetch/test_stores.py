"""What the Secret may say about an S3 server, and what is sent there."""

import pytest

EMPTY_LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("minio.example.com:9000", "AWS_ENDPOINT_URL in the Secret is not an address such as https://"),
        ("ftp://minio.example.com", "is not an address such as https://"),
        ("https://", "is not an address such as https://"),
        ("https://minio:hunter2hunter2", "is not an address such as https://"),
        ("https://[::1", "is not an address such as https://"),
        ("https://me:hunter2hunter2@minio.example.com", "carries a user name or password; use the keys"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_refused_without_repeating_it(fetch, endpoint, words):
    outcome = fetch("s3://b/m", AWS_ENDPOINT_URL=endpoint)
    assert words in outcome.message
    assert "hunter2" not in outcome.message + outcome.log


def test_a_session_token_and_a_signature_are_sent_and_nothing_without_keys(https, fetch):
    https.listing = EMPTY_LISTING
    https.files["/b/model.onnx"] = b"weights"
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secretsecret", "AWS_SESSION_TOKEN": "tokentoken"}
    assert fetch("s3://b/model.onnx", AWS_ENDPOINT_URL=https.url(""), AWS_REGION="eu-west-3", **keys).code == 0
    signatures = {authorization for *_, authorization in https.requests}
    assert all("AKIATEST" in s and "/eu-west-3/s3/" in s and "x-amz-security-token" in s for s in signatures)
    https.requests.clear()
    assert fetch("s3://b/model.onnx", AWS_ENDPOINT_URL=https.url(""), TRITONFLEET_FETCH_MODEL="again").code == 0
    assert {authorization for *_, authorization in https.requests} == {None}


def test_a_server_with_virtual_hosts_gets_no_bucket_in_the_path(https, fetch):
    https.files["/model.onnx"] = b"weights"
    https.listing = EMPTY_LISTING
    outcome = fetch("s3://b/model.onnx", AWS_ENDPOINT_URL=https.url(""), AWS_VIRTUAL_HOSTED_STYLE_REQUEST="true")
    assert outcome.files() == {"1/model.onnx": b"weights"}
