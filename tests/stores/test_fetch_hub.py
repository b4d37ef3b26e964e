"""hf:// sources against a mirror of the Hub that serves a git repository, and against what only the Hub itself does.

`Hub` answers as the Hub's documentation says, with LFS files behind a redirect to another server; the Hub's own client
reads the same from it.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devcluster.host import pinned_package
from devcluster.progress import Progress
from tests.ports import free_port
from tests.stores.servers import HUGE, MODEL, Answer, answering, serving
from tritonfleet.fetch import transfer, web

TOKEN = "hf_testtokentesttokentest"
COMMIT = hashlib.sha1(b"commit").hexdigest()


def sha256(body):
    return hashlib.sha256(body).hexdigest()


@pytest.fixture(scope="session")
def packages():
    """Return the environment of a Python with olah, a mirror of the Hub, and with the Hub's own client."""
    home = pinned_package("olah", Progress())
    return os.environ | {"PYTHONPATH": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@dataclass
class Repository:
    """A model's git repository, behind a mirror."""

    endpoint: str
    folder: Path
    name: str

    def uri(self, rest=""):
        return f"hf://{self.name}{rest}"

    @property
    def environment(self):
        return {"HF_ENDPOINT": self.endpoint}

    def git(self, *arguments):
        command = ("git", "-c", "user.email=t@example.com", "-c", "user.name=t", *arguments)
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, files):
        """Commit files, those that are not small as pointers to LFS objects; return the commit."""
        for path, body in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if len(body) > 1000:
                digest = sha256(body)
                kept = self.folder / ".git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(body)
                pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(body)}\n"
                file.write_text(pointer)
            else:
                file.write_bytes(body)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "files")
        return self.git("rev-parse", "HEAD")


@pytest.fixture(scope="session")
def mirror(packages, tmp_path_factory):
    root, port = tmp_path_factory.mktemp("hub"), free_port()
    # Only what is in the mirror's own folder is served: the Hub itself is never asked.
    (root / "olah.toml").write_text(
        f'[basic]\nhost = "127.0.0.1"\nport = {port}\nhf-scheme = "http"\nhf-netloc = "127.0.0.1:9"\n'
        f'mirrors-path = ["{root}/mirrors"]\nrepos-path = "{root}/repos"\n[accessibility]\noffline = true\n'
    )
    run = ("-c", "from olah.server import cli; cli()", "-c", root / "olah.toml", "--log-path", root / "logs")
    with serving(sys.executable, *run, port=port, environment=packages):
        yield f"http://127.0.0.1:{port}", root / "mirrors" / "models"


@pytest.fixture
def repository(mirror, request):
    endpoint, root = mirror
    name = f"acme/{sha256(request.node.name.encode())[:16]}"
    found = Repository(endpoint, root / name, name)
    found.folder.mkdir(parents=True)
    found.git("init", "--quiet", "--initial-branch", "main")
    found.commit({"model.onnx": MODEL, "labels.txt": b"cat\ndog\n", ".gitattributes": b"*.onnx filter=lfs\n"})
    return found


def test_a_model_of_a_mirror_is_fetched_at_the_commit_of_its_branch(repository, run_fetch):
    outcome = run_fetch(repository.uri(), repository.environment)
    assert outcome.files() == {"1/model.onnx": MODEL, "1/labels.txt": b"cat\ndog\n"}
    assert json.loads(outcome.message)["modelVersion"] == repository.git("rev-parse", "main")


def test_a_container_that_starts_again_says_the_same_and_asks_nobody(repository, run_fetch):
    first = run_fetch(repository.uri(), repository.environment)
    repository.commit({"model.onnx": MODEL[::-1]})
    assert run_fetch(repository.uri(), {"HF_ENDPOINT": "https://hub.example.com"}).message == first.message


def test_a_commit_and_a_tag_are_fetched_after_the_branch_has_moved_on(repository, run_fetch):
    before = repository.git("rev-parse", "HEAD")
    repository.git("tag", "v1")
    after = repository.commit({"model.onnx": MODEL[::-1]})
    for revision, commit, body in ((before, before, MODEL), ("v1", before, MODEL), ("main", after, MODEL[::-1])):
        outcome = run_fetch(repository.uri(f"@{revision}"), repository.environment)
        assert outcome.files()["1/model.onnx"] == body
        assert json.loads(outcome.message)["modelVersion"] == commit


def test_the_hubs_own_client_and_the_fetch_step_read_the_same(repository, run_fetch, packages, tmp_path):
    repository.commit({"variants/fp16/1/model.onnx": MODEL, "variants/fp16/1/deep/er/weights": MODEL[:5000]})
    outcome = run_fetch(repository.uri("/variants/fp16"), repository.environment)
    downloaded, commit = client_of_the_hub(packages, repository.endpoint, tmp_path, repository.name)
    prefix = "variants/fp16/"
    expected = {path.removeprefix(prefix): body for path, body in downloaded.items() if path.startswith(prefix)}
    assert outcome.files() == expected
    assert json.loads(outcome.message)["modelVersion"] == commit


CLIENT = """
import sys
from huggingface_hub import HfApi, snapshot_download
folder, name, token = sys.argv[1:]
print(snapshot_download(name, cache_dir=folder, token=token or False))
print(HfApi(token=token or False).model_info(name, revision="main").sha)
"""


def client_of_the_hub(packages, endpoint, folder, name, token=""):
    """Return what the Hub's own client downloads, by path, and the commit that it finds."""
    environment = packages | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = (sys.executable, "-c", CLIENT, folder / "cache", name, token)
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    snapshot, commit = said.stdout.split()
    found = [path for path in Path(snapshot).rglob("*") if path.is_file()]
    return {str(path.relative_to(snapshot)): path.read_bytes() for path in found}, commit


def test_one_file_of_a_repository_can_be_the_model(repository, run_fetch):
    repository.commit({"weights/net.onnx": MODEL})
    outcome = run_fetch(repository.uri("/weights/net.onnx"), repository.environment)
    assert outcome.files() == {"1/model.onnx": MODEL}


def test_a_path_that_is_not_in_the_repository_is_named(repository, run_fetch):
    outcome = run_fetch(repository.uri("/elsewhere"), repository.environment)
    assert f"{repository.uri()}/elsewhere: nothing is stored there (404); check the path" in outcome.message


def test_a_repository_that_does_not_exist_is_named(mirror, run_fetch):
    outcome = run_fetch("hf://acme/other", {"HF_ENDPOINT": mirror[0]})
    assert "hf://acme/other: no such model, or a private one (401 RepoNotFound); check its name" in outcome.message
    assert "it was read anonymously; name a Secret with HF_TOKEN in credentialsSecretName" in outcome.message


@dataclass
class Hub:
    """Answers as huggingface.co does; its LFS files are at `store`, another server."""

    files: dict
    private: bool = False
    store: str = ""
    page: int = 2
    """Entries of one page of a listing."""
    refusals: list = field(default_factory=list)
    """Answers to give before the real ones."""
    seen: list = field(default_factory=list)
    damage: dict = field(default_factory=dict)
    """What the other server sends in place of a file."""

    def __call__(self, request):
        self.seen.append(request)
        if self.refusals:
            return self.refusals.pop(0)
        url = urllib.parse.urlsplit(request.path)
        if self.private and request.headers["Authorization"] != f"Bearer {TOKEN}":
            return Answer(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        kind, _, rest = url.path.removeprefix("/").partition("/")
        if kind == "api":
            return self._api(rest.removeprefix("models/acme/net"), dict(urllib.parse.parse_qsl(url.query)))
        revision, _, path = url.path.removeprefix("/acme/net/resolve/").partition("/")
        body = self.files.get(urllib.parse.unquote(path))
        if revision not in {"main", COMMIT} or body is None:
            return Answer(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        tag = {"X-Repo-Commit": COMMIT, "ETag": f'"{oid(body)}"'}
        if len(body) < 1000:
            return Answer(200, body, tag)
        linked = {"X-Linked-Size": str(len(body)), "X-Linked-ETag": f'"{sha256(body)}"'}
        return Answer(302, b"", tag | linked | {"Location": f"{self.store}/{sha256(body)}?signature=hunter2"})

    def _api(self, rest, query):
        if rest in {"", "/revision/main", f"/revision/{COMMIT}"}:
            names = [{"rfilename": path} for path in self.files]
            found = {"id": "acme/net", "modelId": "acme/net", "sha": COMMIT, "private": self.private, "siblings": names}
            return Answer(200, json.dumps(found | {"tags": [], "downloads": 0, "likes": 0}).encode())
        if not rest.startswith("/tree/"):
            return Answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        entries = [self._entry(path, body) for path, body in self.files.items()]
        start = int(query.get("cursor", 0))
        following = f"/api/models/acme/net{rest}?{urllib.parse.urlencode(query | {'cursor': start + self.page})}"
        headers = {"Link": f'<http://{self.host}{following}>; rel="next"'} if start + self.page < len(entries) else {}
        return Answer(200, json.dumps(entries[start : start + self.page]).encode(), headers)

    @property
    def host(self):
        return self.seen[-1].headers["Host"]

    @staticmethod
    def _entry(path, body):
        found = {"type": "file", "path": path, "size": len(body), "oid": oid(body)}
        if len(body) >= 1000:
            found["lfs"] = {"oid": sha256(body), "size": len(body), "pointerSize": 130}
        return found

    def stored(self, request):
        """Answer as the server of the LFS files."""
        self.seen.append(request)
        name = urllib.parse.urlsplit(request.path).path.removeprefix("/")
        whole = next(body for body in self.files.values() if sha256(body) == name)
        whole = self.damage.get(whole, whole)
        if asked := request.headers["Range"]:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            part = whole[int(first) : int(last or len(whole)) + 1]
            span = f"bytes {first}-{int(first) + len(part) - 1}/{len(whole)}"
            return Answer(206, part, {"Content-Range": span, "ETag": f'"{name}"'})
        return Answer(200, whole, {"ETag": f'"{name}"', "Accept-Ranges": "bytes"})


def oid(body):
    return hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest()


@contextlib.contextmanager
def hub(files, **options):
    found = Hub(files, **options)
    with answering(found.stored) as store, answering(found) as port:
        found.store = f"http://127.0.0.1:{store}"
        yield found, {"HF_ENDPOINT": f"http://127.0.0.1:{port}"}


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(web, "LONGEST_WAIT_SECONDS", 0.0)


def test_a_private_model_is_read_with_the_token_as_the_hubs_client_reads_it(run_fetch, packages, tmp_path):
    files = {"model.onnx": MODEL, "labels.txt": b"cat", "a b/c.txt": b"spaced", "big/weights": MODEL[::-1]}
    with hub(files, private=True) as (_, environment):
        outcome = run_fetch("hf://acme/net@main", environment | {"HF_TOKEN": TOKEN})
        assert {path.removeprefix("1/"): body for path, body in outcome.files().items()} == files
        assert (files, COMMIT) == client_of_the_hub(packages, environment["HF_ENDPOINT"], tmp_path, "acme/net", TOKEN)
    assert TOKEN not in outcome.log + outcome.message
    assert "hunter2" not in outcome.log + outcome.message


def test_the_token_is_not_sent_to_the_server_that_holds_the_files(run_fetch):
    with hub({"model.onnx": MODEL}, private=True) as (found, environment):
        assert run_fetch("hf://acme/net", environment | {"HF_TOKEN": TOKEN}).code == 0
        store = found.store.removeprefix("http://")
    sent = {request.headers["Authorization"] for request in found.seen if request.headers["Host"] == store}
    assert sent == {None}


def test_a_large_file_arrives_in_parts_and_whole(run_fetch):
    with hub({"1/model.onnx": HUGE, "1/labels.txt": b"cat"}) as (found, environment):
        outcome = run_fetch("hf://acme/net", environment)
    assert outcome.files() == {"1/model.onnx": HUGE, "1/labels.txt": b"cat"}
    assert len({request.headers["Range"] for request in found.seen if request.headers["Range"]}) == 4


def test_a_private_model_without_a_token_blames_no_secret(run_fetch):
    with hub({"model.onnx": MODEL}, private=True) as (_, environment):
        message = run_fetch("hf://acme/net", environment).message
    assert "no such model, or a private one (401 RepoNotFound)" in message
    assert "in the Secret" not in message


@pytest.mark.parametrize("token", ["hunter2 hunter2", "hunter2\nhunter2", "hunter\u00fc2", "hunter2\x01"])
def test_a_token_that_is_none_is_refused_without_repeating_it(run_fetch, token):
    outcome = run_fetch("hf://acme/net", {"HF_ENDPOINT": "https://hub.example.com", "HF_TOKEN": token})
    assert "HF_TOKEN in the Secret is not one token; put only the token there" in outcome.message
    assert token not in outcome.message + outcome.log


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(403, b"{}", {"X-Error-Code": "GatedRepo"}), "access denied (403 GatedRepo); let the account of the"),
        (Answer(401, b"{}"), "access denied (401); let the account of the token in the Secret read it"),
        (Answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"}), "no such branch, tag or commit (404 Revision"),
        (Answer(404, b"{}", {"X-Error-Code": f"</a> {TOKEN}"}), "not found (404); check the path"),
        (Answer(200, b"<html>"), "the server names no commit; is HF_ENDPOINT a hub of models?"),
        (Answer(200, b'{"sha": "../../etc"}'), "the server names no commit; is HF_ENDPOINT a hub of models?"),
    ],
)
def test_what_the_hub_refuses_is_told_in_its_words(run_fetch, answer, words):
    with hub({"model.onnx": MODEL}, refusals=[answer]) as (_, environment):
        outcome = run_fetch("hf://acme/net", environment | {"HF_TOKEN": TOKEN})
    assert outcome.message.startswith(f"FetchFailed: hf://acme/net: {words}")
    assert TOKEN not in outcome.message + outcome.log


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_is_busy_is_asked_again(run_fetch, no_pauses, status):
    busy = Answer(status, b"", {"Retry-After": "3600"})
    with hub({"model.onnx": MODEL}, refusals=[busy, busy]) as (_, environment):
        outcome = run_fetch("hf://acme/net", environment)
    assert (outcome.code, outcome.log.count(f"the server answered {status}; attempt")) == (0, 2)


def test_a_hub_that_stays_busy_is_named(run_fetch, no_pauses):
    with hub({"model.onnx": MODEL}, refusals=[Answer(429)] * transfer.ATTEMPTS) as (_, environment):
        outcome = run_fetch("hf://acme/net", environment)
    assert "hf://acme/net: the server answered 429; gave up after 7 attempts in a row" in outcome.message


def test_redirects_without_end_are_named(run_fetch):
    again = Answer(302, b"", {"Location": "/again"})
    with hub({"model.onnx": MODEL}, refusals=[again] * 20) as (_, environment):
        outcome = run_fetch("hf://acme/net", environment)
    assert "it redirects more than 10 times; name the final address" in outcome.message


def test_a_redirect_to_a_metadata_address_is_never_followed(run_fetch):
    away = Answer(302, b"", {"Location": "http://169.254.169.254/latest"})
    with hub({"model.onnx": MODEL}, refusals=[away]) as (_, environment):
        outcome = run_fetch("hf://acme/net", environment)
    assert "resolves to 169.254.169.254, a link-local or metadata address: never allowed" in outcome.message


def test_other_content_than_the_listed_one_is_refused_and_fetched_anew_by_the_next_attempt(run_fetch):
    with hub({"model.onnx": MODEL}, damage={MODEL: MODEL[::-1]}) as (found, environment):
        outcome = run_fetch("hf://acme/net", environment)
        assert (
            f"model.onnx: what arrived has the SHA-256 {sha256(MODEL[::-1])}, the store lists it with"
            in outcome.message
        )
        assert not outcome.model.exists()
        found.damage.clear()
        assert run_fetch("hf://acme/net", environment).files() == {"1/model.onnx": MODEL}


def test_a_file_that_ends_too_early_is_asked_for_again_and_named(run_fetch, no_pauses):
    with hub({"model.onnx": MODEL}, damage={MODEL: MODEL[:-10]}) as (_, environment):
        outcome = run_fetch("hf://acme/net", environment)
    assert "the connection ended 10 bytes too early; gave up after 7 attempts in a row" in outcome.message


def test_a_list_of_files_that_goes_on_elsewhere_is_refused(run_fetch):
    elsewhere = Answer(
        200, b'[{"type": "file", "path": "x", "size": 1, "oid": "1"}]', {"Link": '<https://x.example/>; rel="next"'}
    )
    with hub({"model.onnx": MODEL}) as (found, environment):
        found.refusals = [found._api("", {}), elsewhere]
        outcome = run_fetch("hf://acme/net", environment | {"HF_TOKEN": TOKEN})
    assert "the list of files goes on at another server; set HF_ENDPOINT to that one" in outcome.message


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a\\b", "x\0y"])
def test_a_name_that_leads_out_of_the_folder_is_refused(run_fetch, path):
    with hub({path: b"x", "model.onnx": MODEL}) as (_, environment):
        outcome = run_fetch("hf://acme/net", environment)
    assert "holds the name" in outcome.message
    assert outcome.code == 1


def test_an_endpoint_with_plain_http_is_only_for_private_addresses(run_fetch):
    environment = {"HF_ENDPOINT": "http://hub.example.com", "TRITONFLEET_FETCH_ALLOW_PRIVATE": "false"}
    outcome = run_fetch("hf://acme/net", environment)
    assert "HF_ENDPOINT names hub.example.com over plain http" in outcome.message
