"""A revision: everything that its pods are made of, decided once and then frozen."""

from dataclasses import dataclass

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.children import identity
from tritonfleet.plan.children.configmap import CONFIG_KEY
from tritonfleet.plan.children.lifecycle import Lifecycle
from tritonfleet.plan.children.pod import pod_template
from tritonfleet.plan.children.proxy_container import PROXY_KEY, proxy_config
from tritonfleet.plan.children.shedding import UNLEARNED, Learned, shed_late
from tritonfleet.plan.world import Defaults, Manifest
from tritonfleet.triton import images, schema
from tritonfleet.triton.config import model_config
from tritonfleet.triton.flags import has_cache
from tritonfleet.triton.images import Image
from tritonfleet.triton.validation import problems, refuse_problems


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of the pods of a ModelDeployment."""

    hash: str
    name: str
    config: dict[str, str]
    """What its ConfigMap holds: the configuration of the model and of the proxy."""
    template: Manifest
    """The pod template."""
    data: Manifest
    """All of the above as the ControllerRevision keeps it."""


def build_revision(deployment: ModelDeployment, defaults: Defaults, learned: Learned = UNLEARNED) -> Revision:
    """Return the revision that the spec asks for; raises InvalidSpec for what Triton or we would refuse.

    What has been learned of the model goes into it and not into its hash: knowing better starts no rollout.
    """
    spec, owner = deployment.spec, deployment.metadata
    model_name = deployment.model_name
    config = model_config(spec, model_name)
    shed_late(config, spec, learned)
    refuse_problems(
        problems(
            config,
            model_name=model_name,
            gpus=spec.server.gpu.count,
            server_has_cache=has_cache(spec.server.args),
        )
    )
    image = _image(deployment, defaults)
    normal = identity.normalised(spec)
    revision_hash = identity.revision_hash(normal)
    template = pod_template(
        deployment,
        revision_hash,
        model_name=model_name,
        image=str(image),
        rate_limited=any(group.HasField("rate_limiter") for group in config.instance_group),
        defaults=defaults,
    )
    files = {CONFIG_KEY: schema.to_text(config), PROXY_KEY: proxy_config(Lifecycle.of(spec.server))}
    data = {"format": identity.FORMAT, "spec": normal, "config": files, "template": template}
    return Revision(revision_hash, names.revision_name(owner.name, revision_hash), files, template, data)


def revision_from(controller_revision: Manifest) -> Revision:
    """Read back a revision from its ControllerRevision; raises InvalidSpec if it is not one we wrote."""
    metadata, data = controller_revision["metadata"], controller_revision.get("data") or {}
    if data.get("format") != identity.FORMAT:
        raise InvalidSpec(
            f"ControllerRevision '{metadata['name']}' has format {data.get('format')}, "
            f"this operator reads format {identity.FORMAT}: upgrade the operator"
        )
    revision_hash = metadata["labels"][names.REVISION_LABEL]
    return Revision(revision_hash, metadata["name"], data["config"], data["template"], data)


def _image(deployment: ModelDeployment, defaults: Defaults) -> Image:
    """Return the image of the spec, completed by the operator's; raises InvalidSpec if it is unsafe."""
    server, default = deployment.spec.server, Image.parse(defaults.triton_image)
    given = server.image
    image = default
    if given is not None and (given.repository or given.tag or given.digest):
        image = Image(given.repository or default.repository, given.tag, given.digest)
    images.refuse_unsafe(image, allow_unsafe=server.allow_unsafe_image or defaults.allow_unsafe_image)
    return image
