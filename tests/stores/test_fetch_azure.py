"""az:// sources against Azurite, with the identities that Azure Blob Storage takes.

Azurite checks the signatures of account keys and of shared access signatures by itself. It has no directory of
identities: a stand-in for it answers the exchange of the pod's token, and checks each field of what the client sends.
"""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import json
import os
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import obstore
import pytest
from obstore.store import AzureStore

from devcluster.host import pinned_npm_package
from devcluster.progress import Progress
from tests.ports import free_port
from tests.stores.servers import HUGE, MODEL, Answer, Certificate, Door, answering, serving
from tritonfleet.fetch import identity

ACCOUNT = "modelstore"
KEY = base64.b64encode(hashlib.shake_256(b"key").digest(64)).decode()
CLIENT, TENANT = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
POD_TOKEN = "eyJhbGciOiJSUzI1NiJ9.pod-token.signature"


@pytest.fixture(scope="session")
def azurite_port():
    port = free_port()
    program = pinned_npm_package("azurite", Progress()) / "azurite" / "dist" / "src" / "blob" / "main.js"
    options = ("--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck")
    accounts = os.environ | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    with serving("node", program, "--blobPort", str(port), *options, port=port, environment=accounts):
        yield port


@dataclass
class Container:
    """A container of the emulator."""

    name: str
    port: int

    @property
    def store(self):
        return AzureStore(
            config={
                "account_name": ACCOUNT,
                "container_name": self.name,
                "account_key": KEY,
                "endpoint": self.endpoint,
            },
            client_options={"allow_http": True},
        )

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def put(self, files):
        for path, body in files.items():
            obstore.put(self.store, path, body)

    def environment(self, **more):
        return {"AZURE_STORAGE_ENDPOINT": self.endpoint, **more}

    def uri(self, path):
        return f"az://{ACCOUNT}/{self.name}/{path}"

    def signature(self, path):
        """Return a shared access signature that lets its owner read one object for an hour."""
        return urllib.parse.urlsplit(obstore.sign(self.store, "GET", path, timedelta(hours=1))).query

    def reading_signature(self):
        """Return one that lets its owner list and read the container; signed as the service's version 2020-12-06."""
        until, version = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"), "2020-12-06"
        text = "\n".join(["rl", "", until, f"/blob/{ACCOUNT}/{self.name}", "", "", "", version, "c", *[""] * 7])
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")).decode()
        return urllib.parse.urlencode({"sv": version, "se": until, "sr": "c", "sp": "rl", "sig": signature})


def made(port, name, **headers):
    """Make a container, signed as Azure's shared keys are."""
    sent = {"x-ms-date": email.utils.format_datetime(datetime.now(UTC), usegmt=True), "x-ms-version": "2021-08-06"}
    sent |= headers
    named = "".join(f"{key}:{value}\n" for key, value in sorted(sent.items()))
    headings = "\n" * 12  # of the method, and of eleven headers that are not sent
    text = f"PUT{headings}{named}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")).decode()
    url = f"http://127.0.0.1:{port}/{ACCOUNT}/{name}?restype=container"
    sent["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
    request = urllib.request.Request(url, method="PUT", headers=sent)
    urllib.request.urlopen(request, timeout=60).close()
    return Container(name, port)


def name_of(request):
    return "c" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20]


@pytest.fixture
def container(azurite_port, request):
    return made(azurite_port, name_of(request))


@pytest.fixture
def public(azurite_port, request):
    return made(azurite_port, name_of(request) + "-public", **{"x-ms-blob-public-access": "container"})


def test_a_public_container_needs_no_key(public, run_fetch):
    public.put({"models/resnet/1/model.onnx": MODEL, "models/resnet-other/1/model.onnx": b"not this one"})
    assert run_fetch(public.uri("models/resnet/"), public.environment()).files() == {"1/model.onnx": MODEL}


@pytest.mark.parametrize("name", ["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY"])
def test_a_container_is_read_with_the_key_of_its_account(container, run_fetch, name):
    container.put({"1/model.onnx": MODEL})
    assert run_fetch(container.uri(""), container.environment(**{name: KEY})).files() == {"1/model.onnx": MODEL}


def test_a_large_object_of_a_container_arrives_in_parts_and_whole(container, run_fetch):
    container.put({"m/1/model.onnx": HUGE, **{f"m/1/weights {i}": MODEL for i in range(3)}})
    outcome = run_fetch(container.uri("m"), container.environment(AZURE_STORAGE_KEY=KEY))
    assert outcome.files() == {"1/model.onnx": HUGE, **{f"1/weights {i}": MODEL for i in range(3)}}


def test_one_object_of_a_container_can_be_the_model(container, run_fetch):
    container.put({"models/resnet.onnx": MODEL})
    outcome = run_fetch(container.uri("models/resnet.onnx"), container.environment(AZURE_STORAGE_KEY=KEY))
    assert outcome.files() == {"1/model.onnx": MODEL}


def test_a_container_that_does_not_exist_is_named(container, run_fetch):
    outcome = run_fetch(f"az://{ACCOUNT}/elsewhere/m", container.environment(AZURE_STORAGE_KEY=KEY))
    assert f"az://{ACCOUNT}/elsewhere/m: no such container (404 ContainerNotFound)" in outcome.message


def test_a_folder_that_does_not_exist_is_named(container, run_fetch):
    outcome = run_fetch(container.uri("m"), container.environment(AZURE_STORAGE_KEY=KEY))
    assert outcome.message == f"FetchFailed: {container.uri('m')}: nothing is stored there (404); check the path"


def test_a_wrong_key_is_named_and_never_shown(container, run_fetch):
    wrong = base64.b64encode(b"w" * 64).decode()
    outcome = run_fetch(container.uri("m"), container.environment(AZURE_STORAGE_KEY=wrong))
    assert "access denied (403 AuthorizationFailure); check the keys in the Secret named by" in outcome.message
    assert wrong not in outcome.message + outcome.log


def test_a_key_that_is_no_base64_is_refused_without_repeating_it(container, run_fetch):
    outcome = run_fetch(container.uri("m"), container.environment(AZURE_STORAGE_KEY="hunter2 hunter2"))
    assert "the endpoint, key or CA_CERTIFICATE in the Secret cannot be used; check each" in outcome.message
    assert "hunter2" not in outcome.message + outcome.log


def test_a_denied_anonymous_read_of_a_container_blames_no_secret(container, run_fetch):
    outcome = run_fetch(container.uri("m"), container.environment())
    assert "access denied (403 AuthorizationFailure); it was read anonymously; name a Secret with" in outcome.message
    assert "check the keys" not in outcome.message


def test_a_container_is_read_with_a_shared_access_signature(container, run_fetch):
    container.put({"m/1/model.onnx": MODEL})
    outcome = run_fetch(
        container.uri("m"), container.environment(AZURE_STORAGE_SAS_TOKEN=container.reading_signature())
    )
    assert outcome.files() == {"1/model.onnx": MODEL}


def test_a_signature_for_one_object_does_not_open_the_container(container, run_fetch):
    container.put({"m/1/model.onnx": MODEL})
    signature = "?" + container.signature("m/1/model.onnx")
    outcome = run_fetch(container.uri("m"), container.environment(AZURE_STORAGE_SAS_TOKEN=signature))
    assert "check that AZURE_STORAGE_SAS_TOKEN in the Secret has not expired" in outcome.message
    assert urllib.parse.parse_qs(signature)["sig"][0] not in outcome.message + outcome.log


@dataclass
class Directory:
    """Answers the exchange of a pod's token for one of Azure, as Microsoft's sign-in does."""

    refusal: str = ""
    given: list = field(default_factory=list)

    def __call__(self, request):
        sent = {name: values[0] for name, values in urllib.parse.parse_qs(request.body.decode()).items()}
        self.given.append((request.method, request.path))
        wanted = {
            "client_id": CLIENT, "grant_type": "client_credentials", "scope": "https://storage.azure.com/.default",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": POD_TOKEN,
        }  # fmt: skip
        if self.refusal or sent != wanted:
            why = {"error": "invalid_client", "error_description": f"{self.refusal}: no {POD_TOKEN} for you"}
            return Answer(401, json.dumps(why).encode())
        found = {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": "azure-token"}
        return Answer(200, json.dumps(found).encode())


@contextlib.contextmanager
def identity_of_pod(directory, monkeypatch, tmp_path):
    """Yield what Azure's webhook puts into a pod's environment."""
    monkeypatch.setattr(identity, "TOKENS", tmp_path)
    (tmp_path / "azure-identity-token").write_text(POD_TOKEN)
    certificate = Certificate(tmp_path)
    with answering(directory, certificate) as port:
        yield {
            "CA_CERTIFICATE": certificate.file.read_text(),
            "AZURE_CLIENT_ID": CLIENT, "AZURE_TENANT_ID": TENANT, "AZURE_AUTHORITY_HOST": f"https://127.0.0.1:{port}/",
            "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "azure-identity-token"),
        }  # fmt: skip


@contextlib.contextmanager
def door(container, admits):
    found = Door(container.port, Answer(403), admits)
    with answering(found) as port:
        yield found, {"AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}"}


def test_the_token_of_a_pod_is_exchanged_for_one_of_its_identity(public, run_fetch, monkeypatch, tmp_path):
    public.put({"m/1/model.onnx": MODEL})
    with (
        identity_of_pod(directory := Directory(), monkeypatch, tmp_path) as pod,
        door(public, lambda request: request.headers["Authorization"] == "Bearer azure-token") as (_, endpoint),
    ):
        outcome = run_fetch(public.uri("m"), pod | endpoint)
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert directory.given == [("POST", f"/{TENANT}/oauth2/v2.0/token")]
    assert "azure-token" not in outcome.log + outcome.message


def test_an_identity_that_may_not_read_is_named(public, run_fetch, monkeypatch, tmp_path):
    with (
        identity_of_pod(Directory(), monkeypatch, tmp_path) as pod,
        door(public, lambda _: False) as (_, endpoint),
    ):
        outcome = run_fetch(public.uri("m"), pod | endpoint)
    assert (
        f"give the identity {CLIENT} of the pod's ServiceAccount the role Storage Blob Data Reader" in outcome.message
    )


def test_an_identity_that_does_not_trust_the_service_account_is_named(public, run_fetch, monkeypatch, tmp_path):
    with identity_of_pod(Directory("AADSTS700213"), monkeypatch, tmp_path) as pod:
        outcome = run_fetch(public.uri("m"), pod | public.environment())
    assert "the cloud gave no token for the pod's identity (401 AADSTS700213)" in outcome.message
    assert POD_TOKEN not in outcome.message + outcome.log


def test_a_service_account_without_an_identity_of_azure_reads_public_containers(
    public, run_fetch, monkeypatch, tmp_path
):
    public.put({"m/1/model.onnx": MODEL})
    with identity_of_pod(directory := Directory(), monkeypatch, tmp_path) as pod:
        outcome = run_fetch(public.uri("m"), pod | public.environment(AZURE_CLIENT_ID=""))
    assert (outcome.code, directory.given) == (0, [])
    assert "is not used: it has no annotation azure.workload.identity/client-id" in outcome.log


def test_a_key_comes_before_the_identity_of_the_pod_which_the_log_says(container, run_fetch, monkeypatch, tmp_path):
    container.put({"m/1/model.onnx": MODEL})
    with identity_of_pod(directory := Directory(), monkeypatch, tmp_path) as pod:
        outcome = run_fetch(container.uri("m"), pod | container.environment(AZURE_STORAGE_KEY=KEY))
    assert (outcome.code, directory.given) == (0, [])
    assert "the identity of the pod's ServiceAccount is not used: the Secret has a key" in outcome.log


def test_no_file_but_a_mounted_token_is_ever_sent(public, run_fetch, monkeypatch, tmp_path):
    with identity_of_pod(directory := Directory(), monkeypatch, tmp_path) as pod:
        other = pod | public.environment(AZURE_FEDERATED_TOKEN_FILE=f"{tmp_path}/../../../../etc/passwd")
        outcome = run_fetch(public.uri("m"), other)
    assert "AZURE_FEDERATED_TOKEN_FILE does not name a file below" in outcome.message
    assert directory.given == []
