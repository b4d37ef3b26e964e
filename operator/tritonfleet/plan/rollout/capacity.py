"""Where a canary's pods come from: the capacity mode, chosen once from the GPUs that are free now."""

from dataclasses import dataclass
from typing import Final

from tritonfleet.api.canary import Capacity, CapacityMode
from tritonfleet.api.rollout import Strategy
from tritonfleet.plan.rollout.facts import Facts
from tritonfleet.plan.rollout.moment import Moment

GPUS: Final = "GPUs"


@dataclass(frozen=True, slots=True)
class Room:
    """What the mode came to."""

    mode: CapacityMode
    surge: int
    """Pods beyond `replicas`."""
    message: str


def uncounted(facts: Facts) -> bool:
    """Tell whether the free GPUs matter and nobody has counted them."""
    return facts.gpus_per_pod > 0 and facts.headroom is None


def fitting(facts: Facts, most: int) -> int:
    """Return how many more pods fit now, `most` at most: the nodes' free GPUs are all that is known to be short."""
    if facts.gpus_per_pod == 0 or facts.headroom is None:
        return most
    if facts.headroom.largest_free_on_one_node < facts.gpus_per_pod:
        return 0
    return min(most, facts.headroom.free // facts.gpus_per_pod)


def room(moment: Moment) -> Room | None:
    """Return the mode that the pinned plan and the free GPUs allow; None if there is no room."""
    capacity, replicas = moment.plan.capacity, moment.state.replicas
    if CapacityMode.RECREATE in (capacity.mode, _by_strategy(moment)):
        said = (
            f"all {replicas} pods of stable make room, and nobody is served meanwhile{pods_take(moment, 1)}; "
            "the contract is not compared, since none of them is left to ask"
        )
        return Room(CapacityMode.RECREATE, 0, said)
    if capacity.mode is CapacityMode.IN_PLACE and replicas > 1:
        return Room(CapacityMode.IN_PLACE, 0, _in_place(moment))
    surge = fitting(moment.facts, min(capacity.max_surge or replicas, replicas))
    if surge > 0:
        said = f"{surge} pods beyond {replicas}{_free(moment.facts)}{pods_take(moment, 1)}"
        return Room(CapacityMode.SURGE, surge, said)
    if capacity.mode is CapacityMode.AUTO and replicas > 1:
        return Room(CapacityMode.IN_PLACE, 0, f"{_in_place(moment)}{_free(moment.facts)}")
    return None


def pods_take(moment: Moment, turns: int) -> str:
    """Say how long pods take that start in so many turns, by what stable's have taken; nothing while none is ready."""
    took = moment.stable.ready_seconds
    if took is None:
        return ""
    total = f", {turns} one after the other {turns * took:.0f} s" if turns > 1 else ""
    return f"; a pod takes about {took:.0f} s to be ready{total}"


def shortage(moment: Moment) -> str:
    """Say in numbers what there is no room for."""
    facts, capacity = moment.facts, moment.plan.capacity
    resource = facts.headroom.resource if facts.headroom is not None else GPUS
    return (
        f"a canary pod needs {facts.gpus_per_pod} {resource}{_free(facts)}; waiting up to {capacity.wait_timeout}"
        + ("; with 1 replica no pod of stable can make room" if _would_empty(capacity, moment.state.replicas) else "")
    )


def _by_strategy(moment: Moment) -> CapacityMode | None:
    return CapacityMode.RECREATE if moment.facts.policy.strategy is Strategy.RECREATE else None


def _would_empty(capacity: Capacity, replicas: int) -> bool:
    return replicas == 1 and capacity.mode in (CapacityMode.AUTO, CapacityMode.IN_PLACE)


def _in_place(moment: Moment) -> str:
    replicas = moment.state.replicas
    makes_room = f"stable's pods make room one at a time, {replicas - 1} of {replicas} stay ready"
    return f"{makes_room}{pods_take(moment, replicas)}"


def _free(facts: Facts) -> str:
    pool = facts.headroom
    if facts.gpus_per_pod == 0 or pool is None:
        return ""
    return f", {pool.free} free on {pool.matching_nodes} matching nodes, {pool.largest_free_on_one_node} at most on one"
