"""`tritonfleet render` and `tritonfleet diff`: what the operator makes of a manifest, without a cluster.

Both see a manifest as an operator would whose settings are the `TRITONFLEET_*` variables of this environment, and
before anything has been learned of the model. `render()` prints the objects, or what the fetch step would make of the
configuration with the model's files at hand; `diff()` what a change of a manifest
does: which fields change, which of them start new pods, and the differences of Triton's configuration and of the pods.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import yaml

from tritonfleet import settings
from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import counted
from tritonfleet.cli.manifests import model_deployments, parsed, read_manifest
from tritonfleet.cli.rollout import difference
from tritonfleet.cli.terminal import UsageError, report_error, rows, say
from tritonfleet.errors import InvalidSpec, TritonfleetError
from tritonfleet.fetch import effective_config
from tritonfleet.plan.objects import (
    CONFIG_KEY,
    POD_FIELDS,
    Revision,
    build_revision,
    revision_children,
    shared_children,
)
from tritonfleet.plan.world import Defaults, Manifest
from tritonfleet.triton import schema
from tritonfleet.triton.config import TYPED, companion_config, model_config
from tritonfleet.triton.context import Context, Folder, completion

_ABSENT: Final = "-"


def render(options: SimpleNamespace) -> int:
    """Print the objects of every ModelDeployment, or their Triton configurations; 2 for an invalid one."""
    try:
        defaults = _defaults()
        for document in model_deployments(options.files):
            try:
                deployment = parsed(document.body)
                revision = build_revision(deployment, defaults)
            except InvalidSpec as problem:
                raise UsageError(
                    f"{document.file}:{document.line(str(problem).partition(':')[0])}: {problem}"
                ) from problem
            if options.effective:
                _print_effective(deployment, revision, Path(options.effective), options.output)
            elif options.config:
                say(f"# {deployment.metadata.name}\n{revision.config[CONFIG_KEY].rstrip()}")
                for index, companion in enumerate(deployment.spec.companions):
                    say(f"# companion {companion.name}\n{schema.to_text(companion_config(companion, index)).rstrip()}")
            else:
                _print(list(_objects(deployment, revision, defaults)), options.output)
    except (TritonfleetError, ValueError) as problem:
        return report_error("render", problem)
    return 0


def _defaults() -> Defaults:
    """Return the settings of the environment; what a manifest asks of a gateway is rendered in any case."""
    return replace(settings.from_environment().defaults, gateway_api=True, envoy_policies=True)


def _objects(deployment: ModelDeployment, revision: Revision, defaults: Defaults) -> Iterator[Manifest]:
    """Yield the objects less their owner, which only a cluster can name, and the record, which repeats them."""
    spec = deployment.spec
    least = spec.autoscaling.min_replicas if spec.scaled_by_us and spec.autoscaling is not None else None
    replicas = 0 if spec.suspend else least or spec.declared_replicas
    for manifest in (
        *revision_children(deployment, revision, 1, replicas),
        *shared_children(deployment, {revision.hash: 100}, defaults),
    ):
        if manifest["kind"] != "ControllerRevision":
            metadata = {name: value for name, value in manifest["metadata"].items() if name != "ownerReferences"}
            yield {**manifest, "metadata": metadata}


def _print(manifests: list[Manifest], output: str) -> None:
    if output == "json":
        say(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}, indent=2))
    else:
        say("".join(f"---\n{yaml.safe_dump(each, sort_keys=False)}" for each in manifests).rstrip())


def _print_effective(deployment: ModelDeployment, revision: Revision, folder: Path, output: str) -> None:
    """Print the configuration that Triton would load with the files of a folder, each value with its origin."""
    container = revision.template["spec"]["initContainers"][-1]
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    with TemporaryDirectory() as scratch:
        overlay = Path(scratch) / CONFIG_KEY
        overlay.write_text(revision.config[CONFIG_KEY], "utf-8")
        config, files = effective_config(environment, folder, overlay)
    place = Context(deployment.model_name, folder=Folder({path: file.stat().st_size for path, file in files.items()}))
    completed = schema.merge(config, completion(config, place))
    sources = list(_sources(deployment, revision, config, files.get("config.pbtxt")))
    waiting = iter(schema.leaves(completed))
    lines = schema.to_text(completed).splitlines()
    shown = [
        (line, "" if line.endswith("{") or line.strip() == "}" else _origin(next(waiting), sources)) for line in lines
    ]
    if output == "json":
        values = zip(schema.leaves(completed), [each for each in shown if each[1]], strict=True)
        found = [
            {"field": ".".join(map(str, path)), "value": line.strip().partition(": ")[2], "origin": origin}
            for path, (line, origin) in values
            if not line.strip().startswith("key: ")
        ]
        say(json.dumps(found, indent=2, ensure_ascii=False))
        return
    say(f"# {deployment.metadata.name}")
    say("\n".join(rows([(line, f"# {origin}" if origin else "") for line, origin in shown])))
    for part in ("input", "output"):
        if not getattr(completed, part):
            say(f"# {part}: Triton asks the backend, which reads them from the model where it can")


_Source = tuple[Any, Mapping[str, str]]
"""A configuration, and what the origin of its values is called, by their field of ModelConfig; `""` is for any field.
"""


def _sources(deployment: ModelDeployment, revision: Revision, config: Any, artifact: Path | None) -> Iterator[_Source]:
    """Yield what may have set a value, the last word first."""
    spec = deployment.spec
    if spec.raw_model_config:
        yield schema.parse_json(spec.raw_model_config, "spec.modelConfig"), {"": "spec.modelConfig"}
    named = {} if spec.model.name is not None else {"name": "metadata.name"}
    yield model_config(spec, deployment.model_name), {**TYPED, **named}
    yield schema.parse_text(revision.config[CONFIG_KEY], "the revision"), {"": "spec.slo.loadShedding"}
    if artifact is not None:
        yield schema.parse_text(schema.decoded(artifact.read_bytes()), str(artifact)), {"": artifact.name}
    yield config, {"": "Tritonfleet's default"}


def _origin(path: schema.Path, sources: Sequence[_Source]) -> str:
    for source, origins in sources:
        if schema.says(source, path):
            return origins.get(str(path[0])) or origins[""]
    return "Triton's default"


def diff(options: SimpleNamespace) -> int:
    """Print what a change of a manifest does; 0 if nothing, 1 if it changes something, 2 for wrong input."""
    try:
        defaults = _defaults()
        old, new = read_manifest(options.old), read_manifest(options.new)
        if (old.metadata.name, old.model_name) != (new.metadata.name, new.model_name):
            raise UsageError(
                f"'{old.metadata.name}' serves '{old.model_name}' and '{new.metadata.name}' serves '{new.model_name}':"
                " must be the same, since clients use these names"
            )
        before, after = build_revision(old, defaults), build_revision(new, defaults)
    except (TritonfleetError, ValueError) as problem:
        return report_error("diff", problem)
    changes = list(_changes(_spec(old), _spec(new)))
    if not changes:
        return 0
    pair = (_Side(old, before), _Side(new, after))
    table = [(*map(_shown, change[1:]), _effect(change, pair, defaults)) for change in changes]
    named = [(_named(change.path), *row) for change, row in zip(changes, table, strict=True)]
    say("\n".join(rows([("FIELD", "OLD", "NEW", "EFFECT"), *named])))
    if before.hash == after.hash:
        say(f"\nNo pod is replaced: {counted(len(changes), 'field')} at once.")
        return 1
    say(f"\nNew pods, by {_way(new)}: revision {before.name} is followed by {after.name}.\n")
    say(difference(_record(before, 1), _record(after, 2)).rstrip())
    return 1


class _Change(NamedTuple):
    """A field that differs; None where it is absent."""

    path: tuple[str | int, ...]
    """Names and numbers of list items, below `spec`."""
    old: Any
    new: Any


class _Side(NamedTuple):
    deployment: ModelDeployment
    revision: Revision


def _effect(change: _Change, pair: tuple[_Side, _Side], defaults: Defaults) -> str:
    """Return what one of the changes does, by rendering both manifests with and without it.

    No list of fields says so: whether a field is part of the pods can depend on other fields.
    """
    if _starts_pods(change, pair, defaults):
        return "new pods"
    return "none: it means the same" if change.path[0] in POD_FIELDS else "at once"


def _starts_pods(change: _Change, pair: tuple[_Side, _Side], defaults: Defaults) -> bool:
    found = []
    for side, value in zip(pair, (change.new, change.old), strict=True):
        try:
            deployment = _with(side.deployment, change.path, value)
            found.append(build_revision(deployment, defaults).hash != side.revision.hash)
        except InvalidSpec:
            # The change needs another of the changes.
            continue
    return any(found) if found else pair[0].revision.hash != pair[1].revision.hash


def _with(deployment: ModelDeployment, path: tuple[str | int, ...], value: Any) -> ModelDeployment:
    """Return a deployment in which one field is different."""
    spec = _spec(deployment)
    node = spec
    for part in path[:-1]:
        node = node[part]
    if value is None:
        node.pop(path[-1], None)
    else:
        node[path[-1]] = value
    metadata = deployment.metadata.model_dump(mode="json", by_alias=True)
    return ModelDeployment.parse({"apiVersion": names.API_VERSION, "metadata": metadata, "spec": spec})


def _way(deployment: ModelDeployment) -> str:
    rollout = deployment.spec.rollout
    steps = rollout.canary.steps if rollout.canary is not None else ()
    if steps:
        return f"a canary of {', '.join(f'{step.weight}%' for step in steps)}"
    return {"Recreate": "recreation, with an interruption"}.get(str(rollout.strategy), "a rolling update")


def _spec(deployment: ModelDeployment) -> Any:
    return deployment.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _named(path: tuple[str | int, ...]) -> str:
    return "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _changes(old: Any, new: Any, path: tuple[str | int, ...] = ()) -> Iterator[_Change]:
    """Yield each field that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _changes(old.get(name), new.get(name), (*path, name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _changes(one, other, (*path, index))
    elif old != new:
        yield _Change(path, old, new)


def _shown(value: Any) -> str:
    return _ABSENT if value is None else value if isinstance(value, str) else json.dumps(value)


def _record(revision: Revision, number: int) -> Manifest:
    """Return what `difference()` reads of a ControllerRevision."""
    labels = {names.REVISION_LABEL: revision.hash}
    return {"metadata": {"name": revision.name, "labels": labels}, "revision": number, "data": revision.data}
