"""s3:// sources with the roles of a ServiceAccount: IRSA and EKS Pod Identity.

What hands out keys is a stand-in for AWS's token service, or for the agent on an EKS node: it does so only when the
client sends what AWS demands. The S3 server is a real one, but knows no temporary keys. A door before it checks their
signature (AWS Signature Version 4, with the session token among what is signed), and signs with the server's own key.
"""

import contextlib
import hashlib
import hmac
import http.client
import json
import re
import urllib.parse
from dataclasses import dataclass, field

import pytest

from tests.stores.servers import ACCESS_KEY, MODEL, SECRET_KEY, Answer, Certificate, Request, answering
from tritonfleet.fetch import identity

ROLE = "arn:aws:iam::123456789012:role/models-read"
POD_TOKEN = "eyJhbGciOiJSUzI1NiJ9.pod-token.signature"
EXPIRY = "2099-01-01T00:00:00Z"
SESSION_KEY, SESSION_SECRET, SESSION = "ASIATESTTESTTEST", "session-secret/0123456789", "FwoGZXIvYXdzEBYaDH-session"


def signature(secret, scope, request, names):
    """Return the signature of a request by https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html."""
    path, _, query = request.path.partition("?")
    lines = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
    parts = (request.method, path, "&".join(sorted(query.split("&"))), lines, ";".join(names))
    canonical = "\n".join((*parts, request.headers["x-amz-content-sha256"]))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, digest))
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


@dataclass
class TemporaryKeys:
    """Lets in who has signed with the keys of a session, before a server that knows only its own."""

    endpoint: str

    def __call__(self, request):
        found = dict(
            re.findall(r"(Credential|SignedHeaders|Signature)=([^, ]+)", request.headers["Authorization"] or "")
        )
        access, _, scope = found.get("Credential", "").partition("/")
        names = found.get("SignedHeaders", "").split(";")
        if (
            (access, request.headers["x-amz-security-token"]) != (SESSION_KEY, SESSION)
            or "x-amz-security-token" not in names
            or signature(SESSION_SECRET, scope, request, names) != found["Signature"]
        ):
            return Answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        host = urllib.parse.urlsplit(self.endpoint).netloc
        kept = ("x-amz-content-sha256", "x-amz-date", "range")
        headers = {"host": host} | {name: value for name in kept if (value := request.headers[name])}
        own = Request(request.method, request.path, headers, b"")
        names = [name for name in sorted(headers) if name != "range"]
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={signature(SECRET_KEY, scope, own, names)}"
        )
        with contextlib.closing(http.client.HTTPConnection(host, timeout=60)) as server:
            server.request(request.method, request.path, headers=headers)
            answer = server.getresponse()
            known = ("Content-Length", "Content-Range", "ETag", "Last-Modified", "Content-Type")
            return Answer(
                answer.status, answer.read(), {name: value for name in known if (value := answer.headers[name])}
            )


@pytest.fixture
def session_only(bucket):
    """The environment of a pod that reaches the bucket through the door, without keys."""
    with answering(TemporaryKeys(bucket.endpoint)) as port:
        yield {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


@dataclass
class TokenService:
    """AWS STS, of which only AssumeRoleWithWebIdentity is there."""

    refusal: str = ""
    secret: str = SESSION_SECRET
    given: list = field(default_factory=list)

    def __call__(self, request):
        query = urllib.parse.urlsplit(request.path).query + "&" + request.body.decode()
        sent = {name: values[0] for name, values in urllib.parse.parse_qs(query).items()}
        self.given.append(sent)
        wanted = {"Action": "AssumeRoleWithWebIdentity", "RoleArn": ROLE, "RoleSessionName": "tritonfleet-fetch",
                  "Version": "2011-06-15", "WebIdentityToken": POD_TOKEN}  # fmt: skip
        if self.refusal or not wanted.items() <= sent.items():
            why = f"<Error><Code>{self.refusal or 'ValidationError'}</Code><Message>{POD_TOKEN}</Message></Error>"
            return Answer(403, f"<ErrorResponse>{why}</ErrorResponse>".encode())
        keys = (f"<AccessKeyId>{SESSION_KEY}</AccessKeyId><SecretAccessKey>{self.secret}</SecretAccessKey>"
                f"<SessionToken>{SESSION}</SessionToken><Expiration>{EXPIRY}</Expiration>")  # fmt: skip
        name = "AssumeRoleWithWebIdentity"
        found = f"<{name}Response><{name}Result><Credentials>{keys}</Credentials></{name}Result></{name}Response>"
        return Answer(200, found.encode())


@pytest.fixture
def mounted(monkeypatch, tmp_path):
    """The token that a cloud mounts into the pod."""
    monkeypatch.setattr(identity, "TOKENS", tmp_path)
    (tmp_path / "token").write_text(POD_TOKEN)
    return str(tmp_path / "token")


@contextlib.contextmanager
def irsa(service, mounted, tmp_path):
    """Yield what EKS's webhook puts into a pod whose ServiceAccount names a role."""
    certificate = Certificate(tmp_path)
    with answering(service, certificate) as port:
        yield {
            "AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": mounted,
            "CA_CERTIFICATE": certificate.file.read_text(),
            "AWS_ENDPOINT_URL_STS": f"https://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
        }  # fmt: skip


def test_the_role_of_a_service_account_reads_the_bucket_without_a_key(bucket, fetch, mounted, tmp_path, session_only):
    bucket.put({"m/1/model.onnx": MODEL})
    with irsa(service := TokenService(), mounted, tmp_path) as pod:
        outcome = fetch("m", **pod | session_only)
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert len(service.given) == 1
    for secret in (SESSION_SECRET, SESSION, POD_TOKEN):
        assert secret not in outcome.message + outcome.log


def test_a_role_that_does_not_trust_the_service_account_is_named(bucket, fetch, mounted, tmp_path):
    with irsa(TokenService("AccessDenied"), mounted, tmp_path) as pod:
        outcome = fetch("m", **pod)
    assert outcome.message == (
        f"FetchFailed: s3://{bucket.name}/m: the cloud gave no token for the pod's identity (403 AccessDenied); check "
        "that it exists and trusts the pod's ServiceAccount"
    )
    assert POD_TOKEN not in outcome.message + outcome.log


def test_a_role_that_may_not_read_is_named_and_no_secret_is_blamed(bucket, fetch, mounted, tmp_path, session_only):
    with irsa(TokenService(secret="wrong-secret-value"), mounted, tmp_path) as pod:
        outcome = fetch("m", **pod | session_only)
    assert f"access denied (403 SignatureDoesNotMatch); let {ROLE}, the role of the pod's Service" in outcome.message
    assert "Secret named by" not in outcome.message


def test_keys_come_before_a_role_which_the_log_says(bucket, fetch, mounted, tmp_path):
    bucket.put({"m/1/model.onnx": MODEL})
    with irsa(service := TokenService(), mounted, tmp_path) as pod:
        outcome = fetch("m", **pod | {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY})
    assert (outcome.code, service.given) == (0, [])
    assert "the role of the pod's ServiceAccount is not used: the Secret has keys" in outcome.log


def test_a_role_without_a_token_is_said_not_to_be_used(bucket, fetch):
    outcome = fetch("m", AWS_ROLE_ARN=ROLE, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert "AWS_ROLE_ARN is not used: the pod has no token for it in AWS_WEB_IDENTITY_TOKEN_FILE" in outcome.log


@pytest.mark.parametrize("file", ["/etc/passwd", "{mounted}/../../../etc/passwd", "token"])
def test_no_file_but_a_mounted_token_is_sent_to_aws(bucket, fetch, mounted, tmp_path, file):
    with irsa(service := TokenService(), mounted, tmp_path) as pod:
        outcome = fetch("m", **pod | {"AWS_WEB_IDENTITY_TOKEN_FILE": file.format(mounted=tmp_path)})
    assert "AWS_WEB_IDENTITY_TOKEN_FILE does not name a file below" in outcome.message
    assert service.given == []


@dataclass
class Agent:
    """The agent of EKS Pod Identity on a node."""

    status: int = 200
    given: list = field(default_factory=list)

    def __call__(self, request):
        self.given.append((request.method, request.path, request.headers["Authorization"]))
        if self.status != 200 or request.headers["Authorization"] != POD_TOKEN:
            return Answer(self.status if self.status != 200 else 401, f"no association, {POD_TOKEN}".encode())
        keys = {"AccessKeyId": SESSION_KEY, "SecretAccessKey": SESSION_SECRET, "Token": SESSION, "Expiration": EXPIRY}
        return Answer(200, json.dumps(keys | {"AccountId": "123456789012"}).encode())


@contextlib.contextmanager
def pod_identity(agent, monkeypatch, mounted):
    """Yield what EKS puts into a pod whose ServiceAccount has a pod identity association."""
    uri = "http://169.254.170.23/v1/credentials"
    with answering(agent) as port:
        monkeypatch.setattr(identity, "EKS", {uri: ("127.0.0.1", port)})
        yield {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": mounted,
               "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}  # fmt: skip


def test_eks_pod_identity_reads_the_bucket_without_a_key(bucket, fetch, monkeypatch, mounted, session_only):
    bucket.put({"m/1/model.onnx": MODEL})
    with pod_identity(agent := Agent(), monkeypatch, mounted) as pod:
        outcome = fetch("m", **pod | session_only)
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert agent.given == [("GET", "/v1/credentials", POD_TOKEN)]
    for secret in (SESSION_SECRET, SESSION, POD_TOKEN):
        assert secret not in outcome.message + outcome.log


def test_a_service_account_without_an_association_is_named(bucket, fetch, monkeypatch, mounted):
    with pod_identity(Agent(404), monkeypatch, mounted) as pod:
        outcome = fetch("m", **pod)
    assert "EKS Pod Identity gave no keys for the pod's ServiceAccount (404); check its pod identity" in outcome.message
    assert POD_TOKEN not in outcome.message + outcome.log


@pytest.mark.parametrize("uri", ["http://169.254.169.254/latest/meta-data/", "http://169.254.170.23/other",
                                 "http://169.254.170.23@evil.example/v1/credentials", "http://localhost/"])  # fmt: skip
def test_a_secret_cannot_send_the_fetch_to_another_address_for_keys(bucket, fetch, monkeypatch, mounted, uri):
    with pod_identity(agent := Agent(), monkeypatch, mounted) as pod:
        outcome = fetch("m", **pod | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri})
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI is not the address of EKS Pod Identity" in outcome.message
    assert agent.given == []


@pytest.mark.parametrize("region", ["evil.example/", "eu-west-1.evil.example#", "../x", "EU"])
def test_a_region_that_is_none_is_refused(fetch, region):
    assert "AWS_REGION is not the name of a region" in fetch("m", AWS_REGION=region).message
