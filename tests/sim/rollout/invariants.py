"""What must hold after every single write of the operator, whatever has happened before.

Pods can be lost at any moment, and no operator can help that. So capacity is judged by what the operator does about
it: `carried` is the share of all requests that ready pods can take, by the floor that the capacity mode promises. No
write of the operator may make it smaller.
"""

from dataclasses import dataclass, field

from tests.sim.rollout.cluster import Cluster
from tests.sim.rollout.gateway import FRONT, ROUTE, Shares, by_service, route_backends, route_shares, route_weights
from tests.sim.rollout.reading import state_of
from tritonfleet.api import names
from tritonfleet.api.canary import CapacityMode
from tritonfleet.plan.objects import SPLIT_RULES, split_written
from tritonfleet.plan.rollout import TRANSITIONS, Phase, State, TransitionRecord
from tritonfleet.plan.world import Manifest, Observed

EDGES = frozenset((transition.source, transition.target) for transition in TRANSITIONS)
MILLION = 1_000_000
"""Weights while a revision without a share keeps one request in a million."""
ROUNDING = 0.01
"""Weights are whole percents: one pod in three is 33 %."""
VERDICTS = frozenset({"Worse", "BeyondLimit", "HardLimit", "RejectsEverything", "ProbeFailed"})
FORWARD = frozenset({Phase.PROVISIONING, Phase.AWAITING_APPROVAL, Phase.PROMOTING})
"""Where an analysis that has passed leads."""


@dataclass(frozen=True)
class Snapshot:
    """What the operator has asked for."""

    asked: dict[str, int]
    written: Shares
    division: Manifest
    """What says so: a route's shares, or the selector of the front Service."""
    route: Manifest | None
    state: State | None


def weight_of(state: State) -> int:
    """Return what the canary is to get."""
    return state.attempt.weight if state.attempt is not None else 0


@dataclass
class Invariants:
    """Compares every write with the moment before it."""

    cluster: Cluster
    passages: list[TransitionRecord] = field(default_factory=list)
    _last: Snapshot | None = None
    _divisions: list[Manifest] = field(default_factory=list)
    """How the operator has divided the traffic, newest last: what others do to it is not its doing."""
    _decided: dict[str, int] = field(default_factory=dict)
    """Ready pods when the weight was written down: an operator that dies before it acts on it cannot know better."""
    _made_room: bool = False
    """Whether pods of stable had no node at that moment."""
    _statuses: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._divisions.append(self._moment().division)

    def begin(self) -> None:
        """Begin another tick: what people and controllers have done meanwhile is not the operator's doing."""
        self._last = self._moment()
        self._statuses = [self.cluster.api.body.get("status")]

    def asked(self) -> dict[str, int]:
        """Return the replicas of every Deployment, by revision."""
        return {
            child["metadata"]["labels"][names.REVISION_LABEL]: child["spec"]["replicas"]
            for target, child in self.cluster.api.children.items()
            if target.kind == "Deployment"
        }

    def wrote(self, observed: Observed) -> list[TransitionRecord]:
        """Judge one write; return the transitions that it wrote down, of which there is one at most."""
        before, after = self._last or self._moment(), self._moment()
        self._last = after
        if after.route is not before.route and after.route is not None:
            self._weights_add_up(after.route)
            if any(after.asked.values()):
                self._sends_only_where_there_is_a_way(before.route, after.route)
        self._carries_no_less(before, after)
        if after.division != before.division:
            self._divisions.append(after.division)
        if after.asked != before.asked:
            self._asks_within_bounds(before, after)
        if after.state is not None and (before.state is None or weight_of(after.state) != weight_of(before.state)):
            self._decided = {revision: len(self.cluster.pool.serving(revision)) for revision in after.asked}
            self._made_room = self._makes_room(after.state)
        taken = self._status_is_sound(before.state, after.state, observed) if after.state != before.state else []
        self._does_not_flap()
        self.passages += taken
        return taken

    def _moment(self) -> Snapshot:
        api = self.cluster.api
        route = api.children.get(ROUTE)
        written = route_shares(route) if route is not None else by_service(api, self.cluster.pool)
        front = api.children.get(FRONT)
        selector = front["spec"]["selector"] if front is not None else {}
        return Snapshot(self.asked(), written, selector if route is None else written, route, state_of(api.body))

    def _weights_add_up(self, route: Manifest) -> None:
        for backends in route_backends(route):
            total, millionths = sum(weight for _, weight in backends), sum(weight == 1 for _, weight in backends)
            adds_up = total == 100 or 0 <= total - MILLION <= millionths
            assert adds_up, f"the weights {backends} do not add up to 100 %"

    def _sends_only_where_there_is_a_way(self, before: Manifest | None, after: Manifest) -> None:
        """A gateway fails requests that it sends to a backend which it has learned of in the same moment."""
        if before is None or route_backends(before) != [split_written(before)] * len(SPLIT_RULES):
            return
        known = {revision for revision, weight in split_written(before) if weight}
        if not any(self.cluster.pool.serving(revision) for revision in known):
            return
        sent = {revision for revision, percent in route_weights(after)[-1].items() if percent}
        assert sent <= known, f"{sorted(sent - known)} had no way: {split_written(before)} -> {split_written(after)}"

    def _carries_no_less(self, before: Snapshot, after: Snapshot) -> None:
        floor = self._floor(before.state)
        if floor <= 0:
            return
        # A node may have come back since it was decided to make room.
        least = ROUNDING + (1 / floor if self._makes_room(after.state) or self._made_room else 0)
        ready = {revision: len(self.cluster.pool.serving(revision)) for revision in (*before.asked, *after.asked)}
        left = {
            revision: min(count, after.asked.get(revision, 0))
            if after.asked.get(revision, 0) < before.asked.get(revision, 0)
            else count
            for revision, count in ready.items()
        }
        if after.written != before.written and before.division == self._divisions[-1]:
            # It may have died between writing its decision down and acting on it: either moment may justify it.
            bears = any(
                carried(after.written, then, floor) >= carried(before.written, then, floor) - least
                for then in (ready, self._decided)
            )
            assert bears, f"{before.written} -> {after.written} lets ready pods {ready} carry less"
        if left != ready:
            for shares in (after.written, self.cluster.gateway.in_force):
                if after.route is not None and shares not in self._divisions:
                    continue
                old, new = carried(shares, ready, floor), carried(self._divided(shares, left), left, floor)
                assert new >= old - least, (
                    f"asking for {after.asked} instead of {before.asked} with {shares} leaves {left} of {ready} "
                    f"ready pods: they carry {new:.1%}, was {old:.1%}"
                )

    def _divided(self, shares: Shares, ready: dict[str, int]) -> Shares:
        """Return the shares once there are so many ready pods: a Service that leads to all follows their number."""
        if ROUTE in self.cluster.api.children or len(shares) < 2:
            return shares
        return {revision: ready[revision] / max(1, sum(ready.values())) for revision in shares}

    def _floor(self, state: State | None) -> int:
        """Return the ready pods that carry all requests by the promise of the capacity mode."""
        spec = self.cluster.api.body["spec"]
        if spec.get("suspend") or spec.get("replicas") == 0 or state is None:
            return 0
        wanted = int(spec.get("replicas", 1)) if isinstance(spec.get("replicas", 1), int) else 0
        if not state.traits.under_way:
            return wanted
        mode = state.attempt.mode if state.attempt is not None else None
        if mode is CapacityMode.RECREATE:
            return 0
        return state.replicas - 1 if mode is CapacityMode.IN_PLACE else state.replicas

    def _makes_room(self, state: State | None) -> bool:
        """Return whether a canary that is taken back gives its places, one at a time, to pods of stable without one."""
        if state is None or state.phase is not Phase.ROLLING_BACK:
            return False
        return any(pod.stays and not pod.node for pod in self.cluster.pool.of(state.stable))

    def _asks_within_bounds(self, before: Snapshot, after: Snapshot) -> None:
        state = after.state
        attempt = state.attempt if state is not None else None
        if state is None or attempt is None or not state.traits.under_way or attempt.mode is None:
            return
        allowed = state.replicas + attempt.surge
        grown = {each for each, size in after.asked.items() if size > before.asked.get(each, 0)}
        taken = sum(max(size, len(self.cluster.pool.of(each))) for each, size in after.asked.items())
        assert not grown or taken <= allowed, f"{after.asked} asked with {taken} pods at once, {allowed} allowed"

    def _status_is_sound(self, old: State | None, new: State | None, observed: Observed) -> list[TransitionRecord]:
        assert new is not None, "the status of a rollout went away"
        if old is None:
            return list(new.history[:1])
        taken = [record for record in new.history if record not in old.history]
        assert len(taken) <= 1, f"{len(taken)} transitions in one write: {taken}"
        assert bool(taken) == (old.phase is not new.phase), f"{old.phase} -> {new.phase} with {taken} in the history"
        if old.phase is not new.phase:
            assert (old.phase, new.phase) in EDGES, f"{old.phase} -> {new.phase} is no transition"
            assert (taken[0].source, taken[0].target) == (old.phase, new.phase)
            if new.phase is not Phase.STABLE and old.phase is not Phase.ROLLING_BACK:
                self._was_proven(old, new, observed)
        if old.stable and old.stable != new.stable:
            taken_back = old.phase is Phase.STABLE and new.phase is Phase.ROLLING_BACK and new.canary == old.stable
            assert old.phase in (Phase.PROMOTING, Phase.INITIALIZING) or taken_back, f"stable changed in {old.phase}"
        if new.phase in (Phase.HELD, Phase.WAITING_FOR_CAPACITY, Phase.ROLLED_BACK, Phase.STABLE_LOST):
            assert new.reason, f"{new.phase} without a reason"
            assert new.message, f"{new.phase} without a message"
        assert 0 <= weight_of(new) <= 100
        assert 0 <= new.applied_weight <= 100
        return taken

    def _was_proven(self, old: State, new: State, observed: Observed) -> None:
        """A verdict, good or bad, needs counters that were read, and a good one needs every check to say so."""
        goes_on = old.phase is Phase.ANALYZING and new.phase in FORWARD and new.reason != "PromoteRequested"
        if not goes_on and new.reason not in VERDICTS:
            return
        window = observed.evidence.window if observed.evidence is not None else None
        assert window is not None, f"{old.phase} -> {new.phase} ({new.reason}) without a window"
        assert not window.unreachable, f"{old.phase} -> {new.phase} while {window.unreachable}"
        outcomes = {entry["outcome"] for entry in new.results}
        if goes_on and old.applied_weight < 100 and new.reason != "Unproven":
            assert outcomes == {"Pass"}, f"{old.phase} -> {new.phase} with {outcomes}"
        assert goes_on != ("Fail" in outcomes), f"{old.phase} -> {new.phase} with {outcomes}"

    def _does_not_flap(self) -> None:
        status = self.cluster.api.body.get("status")
        if status == self._statuses[-1]:
            return
        assert status not in self._statuses, "the status went back to what it was in the same tick"
        self._statuses.append(status)


def carried(shares: Shares, ready: dict[str, int], floor: int) -> float:
    """Return the share of all requests that ready pods can take, when `floor` pods can take all of them."""
    return sum(min(share, ready.get(revision, 0) / floor) for revision, share in shares.items())
