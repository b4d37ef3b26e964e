"""The CustomResourceDefinition of ModelDeployment."""

import copy
from typing import Any

from tritonfleet.api import names
from tritonfleet.api.base import Schema, structural
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.problems import with_examples
from tritonfleet.api.renames import RENAMES
from tritonfleet.api.status import ModelDeploymentStatus

_UNQUOTABLE = "must be one line"
_SLO_MET = '.status.conditions[?(@.type=="SLOMet")]'
_READY = '.status.conditions[?(@.type=="Ready")]'


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition as plain data."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": ["mdep"],
                "categories": ["tritonfleet"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": _columns(),
                    "schema": {"openAPIV3Schema": _terse(_with_former_names(root_schema()))},
                }
            ],
        },
    }


def root_schema() -> Schema:
    """Return the structural schema of the whole object."""
    found = structural(ModelDeployment)
    status = structural(ModelDeploymentStatus)
    # A fresh object counts as in progress until the operator has seen it, for tools that read kstatus.
    status["default"] = {"observedGeneration": status["properties"]["observedGeneration"].pop("default")}
    return with_examples(
        {
            **found,
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string", "description": "Version of this schema.", "maxLength": 64},
                "kind": {"type": "string", "description": "ModelDeployment.", "maxLength": 64},
                "metadata": {"type": "object"},
                "spec": found["properties"]["spec"],
                "status": status,
            },
        }
    )


def _with_former_names(root: Schema) -> Schema:
    """Add each former name as a property that is always rejected."""
    for rename in RENAMES:
        parent: Schema = root
        for name in rename.parent.split("."):
            parent = parent["properties"][name]
        parent["properties"][rename.old] = {
            "description": f"Renamed to `{rename.new}`; rejected.",
            **copy.deepcopy(rename.schema),
            "x-kubernetes-validations": [{"message": rename.message, "rule": "false"}],
        }
    return root


def _terse(node: Any) -> Any:
    """Omit defaults of Kubernetes and redundant messages: the definition must stay small.

    A rule's `message` beside its `messageExpression` is only read when that has a line break or is too long, since the
    text that it quotes has or is.
    """
    if isinstance(node, list):
        return [_terse(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _terse(value) for key, value in node.items() if (key, value) != ("x-kubernetes-list-type", "atomic")}
    for rule in kept.get("x-kubernetes-validations", ()):
        if "messageExpression" in rule:
            rule.pop("message")
            rule.update({"message": _UNQUOTABLE} if kept.get("type", "string") == "string" else {})
    return kept


def _columns() -> list[dict[str, Any]]:
    return [
        _column("Ready", f"{_READY}.status", "Whether all replicas of the spec's revision are serving."),
        _column("Reason", f"{_READY}.reason", "Why it is ready or not."),
        _column("Replicas", ".status.replicas", "Pods of the serving revision.", kind="integer"),
        _column("Stable", ".status.revision.stable", "The stable revision."),
        _column("Canary", ".status.rollout.canary", "The revision that is being rolled out."),
        _column("Weight", ".status.rollout.weights.applied", "Percent of the traffic to the canary.", kind="integer"),
        _column("P99", ".status.autoscaling.p99", "99th percentile of the latency, if the SLO is about it."),
        _column("SLO", f"{_SLO_MET}.status", "Whether the SLO is met.", wide=True),
        _column("Rate", ".status.autoscaling.observedRate", "Requests per second.", kind="number", wide=True),
        _column("Model", ".spec.model.uri", "URI of the model's files.", wide=True),
        _column("Image", ".status.revisions[0].image", "Triton image of the newest revision.", wide=True),
        _column("URL", ".status.url", "HTTP URL of the model within the cluster.", wide=True),
        _column("Message", f"{_READY}.message", "Human-readable message.", wide=True),
        _column("Age", ".metadata.creationTimestamp", "Time since the object was created.", kind="date"),
    ]


def _column(name: str, path: str, description: str, *, kind: str = "string", wide: bool = False) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": 1} if wide else column
