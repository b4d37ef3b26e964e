"""The fleet that is ticked: real objects, as the operator itself makes them, in a real store."""

from datetime import UTC, datetime, timedelta

from benchmarks.tick.traffic import REPLICAS, model, pod_address
from tritonfleet.adapters.census import GpuCensus
from tritonfleet.adapters.store import Store
from tritonfleet.api import names
from tritonfleet.plan.autoscale import Verdict
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.world import Manifest, Observed
from tritonfleet.runtime import Observer
from tritonfleet.settings import from_environment

NAMESPACE = "bench"
DEFAULTS = from_environment({}).defaults


class Fleet:
    """So many ModelDeployments with five ready pods each."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.store = Store()
        self.verdicts: dict[str, Verdict] = {}
        self.observer = Observer(self.store, GpuCensus(_no_pod_waits), DEFAULTS, self.verdicts.get)
        self._version = 0
        self._created = datetime.now(UTC) - timedelta(hours=1)
        for number in range(size):
            self._deploy(number)

    def _deploy(self, number: int) -> None:
        body = self._put(_body(number))
        plan = reconcile(Observed(body=body, children={}, pods=(), defaults=DEFAULTS), datetime.now(UTC))
        children = [self._put(apply.manifest) for apply in plan.applies]
        self._put({**body, "status": plan.status})
        template = next(child for child in children if child["kind"] == "Deployment")["spec"]["template"]
        for pod in range(REPLICAS * number, REPLICAS * (number + 1)):
            self._put(self._pod(pod, template))

    def _pod(self, pod: int, template: Manifest) -> Manifest:
        since = self._created.isoformat()
        running = {"name": "triton", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": since}}}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "namespace": NAMESPACE, "name": f"pod-{pod:05d}"},
            "spec": template["spec"],
            "status": {
                "phase": "Running",
                "podIP": pod_address(pod),
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
                "containerStatuses": [running],
            },
        }

    def _put(self, manifest: Manifest) -> Manifest:
        self._version += 1
        own = {
            "uid": f"{manifest['kind']}-{manifest['metadata']['name']}",
            "resourceVersion": str(self._version),
            "creationTimestamp": self._created.isoformat(),
            "generation": 1,
        }
        stored = {**manifest, "metadata": {**manifest["metadata"], **own}}
        self.store.put(stored)
        return stored


def _body(number: int) -> Manifest:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": model(number), "namespace": NAMESPACE},
        "spec": {
            "model": {"uri": "s3://models/bench/1", "backend": "onnxruntime"},
            "batching": {"maxBatchSize": 16, "dynamic": {"maxQueueDelay": "1ms"}},
            "slo": {"latency": {"percentile": 99, "target": "80ms"}},
            "autoscaling": {"maxReplicas": 20},
        },
    }


async def _no_pod_waits(_kind: str) -> list[Manifest]:
    raise RuntimeError("no pod of the benchmark waits for a GPU")
