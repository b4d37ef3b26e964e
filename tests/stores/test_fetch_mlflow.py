"""mlflow:// sources against a tracking server of MLflow, whose files are its own or in a bucket."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devcluster.host import pinned_package
from devcluster.progress import Progress
from tests.ports import free_port
from tests.stores.servers import HUGE, MODEL, Answer, Door, answering, serving
from tritonfleet.fetch import transfer

TOKEN = "mlflow-test-token-0123456789"
ONNX = b"flavors:\n  onnx: {data: model.onnx, onnx_version: 1.20.0}\n  python_function: {loader_module: mlflow.onnx}\n"
LOGGED = {
    "MLmodel": ONNX,
    "model.onnx": MODEL,
    "model.onnx.data": MODEL[::-1],
    "requirements.txt": b"onnx",
    "conda.yaml": b"name: env",
    "metadata/MLmodel": ONNX,
}
SERVED = {"1/model.onnx": MODEL, "1/model.onnx.data": MODEL[::-1]}


@dataclass
class Registry:
    """MLflow's registry of models, and one model in it."""

    endpoint: str
    environment: dict
    name: str

    def send(self, path, body=None, method="POST"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}/api/2.0/{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read() or b"{}")

    def put(self, files, source=None):
        """Register a version of the files; return its number."""
        run = {}
        if source is None:
            # The server takes its own artifacts only from a run that has them.
            info = self.send("mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
            source, run = f"{info['artifact_uri']}/model", {"run_id": info["run_id"]}
            folder = source.removeprefix("mlflow-artifacts:/")
            for path, body in files.items():
                self.send(f"mlflow-artifacts/artifacts/{folder}/{urllib.parse.quote(path)}", body, "PUT")
        found = self.send("mlflow/model-versions/create", {"name": self.name, "source": source, **run})
        self.versions.append(found["model_version"]["version"])
        return self.versions[-1]

    versions: list = field(default_factory=list)

    def alias(self, alias, version):
        body = {"name": self.name, "alias": alias, "version": version}
        self.send("mlflow/registered-models/alias", body)

    def uri(self, rest="@champion"):
        return f"mlflow://models:/{self.name}{rest}"

    @property
    def secret(self):
        return {"MLFLOW_TRACKING_URI": self.endpoint}


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory):
    root, port = tmp_path_factory.mktemp("mlflow"), free_port()
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    packages = os.environ | quiet | {"PYTHONPATH": str(pinned_package("mlflow-skinny", Progress()))}
    stored = ("--backend-store-uri", f"sqlite:///{root}/mlflow.db", "--artifacts-destination", root / "artifacts")
    run = ("-c", "from mlflow.cli import cli; cli()", "server", "--workers", "1", "--host", "127.0.0.1")
    with serving(sys.executable, *run, "--port", str(port), *stored, port=port, environment=packages):
        yield f"http://127.0.0.1:{port}", packages


@pytest.fixture
def registry(tracking_server, request):
    endpoint, packages = tracking_server
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[-60:]
    found = Registry(endpoint, packages, name)
    found.send("mlflow/registered-models/create", {"name": name})
    return found


def test_an_onnx_model_is_fetched_by_its_alias_which_is_recorded_as_a_version(registry, run_fetch):
    version = registry.put(LOGGED)
    registry.alias("champion", version)
    outcome = run_fetch(registry.uri(), registry.secret)
    assert outcome.files() == SERVED
    assert json.loads(outcome.message)["modelVersion"] == version


def test_a_version_is_fetched_after_its_alias_has_moved_on(registry, run_fetch):
    before = registry.put(LOGGED)
    after = registry.put(LOGGED | {"model.onnx": MODEL[5:]})
    registry.alias("champion", after)
    for rest, version, body in ((f"/{before}", before, MODEL), ("@champion", after, MODEL[5:])):
        outcome = run_fetch(registry.uri(rest), registry.secret)
        assert outcome.files()["1/model.onnx"] == body
        assert json.loads(outcome.message)["modelVersion"] == version


def test_a_large_file_of_the_server_arrives_in_parts_and_whole(registry, run_fetch):
    registry.put({"MLmodel": ONNX, "model.onnx": HUGE})
    assert run_fetch(registry.uri("/1"), registry.secret).files() == {"1/model.onnx": HUGE}


CLIENT = """
import pathlib, sys
import mlflow
endpoint, name, logged, downloaded = sys.argv[1:]
mlflow.set_tracking_uri(endpoint)
client = mlflow.MlflowClient()
run = client.create_run("0")
client.log_artifacts(run.info.run_id, logged, "model")
source = f"{run.info.artifact_uri}/model"
version = client.create_model_version(name, source, run.info.run_id).version
client.set_registered_model_alias(name, "champion", version)
mlflow.artifacts.download_artifacts(f"models:/{name}@champion", dst_path=downloaded)
"""


def test_what_mlflows_own_client_logs_is_fetched_as_the_client_does(registry, run_fetch, tmp_path):
    for path, body in LOGGED.items():
        (tmp_path / "logged" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "logged" / path).write_bytes(body)
    (tmp_path / "downloaded").mkdir()
    folders = (tmp_path / "logged", tmp_path / "downloaded")
    command = (sys.executable, "-c", CLIENT, registry.endpoint, registry.name, *folders)
    said = subprocess.run(command, env=registry.environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    outcome = run_fetch(registry.uri(), registry.secret)
    downloaded = {
        f"1/{name}": (tmp_path / "downloaded" / name).read_bytes() for name in ("model.onnx", "model.onnx.data")
    }
    assert outcome.files() == downloaded == SERVED


def test_a_version_whose_files_are_in_a_bucket_is_read_with_the_keys_of_the_same_secret(registry, bucket, run_fetch):
    bucket.put({f"runs/7/model/{path}": body for path, body in LOGGED.items()})
    registry.alias("champion", registry.put({}, f"s3://{bucket.name}/runs/7/model"))
    assert run_fetch(registry.uri(), registry.secret | bucket.environment()).files() == SERVED
    forbidden = {"TRITONFLEET_FETCH_ALLOWED_SCHEMES": "mlflow,https"}
    message = run_fetch(
        registry.uri(), registry.secret | bucket.environment(**forbidden, TRITONFLEET_FETCH_MODEL="other")
    ).message
    assert "uses s3://, and the administrator allows only: mlflow, https" in message


def test_a_folder_that_mlflow_does_not_describe_is_any_other_models(registry, run_fetch):
    registry.put({"1/model.onnx": MODEL, "labels.txt": b"cat"})
    assert run_fetch(registry.uri("/1"), registry.secret).files() == {"1/model.onnx": MODEL, "labels.txt": b"cat"}


def test_another_flavor_is_refused_with_what_to_do(registry, run_fetch):
    described = b"flavors:\n  python_function: {loader_module: mlflow.sklearn}\n  sklearn: {pickled_model: model.pkl}\n"
    registry.put({"MLmodel": described, "model.pkl": MODEL})
    message = run_fetch(registry.uri("/1"), registry.secret).message
    assert "version 1 has the flavor sklearn, which Triton cannot serve; convert it to ONNX" in message


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (b"flavors: [", "its MLmodel names no flavors"),
        (b"flavors: 7", "its MLmodel names no flavors"),
        (b"!!python/object/apply:os.system [true]", "its MLmodel names no flavors"),
        (b"flavors: {onnx: {data: other.onnx}}", "there is no other.onnx, which its MLmodel names"),
        (b"flavors: {onnx: {data: ../model.onnx}}", "MLmodel holds the name '../model.onnx'"),
    ],
)
def test_a_description_that_makes_no_sense_is_named(registry, run_fetch, described, words):
    registry.put({"MLmodel": described, "model.onnx": MODEL})
    assert words in run_fetch(registry.uri("/1"), registry.secret).message


def test_an_alias_a_version_and_a_model_that_do_not_exist_are_named(registry, run_fetch):
    registry.put(LOGGED)
    for uri in (registry.uri("@gone"), registry.uri("/7"), "mlflow://models:/no-such-model@champion"):
        message = run_fetch(uri, registry.secret).message
        assert message.startswith(f"FetchFailed: {uri}: no such model, version or alias (4"), message


def test_the_server_has_to_be_named(run_fetch):
    message = run_fetch("mlflow://models:/m@champion", {}).message
    assert "no tracking server is known; name a Secret with MLFLOW_TRACKING_URI in credentialsSecretName" in message


@contextlib.contextmanager
def door(registry, authorization):
    port = int(registry.endpoint.rpartition(":")[2])
    admits = Door(
        port, Answer(401, b'{"error_code": "UNAUTHENTICATED"}'), lambda r: r.headers["Authorization"] == authorization
    )
    with answering(admits) as front:
        yield {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{front}/"}


@pytest.mark.parametrize(
    ("secret", "authorization"),
    [
        ({"MLFLOW_TRACKING_TOKEN": TOKEN}, f"Bearer {TOKEN}"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "pass-word"}, "Basic bWU6cGFzcy13b3Jk"),
    ],
)
def test_the_login_of_the_secret_is_sent_and_never_shown(registry, run_fetch, secret, authorization):
    registry.put(LOGGED)
    with door(registry, authorization) as endpoint:
        outcome = run_fetch(registry.uri("/1"), endpoint | secret)
        denied = run_fetch(registry.uri("/1"), endpoint | {"TRITONFLEET_FETCH_MODEL": "other"})
    assert outcome.files() == SERVED
    assert "access denied (401 UNAUTHENTICATED); it was read anonymously; add MLFLOW_TRACKING_TOKEN" in denied.message
    assert "let the account in the Secret read the model" in denied_with(registry, run_fetch, "wrong-token")
    for hidden in (TOKEN, "pass-word", authorization):
        assert hidden not in outcome.log + outcome.message


def denied_with(registry, run_fetch, token):
    with door(registry, "Bearer other") as endpoint:
        secret = {"MLFLOW_TRACKING_TOKEN": token, "TRITONFLEET_FETCH_MODEL": "third"}
        return run_fetch(registry.uri("/1"), endpoint | secret).message


def answers(*given):
    """Answer with each in turn, and with the last one from then on."""
    left = list(given)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


FOUND = Answer(200, b'{"model_version": {"version": "3", "status": "READY"}}')


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([Answer(200, b"<html>")], "the server does not answer in JSON; is MLFLOW_TRACKING_URI an MLflow server?"),
        ([Answer(200, b"{}")], "the server names no version"),
        ([Answer(200, b'{"model_version": {"version": "../3"}}')], "the server names no version"),
        ([Answer(200, b'{"model_version": {"version": "3", "status": "FAILED"}}')], "version 3 is not ready"),
        ([FOUND, Answer(200, b'{"artifact_uri": "file:///srv/mlruns/1"}')], "are where only the tracking server can"),
        ([FOUND, Answer(200, b'{"artifact_uri": "/srv/mlruns/1"}')], "(a folder of its own); start it with"),
        ([FOUND, Answer(200, b'{"artifact_uri": "mlflow-artifacts://other/1"}')], "its files are with another server"),
        ([FOUND, Answer(200, b'{"artifact_uri": "mlflow-artifacts:/../../etc"}')], "holds the name"),
        ([FOUND, Answer(200, b'{"artifact_uri": "mlflow-artifacts:/1"}'),
          Answer(200, b'{"files": [{"path": "../x", "is_dir": false, "file_size": 1}]}')], "holds the name '../x'"),
        ([FOUND, Answer(200, b'{"artifact_uri": "mlflow-artifacts:/1"}'),
          Answer(200, b'{"files": [{"path": "x", "is_dir": true}]}')], "more than 100000 files or 1000 folders"),
        ([FOUND, Answer(200, b'{"artifact_uri": "mlflow-artifacts:/1"}'), Answer(200, b"{}")],
         "nothing is stored there"),
        ([Answer(302, b"", {"Location": "http://169.254.169.254/"})], "or metadata address: never allowed"),
        ([Answer(503)], "the server answered 503; gave up after 7 attempts in a row"),
        ([Answer(403, b'{"error_code": "PERMISSION_DENIED"}')], "access denied (403 PERMISSION_DENIED)"),
    ],
)  # fmt: skip
def test_a_server_that_makes_no_sense_is_named(run_fetch, monkeypatch, given, words):
    monkeypatch.setattr(transfer, "FIRST_PAUSE_SECONDS", 0.0)
    with answering(answers(*given)) as port:
        outcome = run_fetch("mlflow://models:/m@champion", {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"})
    assert words in outcome.message
    assert not Path(outcome.model).exists()
