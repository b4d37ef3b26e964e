"""The pod template of a revision."""

from typing import Final

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import canonical_quantity
from tritonfleet.plan.children.fetch_container import claim, fetch_container
from tritonfleet.plan.children.lifecycle import Lifecycle
from tritonfleet.plan.children.placement import placement
from tritonfleet.plan.children.ports import TRITON_HTTP_PORT
from tritonfleet.plan.children.proxy_container import proxy_container
from tritonfleet.plan.children.server_container import TRITON, server_container
from tritonfleet.plan.children.volumes import MODELS_PATH, volumes
from tritonfleet.plan.world import Defaults, Manifest
from tritonfleet.triton.flags import server_args

_USER: Final = 1000
"""`triton-server` in NVIDIA's images; other users have had trouble with them."""
_POD_SECURITY: Final[Manifest] = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "fsGroup": _USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY: Final[Manifest] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def pod_template(
    deployment: ModelDeployment,
    revision_hash: str,
    *,
    model_name: str,
    image: str,
    rate_limited: bool,
    defaults: Defaults,
) -> Manifest:
    """Return the template; quantities are written as the API server writes them back."""
    owner, model, server = deployment.metadata, deployment.spec.model, deployment.spec.server
    lifecycle = Lifecycle.of(server)
    args = server_args(
        repository=MODELS_PATH,
        model_name=model_name,
        http_port=TRITON_HTTP_PORT,
        owner_uid=owner.uid,
        gpus=server.gpu.count,
        drain_seconds=lifecycle.drain,
        connection_age_seconds=lifecycle.connection_age,
        rate_limited=rate_limited,
        user_args=server.args,
    )
    triton = server_container(
        server,
        lifecycle,
        model_name=model_name,
        image=image,
        args=args,
        reads_claim=claim(model.uri) is not None,
        security=_CONTAINER_SECURITY,
    )
    spec: Manifest = {
        "terminationGracePeriodSeconds": lifecycle.grace,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _POD_SECURITY,
        "initContainers": [fetch_container(model, model_name, defaults, _CONTAINER_SECURITY)],
        "containers": [triton, proxy_container(model_name, defaults, _CONTAINER_SECURITY)],
        "volumes": volumes(
            names.revision_name(owner.name, revision_hash), canonical_quantity(server.shared_memory), claim(model.uri)
        ),
        **placement(server, owner.name, revision_hash),
    }
    if server.service_account_name is not None:
        spec["serviceAccountName"] = server.service_account_name
    if server.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in server.image_pull_secrets]
    annotations = {**server.pod_annotations, "kubectl.kubernetes.io/default-container": TRITON}
    return {
        "metadata": {"labels": names.revision_labels(owner.name, revision_hash), "annotations": annotations},
        "spec": spec,
    }
