"""The whole of what is written for typical ModelDeployments, as YAML that a person can read.

What the ControllerRevision repeats of the ConfigMap and the Deployment is left out.
After a wanted change run with WRITE_GOLDEN=1, look at the difference, and run again.
"""

import copy
import os
from pathlib import Path

import pytest
import yaml

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.workloads import PodMonitor, Workloads
from tritonfleet.plan.objects import build_revision, revision_children, shared_children
from tritonfleet.plan.world import Defaults

GOLDEN = Path(__file__).parent / "golden"
DEFAULTS = Defaults(
    triton_image="nvcr.io/nvidia/tritonserver:26.11-py3",
    allow_unsafe_image=False,
    fetch_image="tritonfleet/operator:0.1.0",
    workloads=Workloads(network_policy=True, pod_monitor=PodMonitor(enabled=True)),
)


class Block(yaml.SafeDumper):
    """Writes lists indented and many-line text as text."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


Block.add_representer(str, _text)


def children_of(name: str) -> str:
    body = yaml.safe_load((GOLDEN / f"{name}.input.yaml").read_text())
    deployment = ModelDeployment.parse(body)
    revision = build_revision(deployment, DEFAULTS)
    children = [
        *revision_children(deployment, revision, 1, deployment.spec.declared_replicas),
        *shared_children(deployment, {revision.hash: 100}, DEFAULTS),
    ]
    children[0] = copy.deepcopy(children[0])
    record = children[0]["data"]
    assert record.pop("config") == revision.config
    assert record.pop("template") == revision.template
    return yaml.dump_all(children, Dumper=Block, sort_keys=False, width=110)


@pytest.mark.parametrize("name", ["quickstart", "gpu", "pvc", "ensemble", "everything"])
def test_the_children_are_the_ones_on_record(name: str) -> None:
    golden, found = GOLDEN / f"{name}.yaml", children_of(name)
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(found)
        pytest.fail(f"{golden.name} was written: look at the difference")
    assert found == golden.read_text()
