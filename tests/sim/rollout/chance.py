"""Random histories: what people, clusters and operators do to a rollout, drawn from a seed."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from tests.sim.rollout.checkpoints import BEHAVIORS, SPECS, checkpoints
from tests.sim.rollout.gateway import FRONT, ROUTE
from tests.sim.rollout.pool import Pod
from tests.sim.rollout.scene import model
from tests.sim.rollout.watching import Metrics
from tritonfleet.api import names
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.world import ChildId, Manifest

FRESH = "10"
"""A version that nobody has asked for before."""


class History:
    """One random history; `play` yields what it does, and the invariants hold or raise."""

    def __init__(self, seed: int, *, is_told: bool = False) -> None:
        self.dice = random.Random(seed)
        number = self.dice.randrange(len(SPECS))
        self.scene = self.dice.choice(checkpoints(number)).copy(is_told=is_told)
        self.did: list[str] = [f"spec {number}, {self.scene.phase} at step {self.scene.attempt.step}"]

    def play(self, turns: int) -> None:
        """Do something at random in every turn, then let a little time pass."""
        for _ in range(turns):
            if self.dice.random() < 0.7:
                name, act = self.dice.choice(ACTS)
                self.did.append(name)
                act(self)
            seconds = self.dice.choice((1.0, 3.0, 6.0, 11.0, 11.0, 30.0))
            self.did.append(f"{seconds:.0f} s")
            self.scene.run(seconds, seconds)

    def heal(self) -> None:
        """Undo every trouble, and ask for nothing but a good version."""
        cluster = self.scene.cluster
        cluster.metrics, cluster.gateway.admits, cluster.traffic.incident = Metrics(), True, 1.0
        cluster.pool.gpus.update({f"fresh-{number}": 4 for number in range(3)})
        for pod in cluster.pool.pods:
            pod.hangs = False
        self.scene.operator = self.scene.start_operator()
        spec = cluster.api.body["spec"]
        rollout = {**spec["rollout"], "paused": False}
        for word in ("abort", "promote", "approve", "retry"):
            rollout.pop(word, None)
        rollout["retry"] = f"healed-{self.dice.random()}"
        cluster.edit(model=model(FRESH), replicas=2, suspend=None, rollback=None, rollout=rollout)
        cluster.api.edit_body(annotations={})

    def help_on(self) -> None:
        """Do what a person would: say that the rollout may go on."""
        state, now = self.scene.state, self.scene.cluster.now.isoformat(timespec="seconds")
        if not state.canary:
            return
        is_held = state.phase is Phase.HELD and self.dice.random() < 0.5
        verb, step = ("resume", "") if is_held else ("approve", f":{self.scene.attempt.step + 1}")
        self.scene.cluster.annotate(verb, f"m-{state.canary}{step} at={now}")

    def ask(self, verb: str) -> None:
        """Annotate, mostly with the right revision."""
        state = self.scene.state
        revision = state.canary or (state.standby.revision if state.standby else state.stable)
        if self.dice.random() < 0.2:
            revision = self.dice.choice((state.stable, "0" * 10))
        word = f"m-{revision}" if verb != "retry" else f"again-{self.dice.random():.6f}"
        if verb == "approve":
            word += f":{self.scene.attempt.step + self.dice.choice((1, 1, 1, 2))}"
        self.scene.cluster.annotate(verb, f"{word} at={self.scene.cluster.now.isoformat(timespec='seconds')}")

    def edit_rollout(self, **fields: Any) -> None:
        """Change `spec.rollout`."""
        self.scene.cluster.edit(rollout={**self.scene.cluster.api.body["spec"]["rollout"], **fields})

    def edit_canary(self, **fields: Any) -> None:
        """Change `spec.rollout.canary`."""
        canary = self.scene.cluster.api.body["spec"]["rollout"]["canary"]
        self.edit_rollout(canary={**canary, **fields})

    def some_pod(self) -> Iterator[Pod]:
        """Yield one pod, if there is any."""
        pods = [pod for pod in self.scene.cluster.pool.pods if pod.stays]
        if pods:
            yield self.dice.choice(pods)


def _scale(history: History) -> None:
    cluster = history.scene.cluster
    now = int(cluster.api.body["spec"]["replicas"])
    cluster.edit(replicas=history.dice.choice((now * 2 if 0 < now < 5 else 4, max(1, now // 2), now + 1, 1)))


def _to_revision(history: History) -> None:
    word = history.dice.choice(({"toRevision": "1"}, {"toRevision": "2"}, {"toRevision": "77"}, None, None))
    history.scene.cluster.edit(rollback=word)


def _lose_pod(history: History) -> None:
    for pod in history.some_pod():
        history.scene.cluster.pool.pods.remove(pod)


def _crash_pod(history: History) -> None:
    for pod in history.some_pod():
        if pod.started is not None:
            pod.crash(history.scene.cluster.now)


def _crash_revision(history: History) -> None:
    for chosen in history.some_pod():
        for pod in history.scene.cluster.pool.of(chosen.revision):
            if pod.started is not None:
                pod.crash(history.scene.cluster.now)


def _hang_pod(history: History) -> None:
    for pod in history.some_pod():
        pod.hangs = pod.ready


def _lose_node(history: History) -> None:
    pool = history.scene.cluster.pool
    if len(pool.gpus) > 1:
        pool.lose_node(history.dice.choice(sorted(pool.gpus)))


def _add_node(history: History) -> None:
    pool = history.scene.cluster.pool
    pool.gpus.setdefault(f"n{len(pool.gpus)}", 1)


def _metrics(history: History) -> None:
    troubles = (
        Metrics(away="connection refused"),
        Metrics(blind_to_canary=True),
        Metrics(frozen=True),
        Metrics(mute=True),
    )
    history.scene.cluster.metrics = history.dice.choice((Metrics(), Metrics(), *troubles))


def _gateway(history: History) -> None:
    cluster = history.scene.cluster
    if not cluster.api.body["spec"].get("suspend") and cluster.api.body["spec"]["replicas"]:
        cluster.gateway.admits = not cluster.gateway.admits or history.dice.random() < 0.5


def _suspend(history: History) -> None:
    """Let nothing run; a gateway that refuses just then would keep sending requests to pods that are gone."""
    history.scene.cluster.gateway.admits = True
    history.scene.cluster.edit(suspend=True)


def _scale_to_zero(history: History) -> None:
    """Let nothing run, for the other reason."""
    history.scene.cluster.gateway.admits = True
    history.scene.cluster.edit(replicas=0)


def _revert_route(history: History) -> None:
    cluster = history.scene.cluster
    if ROUTE in cluster.api.children:
        cluster.api.edit(ROUTE, _all_to_first, cluster.now)


def _all_to_first(route: Manifest) -> Manifest:
    rules = [
        {**rule, "backendRefs": [{**rule["backendRefs"][0], "weight": 100}, *rule["backendRefs"][1:]]}
        for rule in route["spec"]["rules"]
    ]
    return {**route, "spec": {**route["spec"], "rules": rules}}


def _edit_front(history: History) -> None:
    cluster = history.scene.cluster
    selector = {names.OWNER_LABEL: "somebody-else"}
    if FRONT in cluster.api.children:
        cluster.api.edit(FRONT, lambda front: {**front, "spec": {**front["spec"], "selector": selector}}, cluster.now)


def _lose_child(history: History) -> None:
    api = history.scene.cluster.api
    kinds = ("HTTPRoute", "Service", "ConfigMap", "PodDisruptionBudget")
    targets: list[ChildId] = sorted(target for target in api.children if target.kind in kinds)
    if targets:
        target = history.dice.choice(targets)
        api.delete(target, api.children[target]["metadata"]["uid"])


def _die(history: History) -> None:
    history.scene.operator.dies_after = history.dice.randrange(4)


def _restart(history: History) -> None:
    history.scene.operator = history.scene.start_operator()


def _lose_status(history: History) -> None:
    history.scene.operator.loses_status = True


def _second_operator(history: History) -> None:
    """Let a process that was stopped go on from what it saw before."""
    scene = history.scene
    other = scene.start_operator()
    other.stale = scene.operator.observe()
    scene.run(11, 11)
    scene.invariants.begin()
    other.reconcile()
    scene.cluster.settle()


def _jump(history: History) -> None:
    history.scene.operator.skew = timedelta(seconds=history.dice.choice((-20, 20, 3600, 0, 0)))


def _roll(version: str) -> Callable[[History], None]:
    return lambda history: history.scene.cluster.edit(model=model(version))


def _roll_bad(history: History) -> None:
    _roll(history.dice.choice(sorted(BEHAVIORS)))(history)


def _ask(verb: str) -> Callable[[History], None]:
    return lambda history: history.ask(verb)


ACTS: tuple[tuple[str, Callable[[History], None]], ...] = (
    *((f"ask for version {version}", _roll(version)) for version in ("1", "2", "2", "3", "6", "10")),
    ("ask for a bad version", _roll_bad),
    *((verb, _ask(verb)) for verb in ("promote", "promote", "abort", "pause", "resume", "retry", "rollback-to")),
    *(("help on", History.help_on),) * 4,
    ("label", lambda history: history.scene.cluster.edit(traffic=_annotated(history))),
    ("edit steps", lambda history: history.edit_canary(steps=[{"weight": history.dice.choice((5, 40, 90))}])),
    ("pause by field", lambda history: history.edit_rollout(paused=True)),
    *(("resume by field", lambda history: history.edit_rollout(paused=False)),) * 2,
    ("suspend", _suspend),
    *(("wake", lambda history: history.scene.cluster.edit(suspend=None)),) * 2,
    *(("scale", _scale),) * 3,
    ("scale to zero", _scale_to_zero),
    ("to revision", _to_revision),
    *(("lose a pod", _lose_pod),) * 3,
    *(("crash a pod", _crash_pod),) * 2,
    *(("crash a revision", _crash_revision),) * 2,
    ("hang a pod", _hang_pod),
    *(("lose a node", _lose_node),) * 2,
    *(("add a node", _add_node),) * 3,
    *(("metrics", _metrics),) * 3,
    ("gateway", _gateway),
    ("revert the route", _revert_route),
    ("edit the front Service", _edit_front),
    ("lose a child", _lose_child),
    *(("die", _die),) * 3,
    ("restart", _restart),
    ("lose a status write", _lose_status),
    ("second operator", _second_operator),
    ("clock", _jump),
)


def _annotated(history: History) -> Manifest:
    traffic = history.scene.cluster.api.body["spec"].get("traffic", {})
    return {**traffic, "service": {"annotations": {"team": str(history.dice.random())}}}
