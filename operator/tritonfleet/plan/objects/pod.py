"""The pod template of a revision: its containers, its security settings, and where its pods may run.

Built once per revision by `revision.py` and frozen in the ControllerRevision with everything the operator decided;
from then on `manifests.py` puts that copy into the Deployment.
"""

from typing import Final

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment, ModelDeploymentSpec
from tritonfleet.api.server import Server
from tritonfleet.api.workloads import Workloads
from tritonfleet.plan.objects.containers import (
    MODELS_PATH,
    TRITON,
    TRITON_HTTP_PORT,
    Lifecycle,
    claims_of,
    fetch_containers,
    plain,
    proxy_container,
    server_container,
    volumes,
)
from tritonfleet.plan.world import Defaults, Manifest
from tritonfleet.triton.flags import server_args

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
    context: str,
    rate_limited: bool,
    defaults: Defaults,
) -> Manifest:
    """Return the template; quantities are in the API server's canonical form.

    `context` is what the fetch step checks the model's configuration against, as `server_context()` writes it.
    """
    owner, spec, server = deployment.metadata, deployment.spec, deployment.spec.server
    companions = tuple(companion.name for companion in spec.companions)
    security = _pod_security(defaults.workloads.run_as_user)
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
        cache=server.response_cache,
        ipv6=defaults.ip_families[0] == "IPv6",
        user_args=server.args,
        companions=companions,
    )
    claims = claims_of(spec)
    triton = server_container(
        server,
        lifecycle,
        model_name=model_name,
        image=image,
        args=args,
        claims=claims,
        security=_CONTAINER_SECURITY,
    )
    proxy = proxy_container(
        model_name, defaults, server.proxy_resources, _CONTAINER_SECURITY, has_companions=bool(companions)
    )
    pod: Manifest = {
        "terminationGracePeriodSeconds": lifecycle.grace,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security,
        "initContainers": fetch_containers(spec, model_name, context, defaults, _CONTAINER_SECURITY),
        "containers": [triton, proxy],
        "volumes": volumes(
            names.revision_name(owner.name, revision_hash), server, claims, defaults.fetch_ca_config_map
        ),
        **placement(server, owner.name, revision_hash, defaults.workloads),
    }
    if server.service_account_name is not None:
        pod["serviceAccountName"] = server.service_account_name
    pull_secrets = dict.fromkeys((*server.image_pull_secrets, *defaults.workloads.image_pull_secrets))
    if pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in pull_secrets]
    given = {**_identity_labels(spec), **server.pod_labels}
    labels = {**given, **names.revision_labels(owner.name, revision_hash)}
    annotations = {**server.pod_annotations, "kubectl.kubernetes.io/default-container": TRITON}
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod}


def _identity_labels(spec: ModelDeploymentSpec) -> dict[str, str]:
    """Return the label by which Azure's webhook gives a pod the token of its ServiceAccount."""
    if spec.server.service_account_name is None:
        return {}
    without_key = [spec.model.uri] if spec.model.credentials_secret_name is None else []
    others = [companion for companion in spec.companions if companion.credentials_secret_name is None]
    without_key += [companion.uri for companion in others if companion.uri is not None]
    if any(names.source_uri(uri).startswith("az://") for uri in without_key):
        return {"azure.workload.identity/use": "true"}
    return {}


def _pod_security(user: int | None) -> Manifest:
    fixed = {"runAsUser": user, "runAsGroup": user, "fsGroup": user, "fsGroupChangePolicy": "OnRootMismatch"}
    return {
        "runAsNonRoot": True,
        **(fixed if user is not None else {}),
        "seccompProfile": {"type": "RuntimeDefault"},
    }


GPU_PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
GPU_TOLERATION: Final = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
"""The taint that keeps other pods off GPU nodes."""

_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def placement(server: Server, owner_name: str, revision_hash: str, workloads: Workloads) -> Manifest:
    """Return the fields of a pod spec that say where it may run; resources are the container's."""
    fields: Manifest = {
        "nodeSelector": dict(server.node_selector),
        "tolerations": _tolerations(server, workloads),
        "affinity": _affinity(server),
        "topologySpreadConstraints": _topology_spread(server, owner_name, revision_hash),
        "priorityClassName": server.priority_class_name or workloads.priority_class_name,
        "runtimeClassName": server.runtime_class_name,
        "schedulerName": server.scheduler_name,
    }
    return {name: value for name, value in fields.items() if value}


def _tolerations(server: Server, workloads: Workloads) -> list[Manifest]:
    given = [plain(toleration) for toleration in dict.fromkeys((*server.tolerations, *workloads.tolerations))]
    return [*given, GPU_TOLERATION] if server.gpu.count else given


def _affinity(server: Server) -> Manifest:
    """Add the GPU products to each term of the user's node affinity: terms are alternatives."""
    affinity = plain(server.affinity) if server.affinity is not None else {}
    if not server.gpu.count or not server.gpu.product:
        return affinity
    product = {"key": GPU_PRODUCT_LABEL, "operator": "In", "values": list(server.gpu.product)}
    node = affinity.get("nodeAffinity", {})
    terms = node.get(_REQUIRED, {}).get("nodeSelectorTerms", [{"matchExpressions": []}])
    narrowed = [{"matchExpressions": [*term["matchExpressions"], product]} for term in terms]
    return {**affinity, "nodeAffinity": {**node, _REQUIRED: {"nodeSelectorTerms": narrowed}}}


def _topology_spread(server: Server, owner_name: str, revision_hash: str) -> list[Manifest]:
    selector = {"matchLabels": names.serving_selector(owner_name, revision_hash)}
    if not server.topology_spread:
        return [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": selector,
            }
        ]
    return [
        {
            "maxSkew": spread.max_skew,
            "topologyKey": spread.topology_key,
            "whenUnsatisfiable": str(spread.when_unsatisfiable),
            "labelSelector": selector,
        }
        for spread in server.topology_spread
    ]
