"""The fetch step, run as the container runs it: by its environment, judged by its termination message."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from devcluster.gobuild import VERSITYGW, build
from devcluster.progress import Progress
from tests.fetched import Outcome
from tests.ports import free_port
from tests.stores.registries import Repository, digest, registry
from tests.stores.servers import ACCESS_KEY, SECRET_KEY, serving
from tritonfleet.fetch import main


@pytest.fixture
def run_fetch(tmp_path, capfd):
    """Run the fetch step; return its exit code, its termination message and the model's folder."""
    (tmp_path / "models").mkdir()
    (tmp_path / "overlay.pbtxt").write_text('backend: "onnxruntime"\n')
    log = tmp_path / "termination-log"

    def run(uri, environment):
        log.write_text("")
        settings = {
            "TRITONFLEET_FETCH_URI": uri,
            "TRITONFLEET_FETCH_MODEL": "resnet",
            "TRITONFLEET_FETCH_TARGET": str(tmp_path / "models"),
            "TRITONFLEET_FETCH_CONFIG": str(tmp_path / "overlay.pbtxt"),
            "TRITONFLEET_FETCH_ALLOW_PRIVATE": "true",
        }
        code = main(settings | environment, log)
        return Outcome(code, log.read_text(), capfd.readouterr().out, tmp_path / "models" / "resnet")

    return run


@dataclass
class Bucket:
    """A bucket of a real S3 server: its objects are the files below `folder`."""

    name: str
    endpoint: str
    folder: Path

    def put(self, files):
        for path, body in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)

    def environment(self, **changes):
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            **changes,
        }


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    root = tmp_path_factory.mktemp("s3")
    port = free_port()
    program = build(VERSITYGW, Progress()) / "versitygw"
    keys = ("--access", ACCESS_KEY, "--secret", SECRET_KEY)
    with serving(program, *keys, "--port", f"127.0.0.1:{port}", "--quiet", "posix", "--nometa", root, port=port):
        yield f"http://127.0.0.1:{port}", root


@pytest.fixture
def bucket(s3_server, request):
    endpoint, root = s3_server
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    folder = root / name
    folder.mkdir()
    yield Bucket(name, endpoint, folder)
    shutil.rmtree(folder)


@pytest.fixture
def fetch(bucket, run_fetch):
    """Run the fetch step on a path of the bucket."""

    def run(path, environment=None, **changes):
        return run_fetch(f"s3://{bucket.name}/{path}", (environment or bucket.environment()) | changes)

    return run


@pytest.fixture(scope="session")
def blobs(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="session")
def open_registry(blobs):
    with registry(blobs) as port:
        yield port


@pytest.fixture
def repository(open_registry, request):
    return Repository(open_registry, f"team/{digest(request.node.name.encode())[7:20]}")
