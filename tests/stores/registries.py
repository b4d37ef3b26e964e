"""The registry of the CNCF on loopback, and what tests push to it."""

import base64
import contextlib
import gzip
import hashlib
import http.client
import io
import json
import os
import tarfile
import urllib.parse
from dataclasses import dataclass

from devcluster.gobuild import DISTRIBUTION, build
from devcluster.progress import Progress
from tests.ports import free_port
from tests.stores.servers import serving

PLAIN = {"OCI_PLAIN_HTTP": "true"}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ARTIFACT = {"mediaType": "application/vnd.oci.empty.v1+json"}
IMAGE = {"mediaType": "application/vnd.oci.image.config.v1+json"}
TAR = "application/vnd.oci.image.layer.v1.tar"
TITLE = "org.opencontainers.image.title"


def digest(body):
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def tar(files, *, packed=True):
    """Return an archive; a body of None is a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, body in files.items():
            info = tarfile.TarInfo(path)
            if body is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(body)
            archive.addfile(info, io.BytesIO(body or b""))
    return gzip.compress(out.getvalue(), 1) if packed else out.getvalue()


@dataclass
class Repository:
    """A repository of a registry on loopback."""

    port: int
    name: str
    login: str = ""

    def uri(self, reference=":v1", port=None):
        return f"oci://127.0.0.1:{port or self.port}/{self.name}{reference}"

    def send(self, method, path, body=b"", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            if self.login:
                headers["Authorization"] = f"Basic {base64.b64encode(self.login.encode()).decode()}"
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            assert answer.read() is not None
            assert answer.status < 300, (answer.status, path)
            return answer.headers

    def blob(self, body):
        where = self.send("POST", f"/v2/{self.name}/blobs/uploads/")["Location"]
        where = where.removeprefix(f"http://127.0.0.1:{self.port}")
        self.send("PUT", f"{where}&{urllib.parse.urlencode({'digest': digest(body)})}", body)
        return {"digest": digest(body), "size": len(body)}

    def layer(self, body, kind="application/octet-stream", **annotations):
        return self.blob(body) | {"mediaType": kind, "annotations": annotations}

    def file(self, path, body):
        return self.layer(body, **{TITLE: path})

    def manifest(self, body, reference):
        """Put a manifest; return its digest."""
        text = json.dumps({"schemaVersion": 2, **body}).encode()
        self.send(
            "PUT", f"/v2/{self.name}/manifests/{reference or digest(text)}", text, **{"Content-Type": body["mediaType"]}
        )
        return {"mediaType": body["mediaType"], "digest": digest(text), "size": len(text)}

    def push(self, *layers, tag="v1", config=ARTIFACT):
        found = {"mediaType": MANIFEST, "config": self.blob(b"{}") | config, "layers": list(layers)}
        return self.manifest(found, tag)


@contextlib.contextmanager
def registry(folder, **auth):
    port = free_port()
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": auth,
    }
    file = folder / f"{port}.yaml"
    file.write_text(json.dumps({key: value for key, value in config.items() if value}))
    program = build(DISTRIBUTION, Progress()) / "registry"
    with serving(program, "serve", file, port=port, environment=os.environ | {"OTEL_TRACES_EXPORTER": "none"}):
        yield port
