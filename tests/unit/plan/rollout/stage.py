"""States and inputs of a rollout in few words, and a tiny pool of pods in which one can be played to its end."""

from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta

from tritonfleet.api.canary import Canary, CapacityMode
from tritonfleet.api.conditions import Reason
from tritonfleet.api.rollout import Rollout
from tritonfleet.plan.pods import Finding
from tritonfleet.plan.rollout import (
    TRANSITIONS,
    Attempt,
    Phase,
    RevisionPods,
    RolloutContext,
    RolloutInputs,
    State,
    advance,
)
from tritonfleet.plan.rollout.analysis import Evidence, PodCounts, RevisionCounts, Window
from tritonfleet.plan.rollout.inputs import ObservedSplit
from tritonfleet.plan.rollout.sizing import min_ready, revision_sizes
from tritonfleet.plan.world import GpuPool

OLD, NEW, THIRD = "a" * 10, "b" * 10, "c" * 10
NUMBERS = {OLD: 1, NEW: 2, THIRD: 3}
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUICK = {"interval": "10s", "warmup": "0s", "windows": 1, "minRequests": 50, "bakeTime": "20s"}
EDGES = {(edge.source, edge.target) for edge in TRANSITIONS}
CRASHING = Finding(Reason.CRASH_LOOPING, "container 'triton' exited with code 1", stalled=True)
NO_GPU = Finding(Reason.WAITING_FOR_GPU, "needs 1 nvidia.com/gpu, 0 free on 4 matching nodes")


def plan(*weights, **more):
    """Return a plan with such steps; `analysis` adds to a quick one."""
    analysis = {**QUICK, **more.pop("analysis", {})}
    return {"steps": [{"weight": weight} for weight in weights], "analysis": analysis, **more}


def policy(*weights, rollout=None, **more):
    """Return `spec.rollout`."""
    return Rollout.model_validate({"canary": plan(*weights, **more), **(rollout or {})})


OF_ATTEMPT = {each.name for each in fields(Attempt)}


def but(state, **changes):
    """Return the state with some fields changed, its own or those of its attempt; a plan may be plain data."""
    if isinstance(changes.get("plan"), dict):
        changes["plan"] = Canary.model_validate(changes["plan"])
    if isinstance(changes.get("mode"), str):
        changes["mode"] = CapacityMode(changes["mode"])
    attempt = {name: value for name, value in changes.items() if name in OF_ATTEMPT}
    own = {name: value for name, value in changes.items() if name not in OF_ATTEMPT}
    if attempt:
        own["attempt"] = replace(state.attempt or Attempt(), **attempt)
    return replace(state, **own)


def running(phase, **changes):
    """Return a rollout from OLD to NEW at 25%, its first step of two, with room for four more pods."""
    given = {
        "entered_at": NOW,
        "stable": OLD,
        "canary": NEW,
        "attempts": 1,
        "plan": plan(25, 50),
        "mode": "Surge",
        "surge": 4,
        "replicas": 4,
        "canary_replicas": 1,
        "step_entered_at": NOW,
        "verified": True,
        "resume": Phase.ANALYZING if phase is Phase.HELD else None,
        "reason": "AnalysisRunning",
    }
    weights = {"weight": 25, "applied_weight": 25} if phase in WITH_TRAFFIC else {}
    return but(State(phase=phase), **{**given, **weights, **changes})


def context(state, inputs=None, after=0.0):
    """Return what a decision about the state is made from."""
    return RolloutContext(state, inputs or seen(), NOW + timedelta(seconds=after))


WITH_TRAFFIC = (Phase.ANALYZING, Phase.AWAITING_APPROVAL, Phase.HELD, Phase.STABLE_LOST)


def track(ready, revision=NEW, **more):
    """Return a revision's pods: as many exist and are asked for as are ready, unless said otherwise."""
    return RevisionPods(**{"number": NUMBERS[revision], "existing": ready, "ready": ready, "asked": ready, **more})


def seen(old=4, new=1, third=None, **more):
    """Return what is seen while NEW is wanted; a count stands for so many ready pods."""
    given = {OLD: old, NEW: new, THIRD: third}
    revisions = {
        revision: one if isinstance(one, RevisionPods) else track(one, revision)
        for revision, one in given.items()
        if one is not None
    }
    default = {"target": NEW, "replicas": 4, "policy": policy(25, 50), "by_gateway": True}
    return RolloutInputs(**{**default, "revisions": revisions, **more})


def gpus(free, on_one=None):
    """Return a pool of four nodes."""
    return GpuPool("nvidia.com/gpu", 4, free, min(free, 1) if on_one is None else on_one)


def window(end_seconds=30.0, errors=0, stable_errors=0, *, share=0.25, requests=2000, **more):
    """Return a window that ends so many seconds after NOW, with the errors of both and their share of the requests."""
    due = round(requests * share)
    return Window(
        NOW.timestamp() + end_seconds,
        RevisionCounts({"new": _counts(due, errors)}),
        RevisionCounts({"old": _counts(requests - due, stable_errors)}) if due < requests else RevisionCounts(),
        desired_share=share,
        **more,
    )


def _counts(requests, errors):
    return PodCounts(requests, errors, requests, {0.1: requests, 0.2: requests})


def evidence(state, **what):
    """Return what was seen of the state's own canary."""
    return Evidence(state.canary, state.attempts, (state.attempt or Attempt()).step, **what)


def go(state, inputs, after=0.0):
    """Take one step `after` so many seconds, and check what holds for every one."""
    now = NOW + timedelta(seconds=after)
    found = advance(state, inputs, now)
    assert found == advance(state, inputs, now)
    taken = [record for record in found.state.history if record not in state.history]
    assert len(taken) == (found.state.phase is not state.phase), (state.history, found.state.history)
    assert found.state.phase is state.phase or (state.phase, found.state.phase) in EDGES
    assert bool(taken) <= bool(found.events)
    assert bool(found.state.reason and found.state.message) or not taken
    return found


def settle(state, inputs, after=0.0):
    """Take steps at one moment until nothing changes, and return the state."""
    for _ in range(12):
        found = go(state, inputs, after).state
        if found is state:
            return found
        state = found
    raise AssertionError(f"never at rest: {[record.reason for record in state.history]}")


@dataclass
class Pod:
    revision: str
    age: int = 0
    ending: int | None = None


@dataclass
class Pool:
    """Room for `room` pods; a pod is ready after `START` ticks and gone `END` ticks after it is told to end."""

    state: State
    inputs: RolloutInputs
    room: int
    pods: list[Pod] = field(default_factory=list)
    ticks: int = 0
    START = 2
    END = 3

    def ready(self, revision):
        return [pod for pod in self.pods if pod.revision == revision and pod.ending is None and pod.age >= self.START]

    def seen(self):
        revisions = {}
        for revision, number in NUMBERS.items():
            own = [pod for pod in self.pods if pod.revision == revision]
            asked = sum(pod.ending is None for pod in own)
            revisions[revision] = RevisionPods(number, len(own), len(self.ready(revision)), asked)
        weight = self.state.attempt.weight if self.state.attempt else 0
        split = ObservedSplit(weight, settled=True)
        look = window(self.ticks * 10.0, share=self.state.applied_weight / 100, requests=100_000)
        return replace(self.inputs, revisions=revisions, split=split, evidence=evidence(self.state, window=look))

    def tick(self):
        """Let ten seconds pass; the rollout first writes down what it wants, then pods are asked for."""
        self.ticks += 1
        for pod in self.pods:
            pod.age += 1
            pod.ending = pod.ending - 1 if pod.ending is not None else None
        self.pods = [pod for pod in self.pods if pod.ending != 0]
        for _ in range(12):
            self.scale()
            found = go(self.state, self.seen(), self.ticks * 10.0).state
            if found is self.state:
                return
            self.state = found
        raise AssertionError("never at rest")

    def scale(self):
        """Ask for pods until the rollout asks for no others, and check what no rollout may do to users."""
        state = self.state
        for _ in range(20):
            asked = revision_sizes(context(state, self.seen()))
            changed = False
            for revision in NUMBERS:
                changed = self._scale(revision, asked.get(revision, 0)) or changed
            if not changed:
                break
        if state.attempt is not None and state.attempt.mode:
            assert len(self.pods) <= state.replicas + state.attempt.surge, (state.phase, asked, self.pods)
            assert len(self.ready(state.stable)) + len(self.ready(state.canary)) >= min_ready(state), (state, asked)

    def _scale(self, revision, size):
        own = sorted((pod for pod in self.pods if pod.revision == revision and pod.ending is None), key=lambda p: p.age)
        for pod in own[: max(0, len(own) - size)]:
            pod.ending = self.END
        for _ in range(size - len(own)):
            self.pods.append(Pod(revision))
        return len(own) != size
