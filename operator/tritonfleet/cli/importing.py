"""`tritonfleet import`: ModelDeployments from what people serve with Triton today.

`import_all()` reads Triton model folders, repositories of several models and `config.pbtxt` files, KServe's
InferenceServices with a Triton runtime, and Deployments that run `tritonserver`. It prints one ModelDeployment for each
model on stdout, and what it could not take over on stderr. A model's own `config.pbtxt` stays in force; its batching
and instances are repeated in the manifest, where they can be changed, if that changes nothing now.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import yaml

from tritonfleet.api import names
from tritonfleet.api.admission import in_namespace
from tritonfleet.api.batching import InstanceKind
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.names import OWNED_FLAGS
from tritonfleet.api.quantities import duration_text
from tritonfleet.api.server import GPU_RESOURCE
from tritonfleet.cli.manifests import objects, parsed
from tritonfleet.cli.terminal import UsageError, read_bytes, report_error, say
from tritonfleet.errors import InvalidSpec, TritonfleetError
from tritonfleet.triton import schema
from tritonfleet.triton.config import model_config
from tritonfleet.triton.schema import ModelConfig, parse_text

_CONFIG: Final = "config.pbtxt"
_PLACEHOLDER: Final = "s3://BUCKET/models"
_VERSION: Final = re.compile("[0-9]+")
_POD_FIELDS: Final = (
    "nodeSelector",
    "tolerations",
    "affinity",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "serviceAccountName",
)
"""What `spec.server` calls as a pod spec does."""
_REPOSITORY_FLAG: Final = re.compile(r"--model-(?:repository|store)(?:=|$)")


@dataclass(slots=True)
class Imported:
    """One ModelDeployment, and what a person should know about it."""

    origin: str
    name: str
    spec: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    incomplete: bool = False
    """Whether it cannot serve as it is."""

    @property
    def manifest(self) -> dict[str, Any]:
        """The object, its model's name beside a name that Kubernetes accepts."""
        kubernetes = re.sub("[^a-z0-9]+", "-", self.name.lower()).strip("-")
        kubernetes = (kubernetes if kubernetes[:1].isalpha() else f"model-{kubernetes}")[:52].strip("-")
        model = dict(self.spec["model"])
        if kubernetes != self.name:
            model["name"] = self.name
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": kubernetes},
            "spec": {**self.spec, "model": model},
        }


def import_all(options: SimpleNamespace) -> int:
    """Print what was imported; 1 if something of it cannot serve as it is, 2 if a source cannot be read."""
    try:
        found = [each for source in options.sources for each in _import(source, options)]
        if not found:
            raise UsageError(
                "found no model folder, InferenceService with Triton, or Deployment that runs tritonserver"
            )
    except TritonfleetError as problem:
        return report_error("import", problem)
    for each in found:
        manifest = each.manifest
        try:
            parsed(manifest)
        except InvalidSpec as problem:
            each.notes.append(f"is not valid yet: {problem}")
            each.incomplete = True
        say(f"---\n{yaml.safe_dump(manifest, sort_keys=False)}".rstrip())
        for note in each.notes:
            say(f"{each.origin}: {each.name}: {note}", error=True)
    return 1 if any(each.incomplete for each in found) else 0


def _import(source: str, options: SimpleNamespace) -> Iterator[Imported]:
    path = Path(source)
    if source != "-" and path.is_dir():
        yield from _from_folder(path, options.uri)
    elif path.name == _CONFIG:
        yield _from_model(path.parent, options.uri or f"{_PLACEHOLDER}/{path.resolve().parent.name}")
    else:
        shown = "standard input" if source == "-" else source
        for document in objects(read_bytes(source), shown):
            body = document.body
            if body.get("kind") == "InferenceService":
                yield from _from_inference_service(body, shown, options.model)
            elif body.get("kind") == "Deployment":
                yield from _from_deployment(body, shown, options.model)


def _from_folder(folder: Path, uri: str | None) -> Iterator[Imported]:
    """Yield the model of a folder, or those of a repository of models."""
    if _is_model(folder):
        yield _from_model(folder, uri or f"{_PLACEHOLDER}/{folder.resolve().name}")
        return
    for model in sorted(path for path in folder.iterdir() if path.is_dir() and _is_model(path)):
        yield _from_model(model, f"{(uri or _PLACEHOLDER).rstrip('/')}/{model.name}")


def _is_model(folder: Path) -> bool:
    return (folder / _CONFIG).is_file() or any(
        path.is_dir() and _VERSION.fullmatch(path.name) for path in folder.iterdir()
    )


def _from_model(folder: Path, uri: str) -> Imported:
    origin = str(folder / _CONFIG)
    text = ""
    if (folder / _CONFIG).is_file():
        text = read_bytes(origin).decode(errors="replace")
    config = parse_text(text, origin)
    name = config.name or folder.resolve().name
    found = Imported(origin, name, {"model": {"uri": uri}})
    if _PLACEHOLDER in uri:
        found.notes.append(f"upload the folder and set spec.model.uri, or name its place with --uri; it is {uri} now")
        found.incomplete = True
    if config.platform == "ensemble" or config.HasField("ensemble_scheduling"):
        _add_members(found, folder, config)
    if config.backend:
        found.spec["model"]["backend"] = config.backend
    gpus = max((gpu + 1 for group in config.instance_group for gpu in group.gpus), default=1)
    groups = config.instance_group
    on_cpu = len(groups) > 0 and all(group.kind == group.KIND_CPU for group in groups)
    if on_cpu or gpus > 1:
        found.spec["server"] = {"gpu": {"count": 0 if on_cpu else gpus}}
    for part, value in (("batching", _batching(config)), ("instances", _instances(config))):
        if value:
            _add_if_equal(found, part, value, config)
    return found


def _add_members(found: Imported, folder: Path, ensemble: ModelConfig) -> None:
    """Make the members of an ensemble, and those of ensembles among them, its companions, from the same repository."""
    members: dict[str, None] = {}
    waiting, repository = [ensemble], folder.resolve().parent
    while waiting:
        for step in waiting.pop().ensemble_scheduling.step:
            config = repository / step.model_name / _CONFIG
            if step.model_name not in members and re.fullmatch(r"\w[\w.-]*", step.model_name):
                members[step.model_name] = None
                if config.is_file():
                    waiting.append(parse_text(read_bytes(str(config)).decode(errors="replace"), str(config)))
    found.spec["model"]["uri"] = found.spec["model"]["uri"].rpartition("/")[0]
    found.spec["companions"] = [{"name": name} for name in members]
    found.notes.append(
        f"its members ({', '.join(members)}) are companions in the same server: they need no ModelDeployments of their"
        " own unless clients call them too"
    )
    if missing := [name for name in members if not (repository / name).is_dir()]:
        found.notes.append(
            f"there is no folder of {', '.join(missing)} beside it: add it, or set `uri` of the companion"
        )
        found.incomplete = True


def _add_if_equal(found: Imported, part: str, value: Any, config: ModelConfig) -> None:
    """Repeat a part of the configuration in the spec, unless that would change what Triton gets."""
    spec = {**found.spec, part: value}
    body = {**found.manifest, "spec": spec}
    try:
        deployment = ModelDeployment.parse(in_namespace(body))
        now = schema.effective(config, schema.empty())
        then = schema.effective(config, model_config(deployment.spec, config.name))
    except InvalidSpec:
        return
    for each in (now, then):
        each.ClearField("name")
        for group in each.instance_group:
            group.count = max(1, group.count)
    if now == then:
        found.spec[part] = value
        if "dynamic" in value and not config.dynamic_batching.default_queue_policy.max_queue_size:
            found.notes.append(
                f"its queue had no limit: now it rejects requests beyond {schema.QUEUE_LIMIT:,} (`maxQueueSize`)"
            )


def _batching(config: ModelConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if config.HasField("max_batch_size"):
        found["maxBatchSize"] = config.max_batch_size
    if config.HasField("dynamic_batching"):
        dynamic = config.dynamic_batching
        values = {
            "maxQueueDelay": duration_text(dynamic.max_queue_delay_microseconds)
            if dynamic.max_queue_delay_microseconds
            else None,
            "preferredBatchSizes": list(dynamic.preferred_batch_size) or None,
            "preserveOrdering": dynamic.preserve_ordering or None,
            "priorityLevels": dynamic.priority_levels or None,
            "defaultPriority": dynamic.default_priority_level or None,
            **_queue(dynamic.default_queue_policy),
        }
        found["dynamic"] = {name: value for name, value in values.items() if value is not None}
    return found


def _queue(policy: ModelConfig) -> dict[str, Any]:
    return {
        "maxQueueSize": policy.max_queue_size or None,
        "timeoutAction": "Delay" if policy.timeout_action == policy.DELAY else None,
        "queueTimeout": duration_text(policy.default_timeout_microseconds)
        if policy.default_timeout_microseconds
        else None,
        "allowTimeoutOverride": policy.allow_timeout_override or None,
    }


def _instances(config: ModelConfig) -> list[dict[str, Any]]:
    kinds = {f"KIND_{kind.upper()}": str(kind) for kind in InstanceKind}
    found = []
    for group in config.instance_group:
        values = {
            "kind": kinds[group.Kind.Name(group.kind)],
            "count": group.count or None,
            "gpus": list(group.gpus) or None,
            "profile": list(group.profile) or None,
            "passive": group.passive or None,
        }
        found.append({name: value for name, value in values.items() if value is not None})
    return found


def _from_inference_service(body: Mapping[str, Any], origin: str, models: tuple[str, ...]) -> Iterator[Imported]:
    """Yield the models of KServe's InferenceService (serving.kserve.io/v1beta1)."""
    spec, name = body.get("spec") or {}, (body.get("metadata") or {}).get("name", "model")
    predictor = spec.get("predictor") or {}
    runtime = predictor.get("triton") or predictor.get("model") or {}
    format_name = (runtime.get("modelFormat") or {}).get("name", "")
    if "triton" not in predictor and "triton" not in f"{runtime.get('runtime', '')} {format_name}":
        return
    repository = runtime.get("storageUri") or _PLACEHOLDER
    for model in models or (name,):
        found = Imported(origin, model, {"model": {"uri": f"{repository.rstrip('/')}/{model}"}})
        if not models:
            found.notes.append(
                f"KServe's storageUri is a repository of models: is '{model}' the folder in it? Otherwise name it with"
                " --model"
            )
        _take_container(found, runtime, runtime.get("args") or ())
        _take_pod(found, predictor)
        if runtime.get("runtimeVersion"):
            found.spec.setdefault("server", {})["image"] = {"tag": str(runtime["runtimeVersion"])}
        _take_replicas(found, predictor)
        if percent := predictor.get("canaryTrafficPercent"):
            found.spec["rollout"] = {"canary": {"steps": [{"weight": percent}]}}
        for other in ("transformer", "explainer"):
            if other in spec:
                found.notes.append(f"its {other} is not taken over")
        if "storage" in runtime:
            found.notes.append(
                "spec.model.uri: `storage` names a place in KServe's storage-config Secret: write its URI"
            )
        yield found


def _take_replicas(found: Imported, predictor: Mapping[str, Any]) -> None:
    least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas")
    found.spec["replicas"] = max(1, least)
    if least == 0:
        found.notes.append("minReplicas is 0, but a model is not scaled to zero: it runs in 1 pod")
    if most is not None and most > least:
        found.notes.append(
            f"KServe scales it up to {most} by `{predictor.get('scaleMetric', 'concurrency')}`: set `slo` and"
            f" `autoscaling: {{minReplicas: {max(1, least)}, maxReplicas: {most}}}` instead of `replicas`"
        )


def _from_deployment(body: Mapping[str, Any], origin: str, models: tuple[str, ...]) -> Iterator[Imported]:
    """Yield the models of a Deployment that runs tritonserver."""
    spec = body.get("spec") or {}
    pod = ((spec.get("template") or {}).get("spec")) or {}
    for container in pod.get("containers") or ():
        words = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
        flags = [flag for word in words for flag in word.split()]
        if not any(flag.rpartition("/")[2] == "tritonserver" for flag in flags) and "triton" not in container["image"]:
            continue
        repository = _repository(flags, container, pod)
        if not models:
            raise UsageError(
                f"{origin}: Deployment '{body['metadata']['name']}' serves the repository {repository}: name each model"
                " in it with --model"
            )
        for model in models:
            found = Imported(origin, model, {"model": {"uri": f"{repository.rstrip('/')}/{model}"}})
            _take_container(found, container, [flag for flag in flags if flag.startswith("--")])
            _take_pod(found, pod)
            image, _, tag = container["image"].partition(":")
            found.spec.setdefault("server", {})["image"] = {"repository": image, **({"tag": tag} if tag else {})}
            found.spec["replicas"] = max(1, spec.get("replicas", 1))
            yield found


def _repository(flags: list[str], container: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    """Return the URI of the model repository; one in a mounted claim as `pvc://`."""
    place = ""
    for index, flag in enumerate(flags):
        if _REPOSITORY_FLAG.match(flag):
            place = flag.partition("=")[2] or (flags[index + 1] if index + 1 < len(flags) else "")
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.get("volumes") or ()
        if "persistentVolumeClaim" in volume
    }
    for mount in container.get("volumeMounts") or ():
        inside = f"{place.rstrip('/')}/".startswith(f"{mount['mountPath'].rstrip('/')}/")
        if inside and mount["name"] in claims:
            below = place.removeprefix(mount["mountPath"].rstrip("/")).strip("/")
            return "/".join(
                part for part in (f"pvc://{claims[mount['name']]}", mount.get("subPath", ""), below) if part
            )
    return place if "://" in place else _PLACEHOLDER


def _take_container(found: Imported, container: Mapping[str, Any], flags: Any) -> None:
    """Take over resources, environment and flags."""
    server: dict[str, Any] = found.spec.setdefault("server", {})
    resources = {kind: dict(amounts) for kind, amounts in (container.get("resources") or {}).items() if amounts}
    gpus = {str(amounts.pop(GPU_RESOURCE)) for amounts in resources.values() if GPU_RESOURCE in amounts}
    server["gpu"] = {"count": int(max(gpus))} if gpus else {"count": 0}
    if kept := {kind: amounts for kind, amounts in resources.items() if amounts}:
        server["resources"] = kept
    for name in ("env", "envFrom"):
        if container.get(name):
            server[name] = container[name]
    kept_flags = [flag for flag in map(str, flags) if "=" in flag and flag.partition("=")[0] not in OWNED_FLAGS]
    kept_flags = [flag for flag in kept_flags if not _REPOSITORY_FLAG.match(flag)]
    if kept_flags:
        server["args"] = list(dict.fromkeys(kept_flags))
    if container.get("volumeMounts"):
        found.notes.append("its volume mounts are not taken over: see spec.server.volumes")


def _take_pod(found: Imported, pod: Mapping[str, Any]) -> None:
    server: dict[str, Any] = found.spec.setdefault("server", {})
    server.update({name: pod[name] for name in _POD_FIELDS if pod.get(name)})
    if secrets := [each["name"] for each in pod.get("imagePullSecrets") or ()]:
        server["imagePullSecrets"] = secrets
