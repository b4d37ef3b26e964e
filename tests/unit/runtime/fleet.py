"""ModelDeployments with pods on loopback, under the real autoscaler and a law that does as a test says."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tritonfleet.adapters.census import GpuCensus
from tritonfleet.adapters.pods import PodScraper
from tritonfleet.adapters.store import Key, Store
from tritonfleet.api import names
from tritonfleet.plan.autoscale import Attainment, ScaleReason, Verdict
from tritonfleet.plan.world import Defaults
from tritonfleet.runtime import Autoscaler, Observer, Telemetry, WorkQueue, autoscaler
from tritonfleet.triton import metrics

DEFAULTS = Defaults("nvcr.io/nvidia/tritonserver:26.11-py3", allow_unsafe_image=False, fetch_image="operator:1")
SPEC = {
    "model": {"uri": "s3://models/m/1", "backend": "onnxruntime"},
    "slo": {"latency": {"target": "50ms"}},
    "autoscaling": {"maxReplicas": 9},
}
KEY, OTHER = Key("shop", "demo"), Key("shop", "other")


def page(model: str, success: float) -> bytes:
    return "".join(f'{name}{{model="{model}",version="1"}} {success}\n' for name in metrics.COUNTERS).encode()


@dataclass
class Law:
    """Wants as many replicas as pods were heard, or does as it is told; remembers what it was shown."""

    shown: list = field(default_factory=list)
    replicas: int | None = None
    reason: ScaleReason = ScaleReason.DEMAND
    rate: float | None = 1.0
    fails_for: frozenset[int] = frozenset()

    def __call__(self, policy, memory, observation, now):
        self.shown.append((policy, memory, observation, now))
        if policy.max_replicas in self.fails_for:
            raise ZeroDivisionError("a bug in the law")
        replicas = self.replicas if self.replicas is not None else len(observation.samples)
        attainment = Attainment(True, None, 0.01, "Estimated", 1.0, 1.0, 60.0, 0.0, 0.0)
        return Verdict(
            replicas=replicas, wanted=replicas, reason=self.reason, explain=str, fresh=True, rate=self.rate,
            capacity_per_replica=None, forecast=None, ready_seconds=None, metrics_age_seconds=1.0,
            attainment=attainment, memory=memory,
        )  # fmt: skip


async def nobody_asks(_kind):
    raise AssertionError("no pod waits for a GPU")


class Fleet:
    """ModelDeployments in a store, and their pods behind one server on loopback."""

    def __init__(self, law: Law) -> None:
        self.law = law
        self.now = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
        self.store = Store()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.by_uid: dict[str, Verdict] = {}
        self.unread: dict[str, str] = {}
        self.telemetry = Telemetry()
        self.pages: dict[str, bytes] = {}
        self.version = 0
        self.gateway = None

    def build(self, port: int, interval_seconds: float) -> None:
        self.scraper = PodScraper(lambda: self.now, self.telemetry.scaling.scraped, port=port)
        self.autoscaler = Autoscaler(
            self.store,
            self.queue,
            Observer(self.store, GpuCensus(nobody_asks), DEFAULTS, self.by_uid.get),
            self.scraper,
            self.gateway,
            self.telemetry.scaling,
            self.by_uid,
            unread=self.unread,
            interval_seconds=interval_seconds,
            now=lambda: self.now,
        )

    @property
    def verdicts(self) -> dict[Key, Verdict]:
        """Return the verdicts that reconciles would find now."""
        bodies = [body for key in self.store.known() if (body := self.store.body(key)) is not None]
        held = [body["metadata"] for body in bodies if body["metadata"]["uid"] in self.by_uid]
        return {Key(each["namespace"], each["name"]): self.by_uid[each["uid"]] for each in held}

    async def serve(self, reader, writer):
        address = writer.get_extra_info("sockname")[0]
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                body = self.pages[address]
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError, KeyError):
            writer.close()

    def put(self, kind, name, key, labels=(), **parts):
        self.version += 1
        owner = names.owner_labels(key.name) if kind != names.KIND else {}
        metadata = {
            "namespace": key.namespace,
            "name": name,
            "uid": f"{kind}-{name}",
            "generation": 1,
            "creationTimestamp": "2026-05-01T11:00:00Z",
            "resourceVersion": str(self.version),
            "labels": {**owner, **dict(labels)},
        }
        manifest = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, **parts}
        self.store.put(manifest)
        return manifest

    def deploy(self, key, pods=0, *, spec=None, **parts):
        """Write a ModelDeployment with so many ready pods, each on an address of its own."""
        body = self.put(names.KIND, key.name, key, spec=spec or SPEC, **parts)
        for _ in range(pods):
            address = f"127.0.0.{len(self.pages) + 1}"
            self.pages[address] = page(key.name, 5)
            self.pod(key, f"{key.name}-{len(self.pages)}", address)
        return body

    def pod(self, key, name, address, *, ready="True"):
        conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-05-01T11:01:00Z"}]
        running = {"name": "triton", "state": {"running": {"startedAt": "2026-05-01T11:00:30Z"}}}
        status = {"podIP": address, "conditions": conditions, "containerStatuses": [running]}
        self.put("Pod", name, key, {names.REVISION_LABEL: "abc"}, spec={"containers": []}, status=status)

    async def tick(self) -> None:
        await self.autoscaler.tick()

    async def enqueued(self) -> list[Key]:
        keys = []
        while len(self.queue.schedule) and (key := await self.queue.take()) is not None:
            self.queue.give_back(key)
            keys.append(key)
        return sorted(keys)


@asynccontextmanager
async def fleet(monkeypatch, law=None, *, gateway=None, interval_seconds=5.0):
    found = Fleet(law or Law())
    found.gateway = gateway
    monkeypatch.setattr(autoscaler, "decide", found.law)
    server = await asyncio.start_server(found.serve, "0.0.0.0", 0)
    found.build(server.sockets[0].getsockname()[1], interval_seconds)
    try:
        yield found
    finally:
        await found.scraper.close()
        server.close()


def sample(world, name, **labels):
    return world.telemetry.registry.get_sample_value(name, labels)


def exposed(world) -> set[str]:
    return {
        each.labels["modeldeployment"]
        for family in world.telemetry.registry.collect()
        for each in family.samples
        if "modeldeployment" in each.labels
    }
