"""The external metrics API, served by the test through the API server's aggregation, for the real HPA controller."""

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.cluster.world import World, eventually
from tritonfleet.runtime import utc_now

GROUP = "external.metrics.k8s.io"
METRIC = "queue-length"


class ExternalMetrics:
    """One metric with one value, the same for every namespace."""

    def __init__(self) -> None:
        self.value = 0

    def answer(self, path: str) -> dict[str, Any]:
        """Answer discovery and every question for a metric."""
        if "/namespaces/" not in path:
            resource = {"name": METRIC, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{GROUP}/v1beta1",
                "resources": [resource],
            }
        now = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
        item = {"metricName": METRIC, "metricLabels": {}, "timestamp": now, "value": str(self.value)}
        return {"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/v1beta1", "metadata": {}, "items": [item]}


@contextmanager
def served(metrics: ExternalMetrics, folder: Path) -> Iterator[int]:
    """Serve over TLS on loopback; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(metrics.answer(self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    key, certificate = folder / "metrics.key", folder / "metrics.crt"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


async def register(world: World, port: int) -> None:
    """Have the API server hand questions for external metrics on to this port, and wait until it does."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "metrics", "namespace": world.namespace},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    await world.cluster.create(service)
    name = f"v1beta1.{GROUP}"
    registration = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": {
            "group": GROUP,
            "version": "v1beta1",
            "service": {"namespace": world.namespace, "name": "metrics", "port": port},
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
    await world.cluster._call("POST", "APIService", COLLECTION, body=registration)

    async def available() -> bool:
        found = await world.cluster._call("GET", "APIService", f"{COLLECTION}/{name}")
        conditions = (found or {}).get("status", {}).get("conditions", ())
        return any(each["type"] == "Available" and each["status"] == "True" for each in conditions)

    await eventually(available, "the metrics API")


async def unregister(world: World) -> None:
    """Take the metrics API away again: the cluster is shared with other tests."""
    await world.cluster._call("DELETE", "APIService", f"{COLLECTION}/v1beta1.{GROUP}")


COLLECTION = "/apis/apiregistration.k8s.io/v1/apiservices"
