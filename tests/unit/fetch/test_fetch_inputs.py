"""What the fetch step is told, and what it says when that cannot be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import SOURCES
from tritonfleet.fetch.command import SCHEMES, from_environment
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import parse

NEEDED = {
    "TRITONFLEET_FETCH_URI": "s3://b/m",
    "TRITONFLEET_FETCH_MODEL": "resnet",
    "TRITONFLEET_FETCH_CONFIG": "/config/tritonfleet.pbtxt",
}


@pytest.mark.parametrize(
    ("uri", "scheme", "authority", "path"),
    [
        ("s3://bucket/models/m/", "s3", "bucket", "models/m"),
        ("s3://bucket", "s3", "bucket", ""),
        ("https://Host.example.com:8443/x/model.onnx", "https", "host.example.com", "x/model.onnx"),
        ("https://[2001:db8::1]/model.onnx", "https", "2001:db8::1", "model.onnx"),
        ("gs://my_bucket.example/models/m", "gs", "my_bucket.example", "models/m"),
        ("az://account/container/models/m/", "az", "account/container", "models/m"),
        ("az://account/container", "az", "account/container", ""),
        ("https://account.blob.core.windows.net/container/models/m/", "az", "account/container", "models/m"),
        ("https://account.blob.core.windows.net/container/", "az", "account/container", ""),
        (
            "https://account.blob.core.windows.net/container/m.onnx",
            "https",
            "account.blob.core.windows.net",
            "container/m.onnx",
        ),
        ("hf://org/model", "hf", "org/model", ""),
        ("hf://org/model@v1.2/onnx/m@2x.onnx", "hf", "org/model", "onnx/m@2x.onnx"),
        ("oci://GHCR.io/org/model:v1.2", "oci", "ghcr.io", "org/model"),
        ("oci://registry.example.com:5000/model", "oci", "registry.example.com", "model"),
        ("oci://ghcr.io/org/model@sha256:" + "0" * 64, "oci", "ghcr.io", "org/model"),
        ("mlflow://models:/recommender@champion", "mlflow", "models", "recommender"),
        ("mlflow://models:/main.prod.recommender/7", "mlflow", "models", "main.prod.recommender"),
        ("pvc://claim/models/m", "pvc", "claim", "models/m"),
        ("S3://bucket/m", "s3", "bucket", "m"),
    ],
)
def test_a_uri_is_taken_apart(uri, scheme, authority, path):
    location = parse(uri, SCHEMES)
    assert (location.scheme, location.authority, location.path) == (scheme, authority, path)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("resnet", "is not a source this release can read; write s3://"),
        ("http://host/model.onnx", "is not a source this release can read"),
        ("file:///etc/passwd", "is not a source this release can read"),
        ("s3:///m", "has no usable bucket, host or claim name"),
        ("https://host/", "is a folder, and https servers cannot list one"),
        ("https://host/folder/", "is a folder, and https servers cannot list one"),
        ("https://host", "is a folder"),
        ("https://host/x?token=1", "was given with '?'"),
        ("https://host/x#y", "was given with '?' or '#'"),
        ("https://host:99999/x", "host or port that cannot be read"),
        ("https://host:x/x", "host or port that cannot be read"),
        ("https://[::1/x", "host or port that cannot be read"),
        ("s3://b/../x", "'..' part"),
        ("s3://b/a/%2e%2e/x", "percent-encoding"),
        ("s3://b\\c/x", "has no usable bucket"),
        ("pvc://claim/a\\b", "backslash"),
        ("pvc://claim/a\0b", "control character"),
        ("s3://b//x", "absolute"),
        ("s3://b:80/x", "':'"),
        ("pvc://../x", "dots only"),
        ("hf://gpt2", "does not name an organization and a model; write hf://organization/model@revision"),
        ("hf://org/", "does not name an organization and a model"),
        ("hf://org/model@", "names no branch, tag or commit after '@'"),
        ("hf://org/model@refs%2Fpr%2F1", "for a branch with '/' in its name, name a commit"),
        ("hf://../model", "does not name an organization"),
        ("hf://org/model@main/../x", "'..' part"),
        ("oci://ghcr.io", "does not name a repository of a registry"),
        ("oci://ghcr.io/Org/model", "does not name a repository of a registry"),
        ("oci://ghcr.io/org/model@sha256:12", "does not name a repository of a registry"),
        ("oci://ghcr.io/org/../model", "does not name a repository of a registry"),
        ("oci://host:99999/m", "host or port that cannot be read"),
        ("mlflow://models:/recommender", "does not name a model of MLflow's registry with an alias or a version"),
        ("mlflow://models:/recommender/0", "does not name a model of MLflow's registry"),
        ("mlflow://models:/recommender/7/model.onnx", "does not name a model of MLflow's registry"),
        ("mlflow://models:/../7", "'..' part"),
        ("mlflow://runs:/1f0c/model", "write mlflow://models:/name@alias"),
        ("az://account", "does not name a container; write az://account/container/folder"),
        ("az://account/", "does not name a container"),
        ("az:///container/m", "does not name a container"),
        ("az://account/../m", "dots only"),
        ("az://account:80/c/m", "':'"),
        ("az://account/container/../m", "'..' part"),
        ("https://account.blob.core.windows.net/container/../m/", "'..' part"),
        ("https://hö.example/x", "has no usable bucket"),
    ],
)
def test_a_uri_that_cannot_be_used_is_refused_with_the_reason(uri, words):
    with pytest.raises(FetchFailed) as refusal:
        parse(uri, SCHEMES)
    assert words in str(refusal.value)


@pytest.mark.parametrize("scheme", ["https", "s3", "gs", "az", "hf", "mlflow", "oci", "pvc", "http", "ftp", ""])
@pytest.mark.parametrize("rest", ["user:hunter2@host/x", "hunter2@host/x", "host/x?sig=hunter2", "host/x#hunter2",
                                  "user:hunter2@host/../x", "user:a/hunter2@host/x", "user:a\\hunter2@host/x",
                                  "user:a%hunter2@host/x", "user:hunter2@", "user:hunter2@host:99999/x"])  # fmt: skip
@pytest.mark.parametrize("allowed", [SCHEMES, ("pvc",)])
def test_a_secret_in_a_uri_is_not_repeated(scheme, rest, allowed):
    with pytest.raises(FetchFailed) as refusal:
        parse(f"{scheme}://{rest}", allowed)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("uri", SOURCES)
def test_what_the_api_server_takes_is_parsed(uri):
    assert parse(uri, SCHEMES).uri == uri


def test_a_secret_in_a_uri_says_where_it_belongs():
    with pytest.raises(FetchFailed, match="carries a user name or password; put it into credentialsSecretName"):
        parse("https://user:hunter2@host/x", SCHEMES)


def test_a_scheme_the_administrator_forbids_is_refused():
    with pytest.raises(FetchFailed, match="uses https://, and the administrator allows only: s3, pvc"):
        parse("https://host/x", ("s3", "pvc"))


@given(st.text(alphabet="s3htpvc:/.@%2e\\?#ab \0", max_size=30))
def test_any_uri_is_parsed_or_refused(uri):
    try:
        location = parse(uri, SCHEMES)
    except FetchFailed:
        return
    assert ".." not in location.path.split("/")
    assert "@" not in location.authority


def test_the_environment_has_defaults_for_what_may_be_left_out():
    settings = from_environment(NEEDED)
    assert (settings.allowed_schemes, settings.allowed_hosts) == (SCHEMES, ())
    assert (settings.digest, settings.backend, settings.allow_private) == (None, None, False)
    assert (str(settings.target), str(settings.source)) == ("/models", "/source")


def test_lists_are_split_at_commas():
    settings = from_environment(NEEDED | {"TRITONFLEET_FETCH_ALLOWED_HOSTS": " A.example.com, *.b.org ,"})
    assert settings.allowed_hosts == ("a.example.com", "*.b.org")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URI", ""),
        ("MODEL", ""),
        ("MODEL", "../resnet"),
        ("MODEL", ".hidden"),
        ("MODEL", "a/b"),
        ("CONFIG", ""),
        ("DIGEST", "sha256:xyz"),
        ("DIGEST", "0" * 64),
        ("ALLOW_PRIVATE", "maybe"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(name, value):
    with pytest.raises(FetchFailed) as refusal:
        from_environment(NEEDED | {f"TRITONFLEET_FETCH_{name}": value})
    assert f"TRITONFLEET_FETCH_{name} is '{value}'; it must be" in str(refusal.value)
