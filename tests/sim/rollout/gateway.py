"""Which revision users' requests really go to: what a gateway has in force, or whom the front Service selects."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.sim.rollout.apiserver import ApiServer
from tests.sim.rollout.controllers import route_status
from tests.sim.rollout.pool import Pool
from tritonfleet.api import names
from tritonfleet.plan.world import ChildId, Manifest

ROUTE, FRONT = ChildId("HTTPRoute", "m"), ChildId("Service", "m")
REVISION_HEADER = "x-tritonfleet-revision"

Shares = dict[str, float]
"""Of all requests, 0..1, by revision."""


@dataclass
class Gateway:
    """Accepts a route a while after it was written, and acts on it another while later."""

    accept_seconds: float = 1.0
    effect_seconds: float = 1.0
    admits: bool = True
    """Whether the listeners admit the route; while they do not, the last one stays in force."""
    in_force: Shares = field(default_factory=dict)
    _seen: tuple[int, datetime] | None = None
    """Generation of the route, and when it was first seen."""

    def step(self, api: ApiServer, pool: Pool, now: datetime) -> None:
        """Report on the route, and let its weights come into force; without a route the front Service decides."""
        route = api.children.get(ROUTE)
        if route is None:
            self._seen = None
            self.in_force = by_service(api, pool)
            return
        generation = route["metadata"]["generation"]
        if self._seen is None or self._seen[0] != generation:
            self._seen = (generation, now)
        since = self._seen[1]
        if now >= since + timedelta(seconds=self.accept_seconds):
            api.report(ROUTE, route_status(route, accepted=self.admits, now=since))
            if self.admits and now >= since + timedelta(seconds=self.accept_seconds + self.effect_seconds):
                self.in_force = route_shares(route)


def route_backends(route: Manifest) -> list[list[tuple[str, int]]]:
    """Return revision and weight by place, for every rule that users' requests take."""
    return [
        [(backend["name"].removeprefix("m-"), backend.get("weight", 1)) for backend in rule["backendRefs"]]
        for rule in route["spec"]["rules"]
        if not any(
            header["name"].lower() == REVISION_HEADER
            for match in rule.get("matches", ())
            for header in match.get("headers", ())
        )
    ]


def route_weights(route: Manifest) -> list[dict[str, int]]:
    """Return the percent of each revision in those rules; one request in a million is none."""
    return [
        {revision: round(100 * weight / max(1, sum(each for _, each in backends))) for revision, weight in backends}
        for backends in route_backends(route)
    ]


def route_shares(route: Manifest) -> Shares:
    """Return what the route asks for."""
    return {revision: weight / 100 for revision, weight in route_weights(route)[-1].items() if weight}


def by_service(api: ApiServer, pool: Pool) -> Shares:
    """Return how the front Service divides requests: over the ready pods that it selects."""
    front = api.children.get(FRONT)
    if front is None:
        return {}
    selector = front["spec"]["selector"]
    chosen = [
        pod.revision
        for pod in pool.pods
        if pod.ready and pod.stays and selector.items() <= pod.template["metadata"]["labels"].items()
    ]
    if not chosen:
        selected = selector.get(names.REVISION_LABEL)
        return {selected: 1.0} if selected else {}
    return {revision: chosen.count(revision) / len(chosen) for revision in set(chosen)}
