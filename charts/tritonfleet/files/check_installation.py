"""Does the API server serve ModelDeployments, and is an operator ready? Run by `helm test`, in a pod."""

import json
import os
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

PATIENCE_SECONDS = 60.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def api_serves_model_deployments() -> str:
    """Ask the API server for the kinds of the group; return what was found, raise if ours is not among them."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = Request(
        f"https://{server}/apis/tritonfleet.dev/v1alpha1",
        headers={"Authorization": "Bearer " + (SERVICE_ACCOUNT / "token").read_text()},
    )
    trust = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
    with urlopen(request, timeout=5, context=trust) as answer:
        kinds = {resource["name"] for resource in json.load(answer)["resources"]}
    if not {"modeldeployments", "modeldeployments/status", "modeldeployments/scale"} <= kinds:
        raise LookupError(f"the API server serves {sorted(kinds)}, but not ModelDeployments with status and scale")
    return "the API server serves ModelDeployments"


def operator_is_ready() -> str:
    """Ask a ready operator how it is; return its answer, raise if none answers 200."""
    with urlopen(os.environ["OPERATOR_URL"] + "/readyz", timeout=5) as answer:
        return f"the operator is ready: {answer.read().decode().strip()}"


def patiently(check: Callable[[], str], deadline: float) -> str:
    """Repeat a check until it returns; after the deadline its error is raised."""
    while True:
        try:
            return check()
        except (OSError, LookupError):
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


deadline = time.monotonic() + PATIENCE_SECONDS
for check in (api_serves_model_deployments, operator_is_ready):
    sys.stdout.write(patiently(check, deadline) + "\n")
