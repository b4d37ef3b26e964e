"""Manifests as people keep them: files, folders and standard input with YAML or JSON, of whatever origin.

`read_manifests()` reads untrusted text within limits. `model_deployments()` finds the ModelDeployments among the
objects of files, such as the output of Helm or Kustomize, and `Document.line()` says where in the text a field is.
`read_manifest()` returns the one ModelDeployment of a file, checked as the cluster would. `golden`, `simulate`,
`validate`, `render`, `diff` and `tune` read with them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tritonfleet.api import names
from tritonfleet.api.admission import in_namespace, unknown_fields
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.cli.terminal import UsageError, read_bytes
from tritonfleet.errors import InvalidSpec

MAX_YAML_BYTES: Final = 4 * 1024 * 1024
MAX_YAML_VALUES: Final = 100_000
"""With what each alias stands for counted as often as it is named."""
MAX_YAML_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file."""

    file: str
    body: Any
    node: yaml.Node

    def line(self, path: str) -> int:
        """Return the line, from 1, of the field at a path such as `spec.instances[0].gpus`, or of its parent."""
        node, line, rest = self.node, self.node.start_mark.line, path
        while rest:
            step = _step(node, rest)
            if step is None:
                break
            line, node, rest = step
        return line + 1


def _step(node: yaml.Node, path: str) -> tuple[int, yaml.Node, str] | None:
    """Follow the first part of a path; return its line, its node and the rest of the path."""
    if isinstance(node, yaml.SequenceNode) and (index := re.match(r"\[(\d+)\]\.?", path)):
        position = int(index[1])
        if position < len(node.value):
            return node.value[position].start_mark.line, node.value[position], path[index.end() :]
    if isinstance(node, yaml.MappingNode):
        # A key may hold dots itself, so the longest that fits is meant.
        for key, value in sorted(node.value, key=lambda pair: -len(str(pair[0].value))):
            name = str(key.value)
            if path.startswith(name) and path[len(name) :][:1] in ("", ".", "["):
                return key.start_mark.line, value, path[len(name) :].removeprefix(".")
    return None


def read_manifests(content: str | bytes, shown: str) -> list[Any]:
    """Return the documents of a YAML or JSON text; raises UsageError saying where it is wrong, or too much."""
    return [document.body for document in read_documents(content, shown)]


def read_documents(content: str | bytes, shown: str) -> list[Document]:
    """Return the documents as `read_manifests` does, each with its place in the text.

    A few lines of aliases can stand for more than any memory holds, so what they stand for is counted first.
    """
    if len(content) > MAX_YAML_BYTES:
        raise UsageError(f"{shown}: must be smaller than {MAX_YAML_BYTES >> 20} MiB")
    try:
        for line, values, depth in _counted(yaml.parse(content, Loader=yaml.SafeLoader), shown):
            if depth > MAX_YAML_DEPTH:
                raise UsageError(f"{shown}: line {line}: must not be nested deeper than {MAX_YAML_DEPTH} levels")
            if values > MAX_YAML_VALUES:
                raise UsageError(
                    f"{shown}: line {line}: must not hold more than {MAX_YAML_VALUES:,} values, aliases included"
                )
        return list(_loaded(yaml.SafeLoader(content), shown))
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UsageError(f"{shown}: {where}must be YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{shown}: must be YAML: {error}") from error


def _loaded(loader: yaml.SafeLoader, shown: str) -> Iterator[Document]:
    while loader.check_node():
        node = loader.get_node()
        if node is not None:
            yield Document(shown, loader.construct_document(node), node)


def _counted(events: Iterable[Any], shown: str) -> Iterator[tuple[int, int, int]]:
    """Yield the line of each event of a YAML parser, the values up to it and the depth at it."""
    values = 0
    sizes: dict[str, int] = {}
    within: list[tuple[str | None, int]] = []
    for event in events:
        line, kind = event.start_mark.line + 1, type(event).__name__
        anchor: str | None = getattr(event, "anchor", None)
        if kind == "AliasEvent":
            if anchor not in sizes:
                raise UsageError(f"{shown}: line {line}: the alias '*{anchor}' leads into itself or nowhere")
            values += sizes[anchor]
        elif kind in {"MappingStartEvent", "SequenceStartEvent"}:
            within.append((anchor, values))
            values += 1
        elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
            anchor, before = within.pop()
            sizes |= {anchor: values - before} if anchor else {}
        elif kind == "ScalarEvent":
            values += 1
            sizes |= {anchor: 1} if anchor else {}
        yield line, values, len(within)


def model_deployments(paths: Iterable[str]) -> Iterator[Document]:
    """Yield every ModelDeployment of files, folders (`*.yaml`, `*.yml`, `*.json`) and `-`; raises UsageError."""
    for path in paths:
        files = sorted(_files(Path(path))) if path != "-" and Path(path).is_dir() else [path]
        for file in files:
            shown = "standard input" if file == "-" else str(file)
            yield from (each for each in objects(read_bytes(str(file)), shown) if each.body.get("kind") == names.KIND)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in {".yaml", ".yml", ".json"} and path.is_file())


def objects(content: str | bytes, shown: str) -> Iterator[Document]:
    """Yield the objects of a text, items of Lists among them; raises UsageError."""
    for document in read_documents(content, shown):
        yield from _objects(document)


def _objects(document: Document) -> Iterator[Document]:
    """Yield the object of a document, or the items of a List."""
    body = document.body
    if not isinstance(body, dict):
        return
    if body.get("kind") == "List" and isinstance(body.get("items"), list):
        step = _step(document.node, "items")
        nodes = step[1].value if step is not None else []
        for item, node in zip(body["items"], nodes, strict=True):
            yield from _objects(Document(document.file, item, node))
    else:
        yield document


def read_manifest(path: str) -> ModelDeployment:
    """Return the one ModelDeployment of a YAML or JSON file; raises UsageError naming file, line or field."""
    shown = "standard input" if path == "-" else path
    found = list(model_deployments([path]))
    if len(found) != 1:
        raise UsageError(f"{shown}: must contain one {names.KIND}, has {len(found) or 'none'}")
    try:
        return parsed(found[0].body)
    except InvalidSpec as problem:
        raise UsageError(f"{shown}: {problem}") from problem


def parsed(body: dict[str, Any]) -> ModelDeployment:
    """Return a ModelDeployment of a file; raises InvalidSpec, also for fields that the API does not have."""
    if body.get("apiVersion") != names.API_VERSION:
        raise InvalidSpec(f"apiVersion must be {names.API_VERSION}, not '{body.get('apiVersion')}'")
    deployment = ModelDeployment.parse(in_namespace(body), strict=True)
    unknown = next((path for path in unknown_fields(body) if path.startswith("spec.")), None)
    if unknown is not None:
        raise InvalidSpec(f"{unknown}: unknown field (see kubectl explain mdep.spec)")
    return deployment


def merge_patched(value: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    found = dict(value) if isinstance(value, dict) else {}
    for name, part in patch.items():
        if part is None:
            found.pop(name, None)
        else:
            found[name] = merge_patched(found.get(name), part)
    return found
