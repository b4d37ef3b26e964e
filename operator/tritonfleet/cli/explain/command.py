"""`tritonfleet explain`: reads the object and says what it says."""

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from tritonfleet.adapters.cluster import Cluster, default_namespace, load_configuration
from tritonfleet.api import names
from tritonfleet.cli.complaint import Complaint, complain
from tritonfleet.cli.explain.account import Account, document
from tritonfleet.cli.explain.view import plain
from tritonfleet.cli.explain.watch import follow
from tritonfleet.errors import NoCluster, Refused, TritonfleetError


def run(options: argparse.Namespace) -> int:
    """Print the account, or follow it; 1 when there is none to give, 2 when the cluster cannot be found."""
    try:
        asyncio.run(_explain(options))
    except TritonfleetError as problem:
        complain("explain", problem)
        return 2 if isinstance(problem, NoCluster) else 1
    return 0


async def _explain(options: argparse.Namespace) -> None:
    kubeconfig = Path(options.kubeconfig) if options.kubeconfig else None
    cluster = Cluster(await load_configuration(kubeconfig, options.context))
    namespace = options.namespace or default_namespace(kubeconfig, options.context)
    try:
        if options.watch:
            await follow(lambda: _look(cluster, namespace, options.name), options.interval)
            return
        account = await _look(cluster, namespace, options.name)
    finally:
        await cluster.close()
    sys.stdout.write((json.dumps(document(account), indent=2) if options.output == "json" else plain(account)) + "\n")


async def _look(cluster: Cluster, namespace: str, name: str) -> Account:
    try:
        body = await cluster.get(names.KIND, namespace, name)
    except Refused as problem:
        raise Complaint(f"may not read {names.KIND} '{name}' in namespace '{namespace}': {problem}") from problem
    if body is None:
        raise Complaint(f"there is no {names.KIND} '{name}' in namespace '{namespace}'; -n names another namespace")
    return Account.of(body, datetime.now(UTC))
