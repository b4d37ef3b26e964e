"""A ModelDeployment of three replicas behind a gateway, and versions of its model that are good, or bad in one way."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from devcluster.load import Load, steady
from tests.e2e.chronicle import Chronicle, Snapshot

NAME = "shop"
EXAMPLE = Path(__file__).parents[2] / "examples" / "canary"
GATEWAY = "tests"
GATEWAY_NAMESPACE = "e2e-gateway"
FEATURES = 4
SUM = 4.0
"""Of a row of ones, which is what the load sends."""
RATE = 50.0
"""Requests per second of each of the two protocols."""
CLIENTS = 80
"""Connections of each protocol: enough for answers that take a second."""
WEIGHT = 25
INTERVAL_SECONDS = 5
ANALYSIS = {"interval": f"{INTERVAL_SECONDS}s", "warmup": "0s", "windows": 3, "minRequests": 200, "bakeTime": "5s"}
SERVER = {
    "gpu": {"count": 0},
    "resources": {"requests": {"cpu": "20m"}},
    "drainTimeout": "5s",
    "grpcMaxConnectionAge": "5s",
    "startupTimeout": "30s",
}
REACTION_SECONDS = 6.0
"""Of traffic beside the looks: until the weight counts as in force, and from the end of the last window until the
gateway obeys."""
REST_SECONDS = 120.0
Body = dict[str, Any]

VERSIONS: Mapping[str, Mapping[str, str]] = {
    "good": {"seconds": "0.400"},
    "better": {"seconds": "0.398"},
    "best": {"seconds": "0.396"},
    "failing": {"seconds": "0.400", "error_percent": "5"},
    "slow": {"seconds": "1.200"},
    "renamed": {},
    "reshaped": {},
    "wrong": {"bias": "1", "seconds": "0.050"},
    "turning-wrong": {"bias": "1", "seconds": "0.050", "sound_seconds": "20"},
    "cold": {"seconds": "0.400", "cold_seconds": "25"},
}
"""What makes each version what its name says, as parameters of the example's model.

A good answer takes 0.4 s: Envoy counts latencies below 0.5 s, and 0.1 s is room for what a busy machine adds. A slow
one is above Envoy's next bound, 1 s, too: that one is compared on a machine so busy that good answers take over 0.5 s.
"""
CHANGED_TENSORS = {"renamed": ('"X"', '"FEATURES"'), "reshaped": ("[4]", "[8]")}
"""Versions that take other inputs: what stands in their configuration for what."""


@dataclass
class Shop:
    """Where it is, and what happens to it."""

    place: Any
    gateway: str
    """Address of the gateway, without a port."""
    folder: Path
    chronicle: Chronicle
    version: str = "good"
    """What was asked for last."""
    loads: int = 0
    uploaded: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Return the host name that its route is for."""
        return f"{self.place.namespace}.example.com"

    def uri(self, version: str) -> str:
        """Return where a version of the model is, put there if need be."""
        if version not in self.uploaded:
            config = (EXAMPLE / "config.pbtxt").read_text().replace(*CHANGED_TENSORS.get(version, ("", "")))
            for name, value in VERSIONS[version].items():
                config += f'parameters: {{key: "{name}" value: {{string_value: "{value}"}}}}\n'
            files = {"1/model.py": (EXAMPLE / "model.py").read_bytes(), "config.pbtxt": config.encode()}
            self.uploaded[version] = self.place.upload(f"shop-{version}", files)
        return self.uploaded[version]

    def spec(self, version: str = "good", **changes: Any) -> Body:
        """Return a spec of the example's kind with one step and short windows; `changes` go over its parts."""
        parents = [{"name": GATEWAY, "namespace": GATEWAY_NAMESPACE}]
        return {
            "model": {"uri": self.uri(version), "backend": "python", "credentialsSecretName": "model-store"},
            "batching": {"maxBatchSize": 16, "dynamic": {"maxQueueDelay": "1ms"}},
            "server": SERVER,
            "replicas": 3,
            "traffic": {"gateway": {"parentRefs": parents, "hostnames": [self.host]}},
            "rollout": rollout(),
        } | changes

    def traffic(self, rate: float = RATE, *, seconds: float = 900) -> Load:
        """Return traffic through the gateway over both protocols, each at `rate`, that lasts until it is left."""
        self.loads += 1
        targets = dict.fromkeys(("http", "grpc"), f"{self.gateway}:80")
        folder = self.folder / f"load-{self.loads}"
        return Load(
            targets, NAME, FEATURES, steady(seconds, rate), folder, clients=CLIENTS, host=self.host, expected=SUM
        )

    def change(self, version: str, **spec: Any) -> float:
        """Ask for another version; return when, in seconds since the epoch."""
        asked, self.version = time.time(), version
        self.place.patch(NAME, {"model": {"uri": self.uri(version)}, **spec})
        return asked

    @property
    def status(self) -> Body:
        """Return `status.rollout` as it is now."""
        return dict(self.place.get("mdep", NAME).get("status", {}).get("rollout", {}))

    @property
    def stable(self) -> str:
        """Return the hash of the revision that is stable."""
        return str(self.status["stable"]).rpartition("-")[2]

    def wait_for(self, *phases: str, since: float = 0.0, timeout_seconds: float = 120) -> Snapshot:
        """Wait until one of the phases was seen after `since`; return the first such moment."""
        self._wait(lambda moment: moment.phase in phases, " or ".join(phases), since, timeout_seconds)
        return self.chronicle.first(lambda moment: moment.phase in phases, since)

    def wait_until(self, what: str, holds: Any, *, since: float = 0.0, timeout_seconds: float = 120) -> Snapshot:
        """Wait until `holds` of a moment after `since`; return the first such moment."""
        self._wait(holds, what, since, timeout_seconds)
        return self.chronicle.first(holds, since)

    def _wait(self, holds: Any, what: str, since: float, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not any(holds(moment) for moment in self.chronicle.since(since)):
            story = "" if time.monotonic() < deadline else self.chronicle.story(since)
            assert time.monotonic() < deadline, f"not within {timeout_seconds:.0f} s: {what}\n{story}"
            time.sleep(0.2)

    def rest(self, version: str = "good") -> None:
        """Bring it back to three replicas of one version that are stable, with nothing beside them."""
        self.place.kubectl("annotate", "mdep", NAME, *(f"tritonfleet.dev/{verb}-" for verb in VERBS))
        self.version = version
        self._replace_spec(self.spec(version, rollout={**rollout(), "stableRetention": "0s"}))
        since, deadline = time.time(), time.monotonic() + REST_SECONDS
        while not any(is_settled(moment) for moment in self.chronicle.since(since)[-1:]):
            assert time.monotonic() < deadline, self.chronicle.story(since)
            self.forget_leavers()
            time.sleep(0.5)
        self._replace_spec(self.spec(version))

    def _replace_spec(self, spec: Body) -> None:
        patch = [{"op": "replace", "path": "/spec", "value": spec}]
        self.place.kubectl("patch", "mdep", NAME, "--type=json", "-p", json.dumps(patch))

    def forget_leavers(self, after_seconds: float = 0.0) -> None:
        """End pods at once that have been on their way out for so long; each takes 50 s to leave no client waiting."""
        deleted = {
            pod["metadata"]["name"]: datetime.fromisoformat(pod["metadata"]["deletionTimestamp"]).timestamp()
            - pod["metadata"]["deletionGracePeriodSeconds"]
            for pod in self.place.list("pods")
            if "deletionTimestamp" in pod["metadata"]
        }
        leavers = [name for name, at in deleted.items() if time.time() - at >= after_seconds]
        if leavers:
            self.place.kubectl("delete", "pod", *leavers, "--grace-period=0", "--force", "--ignore-not-found")

    def golden(self) -> None:
        """Make the ConfigMap of the example's golden requests."""
        golden = yaml.safe_load((EXAMPLE / "golden.yaml").read_text())
        golden["metadata"]["name"] = "golden"
        self.place.kubectl("apply", "-f", "-", stdin=json.dumps(golden))


VERBS = ("abort", "rollback-to", "pause", "resume", "retry", "approve", "promote")


def rollout(**changes: Any) -> Body:
    """Return `spec.rollout` with one step of WEIGHT percent; `changes` go over the parts of its canary."""
    canary = {"steps": [{"weight": WEIGHT}], "analysis": ANALYSIS} | changes
    return {"canary": canary, "stableRetention": "20s", "progressDeadline": "60s"}


def replaced(revision: str) -> Callable[[Snapshot], bool]:
    """Return what tells whether another revision than this one has become stable."""
    return lambda moment: moment.phase == "Stable" and not moment.rollout["stable"].endswith(revision)


def is_settled(moment: Snapshot) -> bool:
    """Return whether one revision serves and has all the pods there are, none of another on its way out."""
    return moment.phase == "Stable" and sum(moment.ready.values()) == 3 and len(+moment.existing) == 1


def share_of(rate: float, weight: int, seconds: float) -> float:
    """Return how many requests a canary with `weight` percent gets in so many seconds, at `rate` per second in all."""
    return rate * weight / 100 * seconds
