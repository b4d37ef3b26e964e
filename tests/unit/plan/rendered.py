"""Renders a ModelDeployment of which a test says only what it is about."""

from typing import Any

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.objects import Revision, build_revision
from tritonfleet.plan.world import Defaults

DEFAULTS = Defaults(triton_image="nvcr.io/nvidia/tritonserver:26.11-py3", allow_unsafe_image=False, fetch_image="op:1")


def parsed(server: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **spec: Any) -> ModelDeployment:
    return ModelDeployment.parse(
        {
            "apiVersion": "tritonfleet.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "demo", "namespace": "shop", "uid": "uid-1", "generation": 1},
            "spec": {"model": {"uri": "s3://models/demo", **(model or {})}, "server": server or {}, **spec},
        }
    )


def built(
    server: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    defaults: Defaults = DEFAULTS,
    **spec: Any,
) -> Revision:
    return build_revision(parsed(server, model, **spec), defaults)


def pod(server: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = built(server, model, **spec).template["spec"]
    return found


def triton(server: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    containers: list[dict[str, Any]] = pod(server, model, **spec)["containers"]
    return containers[0]


def fetch(model: dict[str, Any] | None = None, defaults: Defaults = DEFAULTS) -> dict[str, Any]:
    containers: list[dict[str, Any]] = built(None, model, defaults).template["spec"]["initContainers"]
    return containers[0]


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}
