"""Names, labels and annotations of the operator's objects, and those that users may not set."""

import re
from collections.abc import Mapping
from typing import Any, Final

GROUP: Final = "tritonfleet.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "ModelDeployment"
PLURAL: Final = "modeldeployments"

FIELD_MANAGER: Final = "tritonfleet"
STATUS_FIELD_MANAGER: Final = "tritonfleet-status"
PERSON_FIELD_MANAGER: Final = "kubectl-tritonfleet"
"""Field manager of the command line's writes."""

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "tritonfleet"
OWNER_LABEL: Final = f"{GROUP}/modeldeployment"
REVISION_LABEL: Final = f"{GROUP}/revision"
REVISION_NUMBER_ANNOTATION: Final = f"{GROUP}/revision-number"
TRIAL_LABEL: Final = f"{GROUP}/trial-of"
"""On the temporary objects of `tritonfleet tune`, which the operator and the Services do not see."""
SPLIT_ANNOTATION: Final = f"{GROUP}/split"
"""On an HTTPRoute: the weights that the operator wrote, to detect changes by others."""

REVISION_HEADER: Final = "x-tritonfleet-revision"
"""Request header that selects a revision through a gateway; response header with the revision that answered."""

NAME_MAX_LENGTH: Final = 52
"""Service names have at most 63 characters; a revision's is the owner's, a dash and ten hex digits."""


REVISION_NAME: Final = re.compile(r"(.+)-[0-9a-f]{10}")
"""What `revision_name` returns."""


def revision_name(owner: str, revision_hash: str) -> str:
    """Return the name that all objects of one revision share, `<owner>-<hash10>`."""
    return f"{owner}-{revision_hash}"


def request_annotation(verb: str) -> str:
    """Return the annotation of a rollout request, such as `tritonfleet.dev/approve`."""
    return f"{GROUP}/{verb}"


def owner_labels(owner: str) -> dict[str, str]:
    """Return the labels of every child; the operator's watches select on them."""
    return {MANAGED_BY_LABEL: MANAGED_BY, OWNER_LABEL: owner}


def revision_labels(owner: str, revision_hash: str) -> dict[str, str]:
    """Return the labels of a child that belongs to one revision."""
    return {**owner_labels(owner), REVISION_LABEL: revision_hash}


def serving_selector(owner: str, revision_hash: str) -> dict[str, str]:
    """Return the immutable pod selector of one revision."""
    return {OWNER_LABEL: owner, REVISION_LABEL: revision_hash}


def owner_reference(owner: Mapping[str, object]) -> dict[str, object]:
    """Return the controller reference to a ModelDeployment, given its metadata `name` and `uid`."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner["name"],
        "uid": owner["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def shared_metadata(owner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a child that all revisions share; `owner` holds name, namespace and uid.

    It is named like the ModelDeployment, `detector`, and Kubernetes deletes it with that.
    """
    return {
        "name": owner["name"],
        "namespace": owner["namespace"],
        "labels": owner_labels(owner["name"]),
        "ownerReferences": [owner_reference(owner)],
    }


def revision_metadata(owner: Mapping[str, Any], revision_hash: str) -> dict[str, Any]:
    """Return the metadata of a child that belongs to one revision, such as `detector-0123456789`."""
    name = revision_name(owner["name"], revision_hash)
    return {**shared_metadata(owner), "name": name, "labels": revision_labels(owner["name"], revision_hash)}


_AZURE_FOLDER: Final = re.compile(r"(?i:https)://([a-z0-9]{3,24})\.blob\.core\.windows\.net/([^/?#@]+/(?:[^?#]*/)?)")


def source_uri(uri: str) -> str:
    """Return the model's URI by the scheme that reads it: az:// for the https address of a folder of Azure's."""
    folder = _AZURE_FOLDER.fullmatch(uri)
    return f"az://{folder[1]}/{folder[2]}" if folder else uri


OWNED_FLAGS: Final = (
    "--allow-grpc",
    "--allow-http",
    "--allow-metrics",
    "--exit-on-error",
    "--exit-timeout-secs",
    "--grpc-address",
    "--grpc-max-connection-age",
    "--grpc-port",
    "--grpc-restricted-protocol",
    "--help",
    "--http-address",
    "--http-port",
    "--http-restricted-api",
    "--load-model",
    "--log-error",
    "--log-file",
    "--metrics-address",
    "--metrics-port",
    "--model-config-name",
    "--model-control-mode",
    "--model-namespacing",
    "--model-repository",
    "--model-store",
    "--repository-poll-secs",
    "--reuse-grpc-port",
    "--reuse-http-port",
    "--strict-readiness",
)
"""Flags of tritonserver that the operator sets or relies on."""

OWNED_ENVIRONMENT: Final = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HOME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NVIDIA_VISIBLE_DEVICES",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "TMPDIR",
)
"""Environment variables that change which code or which GPUs the server uses."""

RESERVED_ANNOTATION_PREFIXES: Final = ("tritonfleet.dev/", "argocd.argoproj.io/", "kubectl.kubernetes.io/")
"""Annotations that tools use to track ownership; on a child they would make a tool adopt or prune it."""
