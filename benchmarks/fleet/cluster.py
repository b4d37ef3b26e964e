"""A cluster for one measurement: simulated nodes, the ModelDeployment API, and an identity for what is measured."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fleet.audit import AuditLog
from benchmarks.fleet.client import APPLY, MERGE, Client, connect
from benchmarks.fleet.control_plane import Place, control_plane
from benchmarks.fleet.manifests import GPUS_PER_NODE, node
from tritonfleet.adapters.store import Store
from tritonfleet.api import names
from tritonfleet.api.resources import BY_KIND, CHILDREN, MODEL_DEPLOYMENT, POD

CRD = Path(__file__).parents[2] / "crds" / f"{names.GROUP}_{names.PLURAL}.yaml"
NAMESPACE = "fleet"
ACCOUNT = "measured"
SPARE = 1.3
"""GPUs for each ModelDeployment: a change runs two revisions side by side for a moment."""
CREATES_IN_FLIGHT = 50
FURNISHING_SECONDS_MAX = 120


@dataclass(frozen=True, slots=True)
class BenchCluster:
    """`admin` sets the scene and observes; the measured side has the kubeconfig of a service account."""

    admin: Client
    kubeconfig: Path
    audit: AuditLog

    async def create(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create a ModelDeployment and return it as the API server has it."""
        created: Mapping[str, Any] = await self.admin.json("POST", MODEL_DEPLOYMENT.path(NAMESPACE), body)
        return created

    async def observed(self) -> Store:
        """Return what the operator's own store would hold: all ModelDeployments, their children and their pods."""
        store = Store()
        for resource in (MODEL_DEPLOYMENT, *CHILDREN, POD):
            listed = await self.admin.json("GET", resource.path(NAMESPACE))
            for item in listed["items"]:
                store.put({"apiVersion": resource.api_version, "kind": resource.kind, **item})
        return store

    async def merge(self, name: str, patch: Mapping[str, Any]) -> None:
        """Merge a patch into a ModelDeployment."""
        await self.admin.send("PATCH", MODEL_DEPLOYMENT.path(NAMESPACE, name), patch, content_type=MERGE)


@asynccontextmanager
async def bench_cluster(fleet_size: int) -> AsyncIterator[BenchCluster]:
    """Run a fresh cluster with GPUs enough for a fleet until the block ends."""
    with control_plane(f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}") as place:
        async with connect(place.admin_kubeconfig, connections=CREATES_IN_FLIGHT + 10) as admin:
            await _furnish(admin, nodes=-(-round(fleet_size * SPARE) // GPUS_PER_NODE))
            kubeconfig = place.audit_log.with_name("measured.kubeconfig")
            kubeconfig.write_text(json.dumps(_kubeconfig(place, await _token(admin))))
            yield BenchCluster(admin, kubeconfig, AuditLog(place.audit_log))


async def _furnish(admin: Client, nodes: int) -> None:
    crd = yaml.safe_load(CRD.read_text())
    crd_path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
    await admin.send("PATCH", f"{crd_path}?fieldManager=bench", crd, content_type=APPLY)
    await admin.send("POST", "/api/v1/namespaces", _object("v1", "Namespace", NAMESPACE))
    account = _object("v1", "ServiceAccount", ACCOUNT, NAMESPACE)
    await admin.send("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", account)
    await admin.send("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", _binding())
    for number in range(nodes):
        await admin.send("POST", BY_KIND["Node"].path(), node(number))
    for _ in range(FURNISHING_SECONDS_MAX * 5):
        if await _furnished(admin, crd_path, nodes):
            return
        await asyncio.sleep(0.2)
    raise TimeoutError(f"the API or the nodes were not ready after {FURNISHING_SECONDS_MAX} s")


async def _furnished(admin: Client, crd_path: str, nodes: int) -> bool:
    crd = await admin.json("GET", crd_path)
    listed = await admin.json("GET", BY_KIND["Node"].path())
    ready = [item for item in listed["items"] if _is(item, "Ready") and len(item["spec"].get("taints", ())) == 1]
    return _is(crd, "Established") and len(ready) == nodes


def _is(body: Mapping[str, Any], condition: str) -> bool:
    conditions: Iterable[Mapping[str, str]] = body.get("status", {}).get("conditions") or ()
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


async def _token(admin: Client) -> str:
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}
    granted = await admin.json("POST", path, request)
    return str(granted["status"]["token"])


def _object(api_version: str, kind: str, name: str, namespace: str | None = None) -> Mapping[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace is not None else {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _binding() -> Mapping[str, Any]:
    return {
        **_object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", ACCOUNT),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
    }


def _kubeconfig(place: Place, token: str) -> Mapping[str, Any]:
    authority = base64.b64encode(place.certificate_authority.read_bytes()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": {"server": place.server, "certificate-authority-data": authority}}],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": ACCOUNT}}],
        "current-context": "bench",
    }
