"""A rollout with pods on loopback, under the real observer of rollouts; Prometheus and the API server are played."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.plan.rollout.stage import but
from tests.unit.runtime.fleet import sample
from tritonfleet.adapters.pods import PodScraper
from tritonfleet.adapters.store import Key, Store
from tritonfleet.api import names
from tritonfleet.api.traffic import TrafficGateway
from tritonfleet.errors import Rejected, Transient
from tritonfleet.plan.objects import http_route
from tritonfleet.plan.rollout import Phase, State, TransitionRecord, rollout_document
from tritonfleet.plan.rollout.analysis import Progress
from tritonfleet.plan.rollout.verification import Contract, Port, Tensor
from tritonfleet.runtime import Telemetry, WorkQueue
from tritonfleet.runtime.canary_monitor import CanaryMonitor
from tritonfleet.runtime.probes import CanaryProber
from tritonfleet.triton import metrics

__all__ = ["CANARY", "GOLDEN", "KEY", "STABLE", "START", "canaries", "sample"]

KEY = Key("shop", "demo")
STABLE, CANARY = "aaaaaaaaaa", "bbbbbbbbbb"
START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
GATEWAY = {"parentRefs": [{"name": "public"}]}
GOLDEN = (
    '[{"name": "seven", "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}],'
    ' "outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [7]}]}]'
)
PLAN = {"analysis": {"interval": "20s", "warmup": "10s"}}


def page(success, failures, seconds, queue=0.0, executions=0.0):
    totals = dict.fromkeys(metrics.COUNTERS, 0.0) | {metrics.SUCCESS: success, metrics.REQUEST_US: seconds * 1e6}
    totals |= {metrics.QUEUE_US: queue * 1e6, metrics.INFERENCES: success, metrics.EXECUTIONS: executions}
    del totals[metrics.FAILURE]
    lines = [f'{name}{{model="demo",version="1"}} {value}\n' for name, value in totals.items()]
    reasons = {"OTHER": 0.0} | failures
    lines += [f'{metrics.FAILURE}{{model="demo",version="1",reason="{r}"}} {n}\n' for r, n in reasons.items()]
    return "".join(lines).encode()


class Pod:
    """Counts as a test tells it to."""

    def __init__(self, name, address, revision, started):
        self.name, self.address, self.revision, self.started = name, address, revision, started
        self.success, self.failures, self.seconds, self.queue, self.executions = 0, {}, 0.0, 0.0, 0.0
        self.knows_model = self.answers = True

    def serve(self, requests, *, each=0.010, queue=0.0, batch=1.0, **failures):
        self.success += requests
        self.seconds += requests * (each + queue)
        self.queue += requests * queue
        self.executions += requests / batch
        for reason, more in failures.items():
            self.failures[reason] = self.failures.get(reason, 0) + more

    def restart(self, started):
        self.started, self.success, self.failures, self.seconds = started, 0, {}, 0.0


class Prometheus:
    """What was counted at the gateway, and the answers to queries; or why there is none."""

    def __init__(self):
        self.counters, self.problem, self.results = {}, "", {}
        self.asked, self.closed = [], False

    async def gateway_counters(self, routes, at):
        self.asked.append(("canary", tuple(sorted(routes)), at))
        if self.problem:
            raise Transient(self.problem)
        return {KEY: dict(self.counters)} if self.counters else {}

    async def values(self, query, at):
        self.asked.append((query, at))
        found = self.results.get("problem") or self.results[query]
        if isinstance(found, Exception):
            raise found
        return found

    def close(self):
        self.closed = True

    def count(self, revision, within, *, slow=0, failed=0, refused=0, proxy="envoy-1"):
        """Count requests of one revision: so many within 100 ms, and so many that took longer."""
        place = [STABLE, CANARY].index(revision)
        cluster = f"httproute/shop/demo/rule/1/backend/{place}"
        rows = {
            ("envoy_cluster_upstream_rq_time_bucket", ("le", "100")): within,
            ("envoy_cluster_upstream_rq_time_bucket", ("le", "+Inf")): within + slow,
            ("envoy_cluster_upstream_rq_xx", ("envoy_response_code_class", "5")): failed,
            ("envoy_cluster_upstream_rq_xx", ("envoy_response_code_class", "4")): refused,
        }
        for (name, label), more in rows.items():
            labels = frozenset({("__name__", name), ("envoy_cluster_name", cluster), ("pod", proxy), label})
            self.counters[labels] = self.counters.get(labels, 0) + more


class World:
    """One ModelDeployment in a rollout."""

    def __init__(self):
        self.now = START
        self.store, self.telemetry = Store(), Telemetry()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.evidence, self.pods, self.config_maps = {}, {}, {}
        self.prometheus = Prometheus()
        self.contracts, self.labels, self.infers, self.gpus = {}, {}, [], {}
        self.probed: dict[str, int] = {}
        self.version = 0

    def build(self, port, *, prometheus=True, custom_queries=False):
        self.scraper = PodScraper(lambda: self.now, self.telemetry.scaling.scraped, port=port)
        asked: Any = self.prometheus if prometheus else None
        prober = CanaryProber(
            self._get, asked, custom_queries=custom_queries, connect=self._connect, probed=self.probed
        )
        self.rollouts = CanaryMonitor(
            self.store, self.queue, self.scraper, prober, self.telemetry.rollouts, self.evidence,
            interval_seconds=5.0, now=lambda: self.now, list_nodes=self._nodes,
        )  # fmt: skip

    async def _nodes(self):
        labels = {node: {"nvidia.com/gpu.product": product} for node, product in self.gpus.items()}
        return [{"metadata": {"name": node, "labels": named}} for node, named in labels.items()]

    async def _get(self, kind, namespace, name):
        assert (kind, namespace) == ("ConfigMap", KEY.namespace)
        found = self.config_maps.get(name)
        if isinstance(found, Exception):
            raise found
        return found

    @asynccontextmanager
    async def _connect(self, address, model):
        assert model == "demo"
        yield _Server(self, address)

    async def serve(self, reader, writer):
        pod = self.pods.get(writer.get_extra_info("sockname")[0])
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                if pod is None or not pod.answers:
                    break
                body = (
                    page(pod.success, pod.failures, pod.seconds, pod.queue, pod.executions)
                    if pod.knows_model
                    else b"nv_gpu_power_usage 1\n"
                )
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    def put(self, kind, name, labels=(), **parts):
        self.version += 1
        metadata = {
            "namespace": KEY.namespace, "name": name, "uid": f"{kind}-{name}", "generation": 1,
            "creationTimestamp": "2026-05-01T11:00:00Z", "resourceVersion": str(self.version),
            "labels": {**(names.owner_labels(KEY.name) if kind != names.KIND else {}), **dict(labels)},
        }  # fmt: skip
        metadata |= parts.pop("metadata", {})
        manifest = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, **parts}
        self.store.put(manifest)
        return manifest

    def be(self, phase=Phase.ANALYZING, *, weight=10, step=0, attempt=1, plan=PLAN, spec=(), looked=None, **state):
        """Write a state into the status, as a reconcile would."""
        progress = Progress(last_end_seconds=looked.timestamp() if looked else None)
        history = (TransitionRecord(START, Phase.SHIFTING, phase, "WeightInForce", ""),)
        found = but(
            State(phase, START, "AnalysisRunning", stable=STABLE, attempts=attempt, replicas=3, history=history),
            **{
                "canary": CANARY, "step": step, "step_entered_at": START, "weight": weight, "applied_weight": weight,
                "plan": plan, "analysis": progress, "mode": "Surge", "surge": 1, "canary_replicas": 1,
                "verified": True, **state,
            },
        )  # fmt: skip
        if not found.traits.under_way:
            found = replace(found, attempt=None)
        spec = {"model": {"uri": "s3://m/1", "backend": "onnxruntime"}, **dict(spec)}
        return self.put(names.KIND, KEY.name, spec=spec, status={"rollout": rollout_document(found, KEY.name)})

    def route(self):
        gateway = TrafficGateway.model_validate(GATEWAY)
        found = http_route(
            {"name": KEY.name, "namespace": KEY.namespace, "uid": "u"}, gateway, {STABLE: 90, CANARY: 10}
        )
        parents = [{"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}]
        self.put("HTTPRoute", KEY.name, metadata={"annotations": found["metadata"]["annotations"]}, spec=found["spec"],
                 status={"parents": parents})  # fmt: skip

    def pod(self, name, revision, *, ready=True, started=START - timedelta(hours=1), address=None, node=""):
        known = next((pod for pod in self.pods.values() if pod.name == name), None) if self.pods else None
        if known is None:
            known = Pod(name, address or f"127.0.0.{len(self.pods) + 1}", revision, started)
            self.pods[known.address] = known
        conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-05-01T11:01:00Z"}]
        running = {"name": "triton", "state": {"running": {"startedAt": known.started.isoformat()}}}
        status = {"podIP": known.address, "conditions": conditions, "containerStatuses": [running]}
        self.put(
            "Pod", name, {names.REVISION_LABEL: revision}, spec={"containers": [], "nodeName": node}, status=status
        )
        return known

    def golden(self, text):
        self.config_maps["golden"] = {"data": {"golden.json": text}}

    async def tick(self, seconds=5.0):
        """Let time go by, and tick."""
        self.now += timedelta(seconds=seconds)
        await self.rollouts.tick()
        await self.rollouts.settled()

    async def glance(self, seconds=0.5):
        """Let a moment of a tick go by."""
        self.now += timedelta(seconds=seconds)
        await self.rollouts.glance()
        await self.rollouts.settled()

    async def until(self, seconds, each=lambda: None):
        """Tick until so many seconds after the step was entered; `each` happens before every tick."""
        while self.now < START + timedelta(seconds=seconds):
            each()
            await self.tick()

    @property
    def window(self):
        found = self.evidence.get(f"{names.KIND}-{KEY.name}")
        return found.window if found is not None else None

    @property
    def looked(self):
        """Whether any window has been told of."""
        return self.window is not None

    @property
    def verification(self):
        found = self.evidence.get(f"{names.KIND}-{KEY.name}")
        return found.verification if found is not None else None

    async def enqueued(self):
        keys = []
        while len(self.queue.schedule) and (key := await self.queue.take()) is not None:
            self.queue.give_back(key)
            keys.append(key)
        return keys


class _Server:
    def __init__(self, world, address):
        self.world, self.address = world, address

    async def contract(self):
        fits = Contract((Port("X", "FP32", (-1, 2)),), (Port("label", "INT64", (1,)),), max_batch_size=8)
        found = self.world.contracts.get(self.address, fits)
        if isinstance(found, Exception):
            raise found
        return found

    async def infer(self, request):
        self.world.infers.append((self.address, request.name))
        label = self.world.labels.get(self.address, 7)
        # Triton counts a golden request like any other.
        pod = self.world.pods[self.address]
        if isinstance(label, Rejected | Transient):
            pod.serve(0, OTHER=1)
            raise label
        pod.serve(1)
        return {"label": Tensor("label", "INT64", (1,), (label,))}


@asynccontextmanager
async def canaries(**how):
    world = World()
    server = await asyncio.start_server(world.serve, "0.0.0.0", 0)
    world.build(server.sockets[0].getsockname()[1], **how)
    try:
        yield world
    finally:
        await world.scraper.close()
        server.close()
