"""The manifest of `-f`: the ModelDeployment in it, checked as the cluster would check it."""

from collections.abc import Iterator
from typing import Any

import yaml

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.cli.complaint import Complaint, read_bytes
from tritonfleet.errors import InvalidSpec


def read_manifest(path: str) -> ModelDeployment:
    """Return the one ModelDeployment of a YAML or JSON file; raises Complaint naming file, line or field."""
    shown = "standard input" if path == "-" else path
    found = [body for body in _documents(path, shown) if body.get("kind") == names.KIND]
    if len(found) != 1:
        raise Complaint(f"{shown}: must hold one {names.KIND}, has {len(found) or 'none'}")
    body = found[0]
    if body.get("apiVersion") != names.API_VERSION:
        raise Complaint(f"{shown}: apiVersion must be {names.API_VERSION}, not '{body.get('apiVersion')}'")
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        body = {**body, "metadata": {"namespace": "default", **metadata}}
    try:
        deployment = ModelDeployment.parse(body)
    except InvalidSpec as problem:
        raise Complaint(f"{shown}: {problem}") from problem
    known = deployment.spec.model_dump(by_alias=True, exclude_unset=True)
    unknown = next(_unknown(body["spec"], known, "spec"), None)
    if unknown is not None:
        raise Complaint(f"{shown}: {unknown}: there is no such field: kubectl explain modeldeployment.spec lists them")
    return deployment


def _unknown(given: Any, known: Any, path: str) -> Iterator[str]:
    """Yield the path of every field that was given and not understood."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name, value in given.items():
            if name not in known:
                yield f"{path}.{name}"
            else:
                yield from _unknown(value, known[name], f"{path}.{name}")
    elif isinstance(given, list) and isinstance(known, list | tuple):
        for index, (value, understood) in enumerate(zip(given, known, strict=True)):
            yield from _unknown(value, understood, f"{path}[{index}]")


def _documents(path: str, shown: str) -> list[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(read_bytes(path)))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Complaint(f"{shown}: {line}must be YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise Complaint(f"{shown}: must be YAML: {error}") from error
    return [document for document in documents if isinstance(document, dict)]
