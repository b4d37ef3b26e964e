"""Whether clients reach a model through its Gateway: the condition `GatewayReady`, and the URL.

`reconcile()` calls `gateway_report()` for every ModelDeployment, and `status.py` writes it. The gateway's controller
says in the HTTPRoute's `status.parents` whether it takes the route: a condition of any generation counts, so that a
change of weights does not make a model unready until the gateway has read it (the rollout waits for the generation
itself). What no controller reports is looked up: a Gateway that does not exist, and another route that is older, has
the same host name on the same Gateway and therefore gets the requests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.resources import HTTP_ROUTE
from tritonfleet.plan.objects import statuses_by_parent
from tritonfleet.plan.world import ChildId, GatewayView, Manifest, Observed, Route

REFUSAL_GRACE: Final = timedelta(seconds=60)
"""A Gateway, its listeners and its routes may be created in any order; after that a person is needed."""
_UNSEEN: Final = GatewayView()
_PORTS: Final = {"HTTP": 80, "HTTPS": 443}
_REQUIRED: Final = ("Accepted", "ResolvedRefs")


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """What there is to say about the way through the Gateway."""

    condition: Condition
    """`GatewayReady`; Unknown without a Gateway in the spec."""
    blocks: bool = False
    """Whether the model is not ready for it: clients that should come through the Gateway cannot."""
    stalled: bool = False
    """Whether waiting does not help."""
    url: str | None = None
    """Where clients of the Gateway send their requests, if that is known."""


NO_GATEWAY: Final = GatewayReport(
    Condition(ConditionType.GATEWAY_READY, ConditionStatus.UNKNOWN, Reason.NO_GATEWAY, "`traffic.gateway` is not set")
)


def gateway_report(deployment: ModelDeployment, observed: Observed, now: datetime) -> GatewayReport:
    """Return whether requests reach the model through its Gateways, and at which URL."""
    gateway, kind = deployment.spec.traffic.gateway, ConditionType.GATEWAY_READY
    if gateway is None:
        return NO_GATEWAY
    route = observed.children.get(ChildId(HTTP_ROUTE.kind, deployment.metadata.name))
    view = observed.gateways or _UNSEEN
    url = next(_urls(deployment, view), None)
    named = ", ".join(f"Gateway '{each.name}'" for each in gateway.parent_refs)
    if route is None:
        found: tuple[Reason, str] | None = (Reason.GATEWAY_PENDING, "the HTTPRoute does not exist yet")
    else:
        found = _problem(route, view)
    if found is None:
        message = f"{named} takes the route" + (f": {url}" if url else "")
        return GatewayReport(Condition(kind, ConditionStatus.TRUE, Reason.ROUTE_ACCEPTED, message), url=url)
    reason, message = found
    pending = reason is Reason.GATEWAY_PENDING
    status = ConditionStatus.UNKNOWN if pending else ConditionStatus.FALSE
    patience = timedelta(seconds=duration_seconds(deployment.spec.rollout.progress_deadline))
    stalled = now - _since(observed.body, status, now) >= (patience if pending else REFUSAL_GRACE)
    return GatewayReport(Condition(kind, status, reason, message), blocks=True, stalled=stalled, url=url)


def _since(body: Manifest, status: ConditionStatus, now: datetime) -> datetime:
    """Return since when the condition has had this status; now if it has another."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    old: Manifest = next((each for each in conditions if each["type"] == ConditionType.GATEWAY_READY), {})
    # Unknown is also what it is before a Gateway was named.
    same = old.get("status") == status and old.get("reason") != Reason.NO_GATEWAY
    return datetime.fromisoformat(old["lastTransitionTime"]) if same else now


def _problem(route: Manifest, view: GatewayView) -> tuple[Reason, str] | None:
    """Return what keeps requests from the model, first what a person must mend; None if nothing does."""
    found = next(_older_routes(route, view), None)
    for reference, statuses in statuses_by_parent(route):
        named = f"Gateway '{reference['name']}' in namespace '{reference['namespace']}'"
        if view.gateways is not None and (reference["namespace"], reference["name"]) not in view.gateways:
            remedy = "create it, or change spec.traffic.gateway.parentRefs"
            return Reason.GATEWAY_NOT_FOUND, f"{named} does not exist: {remedy}"
        unsaid = set(_REQUIRED)
        for each in statuses:
            for one in each.get("conditions") or ():
                if one["type"] in _REQUIRED and one["status"] == "False":
                    said = f"{one['type']} is False ({one['reason']}): {one.get('message', '')}"
                    return Reason.GATEWAY_REFUSED, f"{named} does not take the route: {said}"
                if one["status"] == "True":
                    unsaid.discard(one["type"])
        if unsaid and found is None:
            message = f"{named} has not reported on the HTTPRoute yet; does a controller run for its class?"
            found = Reason.GATEWAY_PENDING, message
    return found


def _older_routes(route: Manifest, view: GatewayView) -> Iterator[tuple[Reason, str]]:
    if not view.routes:
        return
    own = Route.of(route)
    for other in view.routes:
        shared = own.names_shared_with(other)
        if not shared or not other.precedes(own):
            continue
        names = " and ".join(f"'{name}'" for name in shared) if shared != ("",) else "every host name"
        # Authors may not know what others call their objects and namespaces; an administrator can look.
        named = f"HTTPRoute '{other.name}'" if other.namespace == own.namespace else "an HTTPRoute of another namespace"
        remedy = "change its hostnames or spec.traffic.gateway.hostnames"
        yield Reason.HOSTNAME_CONFLICT, f"{named} is older and gets the requests for {names}: {remedy}"


def _urls(deployment: ModelDeployment, view: GatewayView) -> Iterator[str]:
    """Yield the URLs through the listeners that may lead to the model, as far as they are known."""
    gateway = deployment.spec.traffic.gateway
    for reference in gateway.parent_refs if gateway is not None else ():
        key = (reference.namespace or deployment.metadata.namespace, reference.name)
        found = (view.gateways or {}).get(key)
        for listener in found.listeners if found is not None else ():
            if listener["protocol"] not in _PORTS or reference.section_name not in (None, listener["name"]):
                continue
            names = [*(gateway.hostnames if gateway is not None else ()), listener.get("hostname") or ""]
            addresses = found.addresses if found is not None else ()
            host = next((name for name in (*names, *addresses) if name and not name.startswith("*")), None)
            if host is not None:
                yield _url(listener, f"[{host}]" if ":" in host else host)


def _url(listener: Manifest, host: str) -> str:
    port: Any = listener["port"]
    suffix = "" if port == _PORTS[listener["protocol"]] else f":{port}"
    return f"{listener['protocol'].lower()}://{host}{suffix}"
