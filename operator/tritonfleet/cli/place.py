"""Where a subcommand finds its ModelDeployment: which cluster, which namespace, which name.

`place_of()` connects as kubectl would (kubeconfig, context, namespace, or the account of a pod), and `carry_out()`
turns what goes wrong on the way into one line and an exit status. `explain` and `rollout` use it; importing it imports
the Kubernetes client.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonfleet.adapters.cluster import Cluster, default_namespace, load_configuration
from tritonfleet.api import names
from tritonfleet.cli.terminal import UsageError, complain, one_line
from tritonfleet.errors import NoCluster, Refused, TritonfleetError
from tritonfleet.plan.world import Manifest


@dataclass(frozen=True)
class Place:
    """One namespace of one cluster."""

    cluster: Cluster
    namespace: str

    async def model_deployment(self, name: str) -> Manifest:
        """Return it as it is now; raises UsageError if it cannot be read."""
        try:
            body = await self.cluster.get(names.KIND, self.namespace, name)
        except Refused as problem:
            raise UsageError(
                f"may not read {names.KIND} '{name}' in namespace '{self.namespace}': {problem}"
            ) from problem
        if body is None:
            raise UsageError(
                f"there is no {names.KIND} '{name}' in namespace '{self.namespace}'; -n names another namespace"
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
async def place_of(options: argparse.Namespace) -> AsyncIterator[Place]:
    """Connect to where the options point; raises NoCluster if that is nowhere."""
    kubeconfig = Path(options.kubeconfig) if options.kubeconfig else None
    cluster = Cluster(await load_configuration(kubeconfig, options.context))
    try:
        yield Place(cluster, options.namespace or default_namespace(kubeconfig, options.context))
    finally:
        await cluster.close()


def carry_out(command: str, work: Coroutine[Any, Any, int]) -> int:
    """Run a command to its exit status: 1 when it is not possible now, 2 when the cluster cannot be found."""
    try:
        return asyncio.run(work)
    except TritonfleetError as problem:
        complain(command, problem)
        return 2 if isinstance(problem, NoCluster) else 1
