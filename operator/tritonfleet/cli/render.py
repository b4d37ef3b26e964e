"""`tritonfleet render` and `tritonfleet diff`: what the operator makes of a manifest, without a cluster.

Both see a manifest as an operator would whose settings are the `TRITONFLEET_*` variables of this environment, and
before anything has been learned of the model. `render()` prints the objects, `diff()` what a change of a manifest
does: which fields change, which of them start new pods, and the differences of Triton's configuration and of the pods.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import yaml

from tritonfleet import settings
from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import counted
from tritonfleet.cli.manifests import model_deployments, parsed, read_manifest
from tritonfleet.cli.rollout import difference
from tritonfleet.cli.terminal import UsageError, report_error, rows, say
from tritonfleet.errors import InvalidSpec, TritonfleetError
from tritonfleet.plan.objects import (
    CONFIG_KEY,
    POD_FIELDS,
    Revision,
    build_revision,
    revision_children,
    shared_children,
)
from tritonfleet.plan.world import Defaults, Manifest

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
            if options.config:
                say(f"# {deployment.metadata.name}\n{revision.config[CONFIG_KEY].rstrip()}")
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
    changes = list(_changes(_spec(old), _spec(new), "spec"))
    if not changes:
        return 0
    rolls = before.hash != after.hash
    table = [(*change, _effect(change[0], rolls)) for change in changes]
    say("\n".join(rows([("FIELD", "OLD", "NEW", "EFFECT"), *table])))
    if not rolls:
        say(f"\nNo pod is replaced: {counted(len(changes), 'field')} at once.")
        return 1
    say(f"\nNew pods, by {_way(new)}: revision {before.name} is followed by {after.name}.\n")
    say(difference(_record(before, 1), _record(after, 2)).rstrip())
    return 1


def _effect(path: str, rolls: bool) -> str:
    field = path.removeprefix("spec.").partition(".")[0].partition("[")[0]
    if field in POD_FIELDS:
        return "new pods" if rolls else "none: it means the same"
    return "at once"


def _way(deployment: ModelDeployment) -> str:
    rollout = deployment.spec.rollout
    steps = rollout.canary.steps if rollout.canary is not None else ()
    if steps:
        return f"a canary of {', '.join(f'{step.weight}%' for step in steps)}"
    return {"Recreate": "recreation, with an interruption"}.get(str(rollout.strategy), "a rolling update")


def _spec(deployment: ModelDeployment) -> Any:
    return deployment.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _changes(old: Any, new: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, old and new value of each field that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _changes(old.get(name), new.get(name), f"{path}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _changes(one, other, f"{path}[{index}]")
    elif old != new:
        yield path, _shown(old), _shown(new)


def _shown(value: Any) -> str:
    return _ABSENT if value is None else value if isinstance(value, str) else json.dumps(value)


def _record(revision: Revision, number: int) -> Manifest:
    """Return what `difference()` reads of a ControllerRevision."""
    labels = {names.REVISION_LABEL: revision.hash}
    return {"metadata": {"name": revision.name, "labels": labels}, "revision": number, "data": revision.data}
