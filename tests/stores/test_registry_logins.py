"""oci:// sources against registries that want a login, or a token that is given for one."""

import base64
import contextlib
import http.client
import json
import subprocess
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.stores.registries import PLAIN, Repository, registry
from tests.stores.servers import MODEL, Answer, Door, answering

USER, PASSWORD = "puller", "sEcReT-pull-password"
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuhSUtuVAWDnF38fM9CoylpVob7csyfny\n"


@pytest.fixture(scope="session")
def closed_repository(tmp_path_factory):
    """A repository of a registry that wants a user and a password."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "htpasswd").write_text(HTPASSWD)
    with registry(folder, htpasswd={"realm": "closed", "path": str(folder / "htpasswd")}) as port:
        found = Repository(port, "team/net", f"{USER}:{PASSWORD}")
        found.push(found.file("model.onnx", MODEL))
        yield found


def docker_config(servers, password=PASSWORD, *, encoded=True):
    login = {"username": USER, "password": password}
    if encoded:
        login = {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}
    return {".dockerconfigjson": json.dumps({"auths": dict.fromkeys(servers, login)})}


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("server", ["{}", "http://{}", "https://{}/v2/", "{}/team"])
def test_a_login_that_docker_wrote_is_used(closed_repository, run_fetch, server, encoded):
    servers = [server.format(f"127.0.0.1:{closed_repository.port}"), "other.example.com"]
    outcome = run_fetch(closed_repository.uri(), PLAIN | docker_config(servers, encoded=encoded))
    assert outcome.files() == {"1/model.onnx": MODEL}
    assert PASSWORD not in outcome.log + outcome.message


def test_a_user_and_a_password_are_used(closed_repository, run_fetch):
    outcome = run_fetch(closed_repository.uri(), PLAIN | {"username": USER, "password": PASSWORD})
    assert outcome.files() == {"1/model.onnx": MODEL}


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ({}, "access denied (401 UNAUTHORIZED); it was read anonymously; name a Secret of the type"),
        ({"username": USER, "password": "wrong-password"}, "(401 UNAUTHORIZED); let the account in the Secret pull it"),
        (
            docker_config(["other.example.com"]),
            "the Secret has no login for 127.0.0.1; create one with `kubectl create",
        ),
        (docker_config(["127.0.0.1"]), "the Secret has no login for 127.0.0.1"),
        ({"username": USER}, "the Secret has no password; add it, or drop both keys"),
        ({".dockerconfigjson": "hunter2"}, ".dockerconfigjson in the Secret is not what `docker login` writes"),
    ],
)
def test_a_login_that_does_not_fit_is_named_and_never_shown(closed_repository, run_fetch, secret, words):
    outcome = run_fetch(closed_repository.uri(), PLAIN | secret)
    assert words in outcome.message
    for hidden in (PASSWORD, "wrong-password", "hunter2"):
        assert hidden not in outcome.message + outcome.log


@dataclass
class Login:
    """Gives out tokens for a registry as the token specification says; each lives for `seconds`."""

    folder: Path
    seconds: int = 300
    given: list = field(default_factory=list)

    def __post_init__(self):
        kind = ("-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=login")
        made = ("openssl", "req", "-x509", *kind, "-keyout", self.folder / "key.pem", "-out", self.folder / "login.pem")
        subprocess.run(made, check=True, capture_output=True)

    def __call__(self, request):
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.path).query))
        self.given.append((request.headers["Authorization"], asked))
        if request.headers["Authorization"] != f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}":
            return Answer(401, b'{"details": "incorrect username or password"}')
        kind, name, actions = asked["scope"].split(":")
        now = int(time.time())
        access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        claims = {"iss": "login", "sub": USER, "aud": asked["service"], "jti": str(len(self.given)), "access": access}
        claims |= {"exp": now + self.seconds, "nbf": now - 60, "iat": now}
        return Answer(200, json.dumps({"token": self._signed(claims), "expires_in": self.seconds}).encode())

    def _signed(self, claims):
        certificate = "".join((self.folder / "login.pem").read_text().splitlines()[1:-1])
        parts = [{"alg": "RS256", "typ": "JWT", "x5c": [certificate]}, claims]
        text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        sign = ("openssl", "dgst", "-sha256", "-sign", self.folder / "key.pem")
        signature = subprocess.run(sign, input=text.encode(), check=True, capture_output=True).stdout
        return f"{text}.{encoded(signature)}"


def encoded(body):
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


@contextlib.contextmanager
def wanting_tokens(blobs, folder, **options):
    """Run a registry over the same blobs that wants tokens; yields its port and what gives them out."""
    login = Login(folder, **options)
    with answering(login) as port:
        where = {"realm": f"http://127.0.0.1:{port}/token", "service": "models", "issuer": "login"}
        with registry(blobs, token=where | {"rootcertbundle": str(folder / "login.pem")}) as found:
            yield found, login


def test_a_token_is_asked_for_with_the_login_and_the_scope(blobs, repository, run_fetch, tmp_path):
    repository.push(repository.file("model.onnx", MODEL), repository.file("labels.txt", b"cat"))
    with wanting_tokens(blobs, tmp_path) as (port, login):
        outcome = run_fetch(repository.uri(port=port), PLAIN | {"username": USER, "password": PASSWORD})
    assert outcome.files() == {"1/model.onnx": MODEL, "1/labels.txt": b"cat"}
    assert [asked for _, asked in login.given] == [{"service": "models", "scope": f"repository:{repository.name}:pull"}]


def test_a_token_that_ends_in_the_middle_is_renewed(blobs, repository, run_fetch, tmp_path):
    repository.push(repository.file("model.onnx", MODEL), repository.file("labels.txt", b"cat"))
    with wanting_tokens(blobs, tmp_path) as (port, login):
        door = Door(port, Answer(403))

        def ending(request):
            # The registry forgets each token after it has answered with the manifest.
            if "/blobs/" in request.path and len(login.given) == 1:
                del request.headers["Authorization"]
                request.headers["Authorization"] = "Bearer ended"
            return passing(door, request)

        with answering(ending) as front:
            outcome = run_fetch(repository.uri(port=front), PLAIN | {"username": USER, "password": PASSWORD})
    assert outcome.files() == {"1/model.onnx": MODEL, "1/labels.txt": b"cat"}
    assert len(login.given) == 2


def passing(door, request):
    """Pass a request on with the authorization that a door keeps to itself."""
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60)
    with contextlib.closing(connection):
        kept = {name: request.headers[name] for name in ("Authorization", "Range", "Accept") if request.headers[name]}
        connection.request(request.method, request.path, headers=kept)
        answer = connection.getresponse()
        shown = {name: value for name, value in answer.getheaders() if name.lower() not in {"connection", "date"}}
        return Answer(answer.status, answer.read(), shown)


def test_a_login_that_gives_no_token_is_named_and_never_shown(blobs, repository, run_fetch, tmp_path):
    repository.push(repository.file("model.onnx", MODEL))
    with wanting_tokens(blobs, tmp_path) as (port, _):
        outcome = run_fetch(repository.uri(port=port), PLAIN | {"username": USER, "password": "wrong-password"})
    assert "access denied (401 UNAUTHORIZED); let the account in the Secret pull it" in outcome.message
    assert "wrong-password" not in outcome.message + outcome.log


def test_a_challenge_does_not_lead_to_a_metadata_address(run_fetch):
    challenge = {"WWW-Authenticate": 'Bearer realm="http://169.254.169.254/token",service="x"'}
    with answering(lambda _: Answer(401, b"{}", challenge)) as port:
        outcome = run_fetch(f"oci://127.0.0.1:{port}/m", PLAIN | {"username": USER, "password": PASSWORD})
    assert "a link-local or metadata address: never allowed" in outcome.message


def test_plain_http_is_only_for_private_addresses(run_fetch):
    outcome = run_fetch("oci://registry.example.com/m", PLAIN | {"TRITONFLEET_FETCH_ALLOW_PRIVATE": "false"})
    assert "OCI_PLAIN_HTTP in the Secret asks for plain http, which is only for private addresses" in outcome.message
