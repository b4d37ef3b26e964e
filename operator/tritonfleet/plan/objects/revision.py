"""A revision: everything that its pods are made of, decided once and then frozen.

`build_revision()` renders the spec: Triton's configuration, the proxy's, the pod template, and a hash of what makes two
specs the same revision. `reconcile()` calls it in each pass, and starts a new revision when the hash is not among
those it knows. `revision_from()` reads a revision back from its ControllerRevision.

The hash covers what changes the pods, in a normal form, and nothing that the operator itself decides: its defaults
(the Triton image, the fetch image) and the way it renders are frozen with the revision instead, so that neither an
upgrade of the operator nor a change of its settings rolls a whole fleet. Two specs that mean the same have one hash:
`startupTimeout: 30s` and `30000ms`, or a field that is left out and one that holds its default.

`slo.loadShedding` makes Triton's queue reject requests that would miss the target. Its timeout comes from what has been
learned about the model when the revision is first written: with a target of 100 ms, batches of up to 8, and alpha =
10 ms and beta = 5 ms learned, a request may wait 100 - (10 + 5 x 8) - 2 = 48 ms. Queue sizes are left alone: with a
full queue, Triton 24.10 was observed to start no batch for up to half a second at a time.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment, ModelDeploymentSpec
from tritonfleet.api.quantities import (
    canonical_quantities,
    canonical_quantity,
    duration_seconds,
    duration_text,
    duration_us,
)
from tritonfleet.api.server import Server
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects.containers import CONFIG_KEY, PROXY_KEY, Lifecycle, companion_key, proxy_config
from tritonfleet.plan.objects.pod import pod_template
from tritonfleet.plan.world import Defaults, Manifest
from tritonfleet.triton import images, schema
from tritonfleet.triton.config import companion_config, model_config, of_companion
from tritonfleet.triton.context import Member
from tritonfleet.triton.flags import has_cache, limits_rate
from tritonfleet.triton.images import Image
from tritonfleet.triton.schema import ModelConfig, largest_batch
from tritonfleet.triton.validation import problems, refuse_problems


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of the pods of a ModelDeployment."""

    hash: str
    name: str
    config: dict[str, str]
    """The data of its ConfigMap: the configuration of the model and of the proxy."""
    template: Manifest
    """The pod template."""
    data: Manifest
    """All of the above in the form of the ControllerRevision."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned about one replica; None where nothing was."""

    alpha_seconds: float | None = None
    beta_seconds: float | None = None
    """A batch of b takes alpha + beta b."""


UNLEARNED: Final = Learned()


def build_revision(deployment: ModelDeployment, defaults: Defaults, learned: Learned = UNLEARNED) -> Revision:
    """Return the revision of the spec; raises InvalidSpec for what Triton or the operator would reject.

    What was learned about the model is not part of the hash: learning more starts no rollout.
    """
    spec, owner = deployment.spec, deployment.metadata
    model_name = deployment.model_name
    config = model_config(spec, model_name)
    shed_load(config, spec, learned)
    mounts = [mount.mount_path for mount in spec.server.volume_mounts]
    companions = {each.name: companion_config(each, index) for index, each in enumerate(spec.companions)}
    members = {name: _known_of(each) for name, each in companions.items()}
    texts = {companion_key(name): schema.to_text(each) for name, each in companions.items()}
    groups = [group for each in (config, *companions.values()) for group in each.instance_group]
    rate_limited = any(group.HasField("rate_limiter") for group in groups) or limits_rate(spec.server.args)
    cached = spec.server.response_cache is not None or has_cache(spec.server.args)
    image = image_of(deployment, defaults)
    context = images.server_context(
        image, gpus=spec.server.gpu.count, server_has_cache=cached, rate_limited=rate_limited, mounts=mounts
    )
    known = images.read_server_context(context)
    refuse_problems(problems(config, model_name=model_name, partial=True, members=members, **known))
    if companions:
        _refuse_companions(companions, members | {model_name: _known_of(config)}, context)
    if spec.server.priority_class_name is not None or spec.server.runtime_class_name is not None:
        defaults.workloads.refuse_classes(spec.server)
    normal = normalized_spec(spec)
    revision_hash = hash_spec(normal)
    template = pod_template(
        deployment,
        revision_hash,
        model_name=model_name,
        rate_limited=rate_limited,
        image=str(image),
        context=context,
        defaults=defaults,
    )
    files = {
        CONFIG_KEY: schema.to_text(config),
        **texts,
        PROXY_KEY: proxy_config(
            Lifecycle.of(spec.server), defaults.ip_families, (model_name, *members) if members else ()
        ),
    }
    data = {"format": FORMAT, "spec": normal, "config": files, "template": template}
    return Revision(revision_hash, names.revision_name(owner.name, revision_hash), files, template, data)


def _known_of(config: ModelConfig) -> Member:
    """Return what an ensemble can be checked against: its tensors only if the spec says whether they are batched."""
    if config.HasField("max_batch_size"):
        return Member(config)
    known = schema.merge(config, schema.empty())
    known.ClearField("input")
    known.ClearField("output")
    return Member(known)


def _refuse_companions(companions: Mapping[str, ModelConfig], everyone: Mapping[str, Member], context: str) -> None:
    """Raise InvalidSpec for a companion that Triton would reject, in the words of its own fields."""
    known = images.read_server_context(context)
    for index, (name, config) in enumerate(companions.items()):
        try:
            refuse_problems(problems(config, model_name=name, partial=True, members=everyone, **known))
        except InvalidSpec as problem:
            raise InvalidSpec(of_companion(str(problem), index)) from problem


def revision_from(controller_revision: Manifest) -> Revision:
    """Read a revision from its ControllerRevision; raises InvalidSpec for an unknown format."""
    metadata, data = controller_revision["metadata"], controller_revision.get("data") or {}
    if data.get("format") != FORMAT:
        raise InvalidSpec(
            f"ControllerRevision '{metadata['name']}' has format {data.get('format')}, "
            f"but this operator reads format {FORMAT}: upgrade the operator"
        )
    revision_hash = metadata["labels"][names.REVISION_LABEL]
    return Revision(revision_hash, metadata["name"], data["config"], data["template"], data)


def image_of(deployment: ModelDeployment, defaults: Defaults) -> Image:
    """Return the image of the spec, completed by the operator's; raises InvalidSpec if it is unsafe."""
    server, default = deployment.spec.server, Image.parse(defaults.triton_image)
    given = server.image
    image = default
    if given is not None and (given.repository or given.tag or given.digest):
        image = Image(given.repository or default.repository, given.tag, given.digest)
    allow_unsafe = server.allow_unsafe_image or defaults.allow_unsafe_image
    images.refuse_unsafe(image, allow_unsafe=allow_unsafe, backend=deployment.spec.model.backend)
    return image


FORMAT: Final = 1
"""Raised when the normal form changes; it is part of the hash."""

HASH_LENGTH: Final = 10

_POD_AFFECTING: Final = {"model", "batching", "instances", "raw_model_config", "companions", "server"}
POD_FIELDS: Final = frozenset(ModelDeploymentSpec.model_fields[name].alias or name for name in _POD_AFFECTING)
"""Fields of the spec that pods are made of, as they are written."""


def normalized_spec(spec: ModelDeploymentSpec) -> Manifest:
    """Return the part of the spec that changes the pods, so that specs that mean the same are equal.

    Fields that hold their default are left out: a field that a later version adds changes no hash.
    """
    found = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=_POD_AFFECTING)
    for path, canonical in _CANONICAL.items():
        _rewrite(found, path, canonical)
    server = found.get("server", {})
    for name, default in _SERVER_DEFAULTS.items():
        if server.get(name) == default:
            del server[name]
    for parent, optional in ((server, ("affinity", "image", "resources")), (found, ("batching", "server"))):
        for name in optional:
            if not parent.get(name, True):
                del parent[name]
    if spec.slo is not None and spec.slo.load_shedding and spec.slo.latency is not None:
        # The former name of `loadShedding`: it is part of the hash, and a rename must start no rollout.
        found["shedLate"] = {"target": duration_us(spec.slo.latency.target)}
    return found


def hash_spec(normal: Manifest) -> str:
    """Return ten hexadecimal digits for a normalized spec, independent of the order of its keys."""
    canonical = json.dumps({"format": FORMAT, "spec": normal}, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()[:HASH_LENGTH]


_CANONICAL: Final[dict[tuple[str, ...], Callable[[Any], Any]]] = {
    ("batching", "dynamic", "maxQueueDelay"): duration_us,
    ("batching", "dynamic", "queueTimeout"): duration_us,
    ("batching", "dynamic", "priorityPolicies", "*", "queueTimeout"): duration_us,
    ("batching", "sequence", "maxSequenceIdle"): duration_us,
    ("batching", "sequence", "direct", "maxQueueDelay"): duration_us,
    ("batching", "sequence", "oldest", "maxQueueDelay"): duration_us,
    ("companions", "*", "batching", "dynamic", "maxQueueDelay"): duration_us,
    ("server", "startupTimeout"): duration_us,
    ("server", "drainTimeout"): duration_us,
    ("server", "grpcMaxConnectionAge"): duration_us,
    ("server", "sharedMemory"): canonical_quantity,
    ("server", "resources", "requests"): canonical_quantities,
    ("server", "resources", "limits"): canonical_quantities,
    ("server", "fetchResources", "requests"): canonical_quantities,
    ("server", "fetchResources", "limits"): canonical_quantities,
    ("server", "proxyResources", "requests"): canonical_quantities,
    ("server", "proxyResources", "limits"): canonical_quantities,
    ("server", "responseCache", "local", "size"): canonical_quantity,
    ("server", "volumes", "*", "emptyDir", "sizeLimit"): canonical_quantity,
}
"""The normal form of values that can be written in several ways; `*` is every list item."""


def _rewrite(node: Any, path: tuple[str, ...], canonical: Callable[[Any], Any]) -> None:
    head, *rest = path
    if head == "*":
        for item in node:
            _rewrite(item, tuple(rest), canonical)
    elif head in node and rest:
        _rewrite(node[head], tuple(rest), canonical)
    elif head in node:
        node[head] = canonical(node[head])


def readable_spec(normal: Manifest) -> Manifest:
    """Return a normalized spec as a person writes it: durations, kept in microseconds for the hash, with a unit."""
    found: Manifest = json.loads(json.dumps(normal))
    for path, canonical in _CANONICAL.items():
        if canonical is duration_us:
            _rewrite(found, path, duration_text)
    return found


def _server_defaults() -> Manifest:
    found = {"server": Server().model_dump(mode="json", by_alias=True)}
    paths = [path for path in _CANONICAL if path[0] == "server" and len(path) == 2]
    for path in paths:
        _rewrite(found, path, _CANONICAL[path])
    return {path[1]: found["server"][path[1]] for path in paths}


_SERVER_DEFAULTS: Final = _server_defaults()
"""Defaults of the server's durations and sizes in normal form: `30000ms` is the default `30s`."""


NETWORK_SECONDS: Final = 0.002
"""Part of the target, for the way through the proxy and back."""
UNLEARNED_SHARE: Final = 0.5
"""Share of the target that a request may queue for while the time of a batch is unknown."""
LEAST_SHARE: Final = 0.25
"""Share of the target that a request may queue for at least: it has to wait for the running batch."""


def shed_load(config: ModelConfig, spec: ModelDeploymentSpec, learned: Learned) -> None:
    """Give every queue a timeout; raises InvalidSpec if `modelConfig` gives one too."""
    latency = spec.slo.latency if spec.slo is not None and spec.slo.load_shedding else None
    if latency is None:
        return
    timeout = queue_seconds(duration_seconds(latency.target), largest_batch(config), learned)
    batching = config.dynamic_batching
    for policy in (batching.default_queue_policy, *batching.priority_queue_policy.values()):
        if policy.default_timeout_microseconds:
            raise InvalidSpec(
                "spec.modelConfig sets `default_timeout_microseconds`, which `slo.loadShedding` also sets: remove one"
            )
        policy.default_timeout_microseconds = round(timeout * 1e6)
        policy.timeout_action = policy.REJECT


def queue_seconds(target_seconds: float, batch: int, learned: Learned) -> float:
    """Return how long a request may wait if the largest batch is to answer it in time: L - T(batch) - network."""
    if learned.alpha_seconds is None or learned.beta_seconds is None:
        return UNLEARNED_SHARE * target_seconds
    left = target_seconds - (learned.alpha_seconds + learned.beta_seconds * batch) - NETWORK_SECONDS
    return max(LEAST_SHARE * target_seconds, left)
