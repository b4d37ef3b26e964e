"""The cluster and namespace of a subcommand.

`place_of()` connects as kubectl does (kubeconfig, context, namespace, or a pod's service account), and `run_command()`
turns errors into one line and an exit status. `explain` and `rollout` use it; importing it imports the Kubernetes
client.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tritonfleet.adapters.cluster import Cluster, default_namespace, load_configuration
from tritonfleet.api import names
from tritonfleet.cli.terminal import UsageError, one_line, report_error
from tritonfleet.errors import NoCluster, Refused, TritonfleetError
from tritonfleet.plan.world import Manifest


@dataclass(frozen=True)
class Place:
    """One namespace of one cluster."""

    cluster: Cluster
    namespace: str

    async def model_deployment(self, name: str) -> Manifest:
        """Return a ModelDeployment; raises UsageError if it cannot be read."""
        try:
            body = await self.cluster.get(names.KIND, self.namespace, name)
        except Refused as problem:
            raise UsageError(
                f"cannot read {names.KIND} '{name}' in namespace '{self.namespace}': {problem}"
            ) from problem
        if body is None:
            raise UsageError(
                f"{names.KIND} '{name}' not found in namespace '{self.namespace}'; use -n for another namespace"
            )
        return {**body, "status": _in_lines(body.get("status") or {})}


def _in_lines(value: Any) -> Any:
    """Return a status with each of its texts on one line, as the operator writes them; others can write it as well."""
    if isinstance(value, dict):
        return {key: _in_lines(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_in_lines(child) for child in value]
    return one_line(value) if isinstance(value, str) and not value.isprintable() else value


@asynccontextmanager
async def place_of(options: SimpleNamespace) -> AsyncIterator[Place]:
    """Connect to the cluster of the options; raises NoCluster if there is none."""
    kubeconfig = Path(options.kubeconfig) if options.kubeconfig else None
    cluster = Cluster(await load_configuration(kubeconfig, options.context))
    try:
        yield Place(cluster, options.namespace or default_namespace(kubeconfig, options.context))
    finally:
        await cluster.close()


def run_command(command: str, work: Coroutine[Any, Any, int]) -> int:
    """Run a command and return its exit status: 1 if it is not possible now, 2 if the cluster cannot be found."""
    try:
        return asyncio.run(work)
    except TritonfleetError as problem:
        report_error(command, problem)
        return 2 if isinstance(problem, NoCluster) else 1
