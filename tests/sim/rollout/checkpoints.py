"""Where random histories begin: every phase that a rollout goes through, in every kind of cluster."""

from collections.abc import Iterator
from functools import cache

from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.scene import Scene, spec_of
from tests.sim.rollout.watching import Metrics
from tritonfleet.plan.rollout import Phase, TransitionRecord
from tritonfleet.plan.world import Manifest

BEHAVIORS = {
    "3": Behavior(errors=0.2),
    "4": Behavior(slow=0.3),
    "5": Behavior(waits_with="ImagePullBackOff"),
    "6": Behavior(crashes_after_seconds=15),
    "7": Behavior(breaks_contract=True),
    "8": Behavior(rejects=True),
    "9": Behavior(ready_after_seconds=float("inf")),
}
"""By version; all others are good."""
GOLDEN = {"verification": {"golden": {"configMapName": "golden"}}}
AT_LAST = {"weight": 100, "pause": {}}
SPECS: tuple[tuple[Manifest, dict[str, int]], ...] = (
    (spec_of(analysis={"windows": 1, "bakeTime": "10s", "metricsTimeout": "1m"}), {"a": 4, "b": 4}),
    (spec_of(steps=(20,), mode="Surge", capacity={"maxSurge": 1}, canary=GOLDEN), {"a": 3, "b": 2}),
    (
        spec_of(steps=(50, AT_LAST), mode="InPlace", analysis={"windows": 1, "bakeTime": "0s"}),
        {"a": 1, "b": 1, "c": 1, "d": 1},
    ),
    (spec_of(steps=(25, 50), mode="Auto", gateway=False), {"a": 2, "b": 2}),
    (spec_of(steps=({"weight": 50, "pause": {}},), mode="Auto", replicas=2), {"a": 2, "b": 1}),
    (spec_of(steps=({"weight": 50, "pause": {"duration": "30s"}},), mode="Surge", gateway=False), {"a": 4, "b": 4}),
    (spec_of(steps=(), mode="Recreate", replicas=2), {"a": 2}),
    (spec_of(steps=(34,), mode="Surge", replicas=3, capacity={"onTimeout": "InPlace", "waitTimeout": "30s"}), {"a": 3}),
    (spec_of(steps=(50,), mode="Auto", replicas=1, server={"gpu": {"count": 0}}), {"a": 0}),
)
CHECKPOINT_TICK_SECONDS = 2.0


@cache
def checkpoints(number: int) -> tuple[Scene, ...]:
    """Return scenes at every phase that a good rollout and a bad one go through, of one of `SPECS`."""
    spec, gpus = SPECS[number]
    found: list[Scene] = []
    for version in ("2", "3"):
        scene = Scene(spec, gpus=gpus, behaviors=BEHAVIORS).serve()
        found.append(scene.copy())
        scene.roll(version)
        approved = 0
        for _ in range(150):
            before, step = scene.phase, scene.attempt.step
            scene.run(CHECKPOINT_TICK_SECONDS, CHECKPOINT_TICK_SECONDS)
            if (before, step) != (scene.phase, scene.attempt.step):
                found.append(scene.copy())
            if scene.phase is Phase.ANALYZING is not before:
                found += _interrupted(scene)
            if scene.phase is Phase.AWAITING_APPROVAL is not before:
                found.append(_paused(scene))
            if scene.phase is Phase.STABLE is not before and scene.state.standby is not None:
                found.append(_spoiled(scene))
            if scene.phase is Phase.AWAITING_APPROVAL and scene.attempt.step >= approved:
                approved = scene.attempt.step + 1
                scene.ask("approve", f"m-{scene.state.canary}:{approved}")
        scene.log.clear()
    return tuple(found)


def beginnings(number: int) -> Iterator[TransitionRecord]:
    """Yield every transition that leads to the checkpoints of one of `SPECS`."""
    for scene in checkpoints(number):
        yield from scene.state.history


def _interrupted(scene: Scene) -> Iterator[Scene]:
    """Yield it paused, with stable lost, without metrics for long, and with a third version that cannot be asked."""
    blind = scene.copy()
    blind.cluster.metrics = Metrics(away="connection refused")
    yield blind.run(160, 4 * CHECKPOINT_TICK_SECONDS)
    asked = scene.copy()
    asked.cluster.metrics = Metrics(mute=True)
    yield asked.roll("20").run(40, CHECKPOINT_TICK_SECONDS)
    yield _paused(scene)
    lost = scene.copy()
    for pod in lost.cluster.pool.of(lost.state.stable):
        pod.crash(lost.cluster.now)
    yield lost.run(1)


def _spoiled(scene: Scene) -> Scene:
    """Return it with a promoted version that has begun to fail."""
    spoiled = scene.copy()
    for pod in spoiled.cluster.pods(spoiled.state.stable):
        pod.behavior = Behavior(errors=0.6)
    return spoiled.run(28, CHECKPOINT_TICK_SECONDS)


def _paused(scene: Scene) -> Scene:
    held = scene.copy()
    return held.ask("pause", f"m-{held.state.canary}").run(1)
