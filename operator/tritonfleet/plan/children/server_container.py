"""The container that runs tritonserver."""

from typing import Final

from tritonfleet.api.quantities import canonical_quantity
from tritonfleet.api.server import Server
from tritonfleet.plan.children.lifecycle import PROBE_PERIOD_SECONDS, Lifecycle
from tritonfleet.plan.children.plain import plain
from tritonfleet.plan.children.ports import PORTS, TRITON_HTTP_PORT
from tritonfleet.plan.children.volumes import HOME_PATH, mounts
from tritonfleet.plan.world import Manifest

TRITON: Final = "triton"
_PORTS: Final = [(name, number) for name, number in PORTS.items() if name != "http"]


def server_container(
    server: Server,
    lifecycle: Lifecycle,
    *,
    model_name: str,
    image: str,
    args: list[str],
    reads_claim: bool,
    security: Manifest,
) -> Manifest:
    """Return the container; it never sees the credentials of the model's store."""
    container: Manifest = {
        "name": TRITON,
        "image": image,
        "command": ["tritonserver"],
        "args": args,
        "env": _environment(server),
        "ports": [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in _PORTS],
        "resources": _resources(server),
        "volumeMounts": mounts(
            "models", "home", "tmp", "shm", *(["source"] if reads_claim else []), read_only=frozenset({"models"})
        ),
        "lifecycle": {"preStop": {"sleep": {"seconds": lifecycle.pre_stop}}},
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_probes(lifecycle, model_name),
    }
    if server.image is not None and server.image.pull_policy is not None:
        container["imagePullPolicy"] = str(server.image.pull_policy)
    return container


def _probes(lifecycle: Lifecycle, model_name: str) -> Manifest:
    """Ask for the model, not the server: the server says it is ready while its model is not.

    Both ask Triton itself: it is not to be restarted for a fault of the proxy, which readiness asks.
    """
    return {
        "startupProbe": {
            "httpGet": {"path": f"/v2/models/{model_name}/ready", "port": TRITON_HTTP_PORT},
            "periodSeconds": PROBE_PERIOD_SECONDS,
            "timeoutSeconds": PROBE_PERIOD_SECONDS,
            "failureThreshold": lifecycle.startup_attempts,
        },
        "livenessProbe": {
            "httpGet": {"path": "/v2/health/live", "port": TRITON_HTTP_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
        },
    }


def _environment(server: Server) -> list[Manifest]:
    own = [{"name": "HOME", "value": HOME_PATH}, {"name": "HF_HOME", "value": f"{HOME_PATH}/huggingface"}]
    if server.gpu.count == 0:
        # NVIDIA's images ask for every GPU of the node, and get them where its runtime is the default one.
        own.append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    return own + [plain(variable) for variable in server.env]


def _resources(server: Server) -> Manifest:
    given = server.resources
    gpus = {server.gpu.resource_name: str(server.gpu.count)} if server.gpu.count else {}
    requests = {**_canonical(given.requests if given else {}), **gpus}
    limits = {**_canonical(given.limits if given else {}), **gpus}
    return {name: amounts for name, amounts in (("requests", requests), ("limits", limits)) if amounts}


def _canonical(amounts: dict[str, str]) -> dict[str, str]:
    return {name: canonical_quantity(amount) for name, amount in amounts.items()}
