"""gs:// sources against fake-gcs-server, with the identities that Google Cloud Storage takes.

The emulator asks nobody who they are. Where a test is about that, a door before it checks the bearer token as Google
does: the signature and the claims of one signed with a service account's key, or that it is the metadata server's.
"""

import base64
import contextlib
import hashlib
import json
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from devcluster.gobuild import FAKE_GCS, build
from devcluster.progress import Progress
from tests.ports import free_port
from tests.stores.servers import HUGE, MODEL, Answer, Door, answering, serving
from tritonfleet.fetch import identity, transfer

ACCOUNT = "models@project.iam.gserviceaccount.com"
DENIED = Answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@pytest.fixture(scope="session")
def gcs_port():
    port = free_port()
    program = build(FAKE_GCS, Progress()) / "fake-gcs-server"
    where = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}")
    with serving(program, *where, "-backend", "memory", "-log-level", "error", port=port):
        yield port


@dataclass
class Bucket:
    """A bucket of the emulator."""

    name: str
    port: int

    def put(self, files):
        for path, body in files.items():
            self._post(f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={quote(path, safe='')}", body)

    def make(self):
        self._post("/storage/v1/b?project=p", json.dumps({"name": self.name}).encode())

    def _post(self, path, body):
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", body, timeout=60).close()

    def environment(self, port=None):
        return {"GOOGLE_BASE_URL": f"http://127.0.0.1:{port or self.port}"}


@pytest.fixture
def bucket(gcs_port, request):
    made = Bucket("bucket-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20], gcs_port)
    made.make()
    return made


@dataclass
class Key:
    """A service account's key, as Google's console gives it, and what tells that a token was signed with it."""

    folder: Path

    def __post_init__(self):
        self.pem = subprocess.run(
            ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
        public = subprocess.run(
            ["openssl", "pkey", "-pubout"], input=self.pem, capture_output=True, check=True, text=True
        )
        (self.folder / "public.pem").write_text(public.stdout)

    @property
    def json(self):
        return json.dumps({
            "type": "service_account", "project_id": "project", "private_key_id": "0123456789abcdef",
            "private_key": self.pem, "client_email": ACCOUNT, "token_uri": "https://oauth2.googleapis.com/token",
        }, indent=2)  # fmt: skip

    def signed(self, request):
        """Return whether the bearer token is a JWT of the account, of now, for storage, with its signature."""
        scheme, _, token = (request.headers["Authorization"] or "").partition(" ")
        if scheme != "Bearer" or token.count(".") != 2:
            return False
        head, claims, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
        with tempfile.NamedTemporaryFile() as file:
            file.write(signature)
            file.flush()
            checked = subprocess.run(
                ["openssl", "dgst", "-sha256", "-verify", self.folder / "public.pem", "-signature", file.name],
                input=token.rpartition(".")[0].encode(), capture_output=True, check=False,
            )  # fmt: skip
        said = json.loads(claims)
        return (
            checked.returncode == 0
            and json.loads(head)["alg"] == "RS256"
            and (said["iss"], said["scope"]) == (ACCOUNT, SCOPE)
            and said["iat"] - 60 <= time.time() < said["exp"]
        )


@pytest.fixture
def key(tmp_path):
    return Key(tmp_path)


@contextlib.contextmanager
def door(bucket, admits):
    found = Door(bucket.port, DENIED, admits)
    with answering(found) as port:
        yield found, bucket.environment(port)


def test_a_public_bucket_needs_no_key(bucket, run_fetch):
    bucket.put({"models/resnet/1/model.onnx": MODEL, "models/resnet-other/1/model.onnx": b"not this one"})
    with door(bucket, lambda request: not request.headers["Authorization"]) as (seen, environment):
        outcome = run_fetch(f"gs://{bucket.name}/models/resnet/", environment)
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert {request.headers["Authorization"] for request in seen.seen} == {None}


def test_a_large_object_of_a_gcs_bucket_arrives_in_parts_and_whole(bucket, run_fetch):
    bucket.put({"big/1/model.onnx": HUGE, **{f"big/1/weights {i}": MODEL for i in range(5)}})
    outcome = run_fetch(f"gs://{bucket.name}/big", bucket.environment())
    assert outcome.files() == {"1/model.onnx": HUGE, **{f"1/weights {i}": MODEL for i in range(5)}}


def test_one_object_of_a_gcs_bucket_can_be_the_model(bucket, run_fetch):
    bucket.put({"models/resnet.onnx": MODEL})
    outcome = run_fetch(f"gs://{bucket.name}/models/resnet.onnx", bucket.environment())
    assert outcome.files() == {"1/model.onnx": MODEL}


@pytest.mark.parametrize("name", ["GOOGLE_SERVICE_ACCOUNT_KEY", "gcloud-application-credentials.json"])
def test_requests_are_signed_with_the_key_of_a_service_account(bucket, run_fetch, key, name):
    bucket.put({"m/1/model.onnx": MODEL})
    with door(bucket, key.signed) as (_, environment):
        outcome = run_fetch(f"gs://{bucket.name}/m", environment | {name: key.json})
    assert outcome.files() == {"1/model.onnx": MODEL}


def test_an_account_that_may_not_read_is_named_and_its_key_never_shown(bucket, run_fetch, key):
    with door(bucket, lambda _: False) as (_, environment):
        outcome = run_fetch(f"gs://{bucket.name}/m", environment | {"GOOGLE_SERVICE_ACCOUNT_KEY": key.json})
    assert outcome.message == (
        f"FetchFailed: gs://{bucket.name}/m: access denied (403 AccessDenied); let {ACCOUNT}, whose key is in the "
        "Secret, read and list it"
    )
    for line in key.pem.splitlines()[1:-1]:
        assert line not in outcome.message + outcome.log


@pytest.mark.parametrize("key", ["{", "[]", "/var/secrets/key.json", '{"type": "authorized_user"}',
                                 '{"type": "external_account", "audience": "hunter2hunter2"}'])  # fmt: skip
def test_a_key_that_is_none_is_refused_before_anything_is_sent(bucket, run_fetch, key):
    with door(bucket, lambda _: True) as (seen, environment):
        outcome = run_fetch(f"gs://{bucket.name}/m", environment | {"GOOGLE_SERVICE_ACCOUNT_KEY": key})
    assert "GOOGLE_SERVICE_ACCOUNT_KEY in the Secret is not the JSON key of a service account" in outcome.message
    assert (seen.seen, "hunter2" in outcome.message + outcome.log) == ([], False)


def test_a_denied_anonymous_read_blames_no_secret(bucket, run_fetch):
    with door(bucket, lambda _: False) as (_, environment):
        outcome = run_fetch(f"gs://{bucket.name}/m", environment)
    assert outcome.message == (
        f"FetchFailed: gs://{bucket.name}/m: access denied (403 AccessDenied); it was read anonymously; name a Secret "
        "with GOOGLE_SERVICE_ACCOUNT_KEY in credentialsSecretName, or a ServiceAccount with workload identity in "
        "server.serviceAccountName"
    )


@dataclass
class MetadataServer:
    """What a pod reaches at 169.254.169.254: of GKE with workload identity, or of a plain virtual machine."""

    is_gke: bool = True
    token: str = "ya29.workload-identity-token"
    bound: bool = True
    lifetime: int = 3599
    asked: list = field(default_factory=list)

    def __call__(self, request):
        path = request.path.removeprefix("/computeMetadata/v1/instance/service-accounts/default/")
        self.asked.append((path, request.headers["Metadata-Flavor"]))
        if request.headers["Metadata-Flavor"] != "Google":
            said = "GKE Metadata Server encountered an error: Missing required header" if self.is_gke else "<html>403"
            return Answer(403, said.encode())
        if path == "email":
            return Answer(200, ACCOUNT.encode())
        if path == "token" and self.bound:
            found = {"access_token": self.token, "expires_in": self.lifetime, "token_type": "Bearer"}
            return Answer(200, json.dumps(found).encode())
        return Answer(404 if path != "token" else 403, b"not bound: hunter2hunter2")


@contextlib.contextmanager
def metadata(server, monkeypatch):
    with answering(server) as port:
        monkeypatch.setattr(identity, "GOOGLE", ("127.0.0.1", port))
        yield server


def test_a_pod_with_workload_identity_needs_no_key(bucket, run_fetch, monkeypatch):
    bucket.put({"m/1/model.onnx": MODEL})
    with (
        metadata(MetadataServer(), monkeypatch) as server,
        door(bucket, lambda request: request.headers["Authorization"] == f"Bearer {server.token}") as (_, environment),
    ):
        outcome = run_fetch(f"gs://{bucket.name}/m", environment | {identity.WANTED: "true"})
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert server.asked == [("token", None), ("email", "Google"), ("token", "Google")]
    assert server.token not in outcome.log + outcome.message


def test_without_a_service_account_nobody_asks_the_metadata_server(bucket, run_fetch, monkeypatch):
    bucket.put({"m/1/model.onnx": MODEL})
    with metadata(MetadataServer(), monkeypatch) as server:
        assert run_fetch(f"gs://{bucket.name}/m", bucket.environment()).code == 0
    assert server.asked == []


def test_a_key_in_a_secret_comes_before_workload_identity(bucket, run_fetch, monkeypatch, key):
    bucket.put({"m/1/model.onnx": MODEL})
    with metadata(MetadataServer(), monkeypatch) as server, door(bucket, key.signed) as (_, environment):
        settings = environment | {identity.WANTED: "true", "GOOGLE_SERVICE_ACCOUNT_KEY": key.json}
        assert run_fetch(f"gs://{bucket.name}/m", settings).code == 0
    assert server.asked == []


def test_the_account_of_a_node_is_never_used(bucket, run_fetch, monkeypatch):
    bucket.put({"m/1/model.onnx": MODEL})
    with (
        metadata(MetadataServer(is_gke=False), monkeypatch) as server,
        door(bucket, lambda _: True) as (seen, environment),
    ):
        outcome = run_fetch(f"gs://{bucket.name}/m", environment | {identity.WANTED: "true"})
    assert (outcome.code, server.asked) == (0, [("token", None)])
    assert {request.headers["Authorization"] for request in seen.seen} == {None}
    assert "the metadata server is not GKE's: the node's own account is not used" in outcome.log


def test_where_no_metadata_server_is_a_public_bucket_is_still_read(bucket, run_fetch, monkeypatch):
    bucket.put({"m/1/model.onnx": MODEL})
    monkeypatch.setattr(identity, "GOOGLE", ("127.0.0.1", free_port()))
    monkeypatch.setattr(identity, "METADATA_PAUSE_SECONDS", 0)
    outcome = run_fetch(f"gs://{bucket.name}/m", bucket.environment() | {identity.WANTED: "true"})
    assert outcome.code == 0
    assert "no metadata server answers: the pod has no workload identity" in outcome.log


def test_a_service_account_that_is_bound_to_nothing_is_named(bucket, run_fetch, monkeypatch):
    with metadata(MetadataServer(bound=False), monkeypatch):
        outcome = run_fetch(f"gs://{bucket.name}/m", bucket.environment() | {identity.WANTED: "true"})
    assert f"GKE's metadata server gave no token for {ACCOUNT} (403)" in outcome.message
    assert "hunter2" not in outcome.message + outcome.log


@pytest.mark.parametrize("target", ["http://169.254.169.254/computeMetadata/v1/", "https://metadata.google.internal/x",
                                    "http://[fd00:ec2::23]/v1/credentials"])  # fmt: skip
def test_no_redirect_of_a_store_leads_to_a_metadata_server(run_fetch, monkeypatch, target):
    monkeypatch.setattr(transfer, "LONGEST_PAUSE_SECONDS", 0)
    with (
        metadata(MetadataServer(), monkeypatch) as server,
        answering(lambda _: Answer(302, headers={"Location": target})) as port,
    ):
        environment = {"GOOGLE_BASE_URL": f"http://127.0.0.1:{port}", identity.WANTED: "true"}
        outcome = run_fetch("gs://bucket/m", environment)
    assert outcome.code == 1
    assert server.asked == [("token", None), ("email", "Google"), ("token", "Google")]
    assert server.token not in outcome.message + outcome.log


def test_a_busy_store_is_asked_again(bucket, run_fetch, monkeypatch):
    monkeypatch.setattr(transfer, "LONGEST_PAUSE_SECONDS", 0)
    bucket.put({"m/1/model.onnx": MODEL})
    busy = [Answer(503), Answer(429), Answer(500)]
    passes = Door(bucket.port, DENIED)
    with answering(lambda request: busy.pop() if busy else passes(request)) as port:
        outcome = run_fetch(f"gs://{bucket.name}/m", bucket.environment(port))
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert [status for status in (500, 429, 503) if f"the server answered {status}" in outcome.log] == [500, 429, 503]


def test_a_token_that_expires_is_renewed(bucket, run_fetch, monkeypatch):
    bucket.put({f"m/1/part-{i}.bin": MODEL for i in range(20)} | {"m/1/model.onnx": MODEL})
    with (
        metadata(MetadataServer(lifetime=1), monkeypatch) as server,
        door(bucket, lambda request: request.headers["Authorization"] == f"Bearer {server.token}") as (_, environment),
    ):
        outcome = run_fetch(f"gs://{bucket.name}/m", environment | {identity.WANTED: "true"})
    assert outcome.code == 0
    assert server.asked.count(("token", "Google")) > 1
