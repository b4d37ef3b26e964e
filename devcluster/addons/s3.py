"""An S3 server for models: versitygw beside the cluster, reached from pods and from the host alike."""

import hashlib
import hmac
import json
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

from devcluster import gobuild
from devcluster.cluster import Cluster
from devcluster.errors import DevclusterError
from devcluster.kube import wait_until
from devcluster.progress import Progress

NAME = "s3"
BUCKET = "models"
REGION = "us-east-1"
_PORT = 9000


@dataclass(frozen=True, slots=True)
class Store:
    """Where the server is, and the keys it was started with."""

    endpoint: str
    access_key: str
    secret_key: str

    def credentials(self) -> dict[str, str]:
        """The environment of an S3 client, as a Secret for `credentialsSecretName` holds it."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
        }

    def create_bucket(self, bucket: str) -> None:
        """Make a bucket; no error if it is there."""
        try:
            self._put(f"/{bucket}", b"")
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise DevclusterError(f"cannot make bucket {bucket}: {error.read().decode()}") from error

    def put(self, key: str, body: bytes) -> None:
        """Store an object; `key` is bucket and path. Raises DevclusterError with the server's words."""
        try:
            self._put("/" + key.lstrip("/"), body)
        except urllib.error.HTTPError as error:
            raise DevclusterError(f"cannot store s3://{key}: {error.read().decode()}") from error

    def answers(self) -> bool:
        """Whether something speaks HTTP at the endpoint."""
        try:
            _opener().open(self.endpoint, timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _put(self, path: str, body: bytes) -> None:
        quoted = urllib.parse.quote(path)
        headers = self._signed("PUT", quoted, body)
        request = urllib.request.Request(self.endpoint + quoted, data=body, method="PUT", headers=headers)  # noqa: S310
        _opener().open(request, timeout=120).close()

    def _signed(self, method: str, path: str, body: bytes) -> dict[str, str]:
        """AWS signature version 4 of a request without a query."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        digest = hashlib.sha256(body).hexdigest()
        host = self.endpoint.removeprefix("http://")
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
        scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
        text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**headers, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}


def ensure(cluster: Cluster, progress: Progress) -> Store:
    """Build and start the server, with a bucket `models`; does nothing if it runs."""
    gobuild.build(gobuild.VERSITYGW, progress)
    store = _store(cluster)
    objects, metadata = (cluster.state.root / "s3" / name for name in ("objects", "metadata"))
    for folder in (objects, metadata):
        folder.mkdir(parents=True, exist_ok=True)
    keys = (f"ROOT_ACCESS_KEY_ID={store.access_key}", f"ROOT_SECRET_ACCESS_KEY={store.secret_key}")
    address = f"{cluster.slot.address}:{_PORT}"
    server = gobuild.VERSITYGW.path("versitygw")
    cluster.registry.ensure(
        NAME,
        # Metadata in files of its own: not every file system has extended attributes.
        cluster.slot.enter("env", *keys, server, "--port", address, "posix", "--sidecar", metadata, objects),
    )
    wait_until("an answering S3 server", lambda: _answers(cluster, store))
    store.create_bucket(BUCKET)
    return store


def start(cluster: Cluster, progress: Progress) -> list[str]:
    """Start the server and say how to use it."""
    store = ensure(cluster, progress)
    return [f"export {name}={value}" for name, value in store.credentials().items()]


def _store(cluster: Cluster) -> Store:
    path = cluster.state.root / "s3-keys.json"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps({"access": "devcluster", "secret": secrets.token_hex(20)}))
    keys = json.loads(path.read_text())
    return Store(f"http://{cluster.slot.address}:{_PORT}", keys["access"], keys["secret"])


def _answers(cluster: Cluster, store: Store) -> bool:
    cluster.registry.require(NAME)
    return store.answers()


def _opener() -> urllib.request.OpenerDirector:
    # No proxy of the environment must stand between us and our own machine.
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
