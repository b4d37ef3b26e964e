"""A story in the cluster: a person, an operator that may die, and a log that people can read."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tests.sim.rollout.acting import Died, Operator
from tests.sim.rollout.apiserver import ApiServer
from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.cluster import START, Cluster, body_of
from tests.sim.rollout.gateway import FRONT, ROUTE, route_weights
from tests.sim.rollout.invariants import Invariants
from tests.sim.rollout.pool import Pool
from tests.sim.rollout.reading import state_of
from tritonfleet.api import names
from tritonfleet.plan.rollout import Attempt, Phase, State, TransitionRecord

FOUR_GPUS = {"node-a": 1, "node-b": 1, "node-c": 1, "node-d": 1}
EIGHT_GPUS = {"node-a": 2, "node-b": 2, "node-c": 2, "node-d": 2}
ANALYSIS = {"interval": "10s", "warmup": "0s", "windows": 2, "minRequests": 50, "bakeTime": "20s"}
HASH = re.compile(r"\b(?:m-)?([0-9a-f]{10})\b")


def model(version: str) -> dict[str, Any]:
    """Return a spec's `model`."""
    return {"uri": f"s3://models/m/{version}", "backend": "onnxruntime"}


def spec_of(*, steps: tuple[Any, ...] = (25, 50), mode: str = "Surge", gateway: bool = True, **more: Any) -> Any:
    """Return the spec of four replicas, one GPU each; a step is a weight or a whole step, `analysis` adds to it."""
    canary = {
        "steps": [step if isinstance(step, Mapping) else {"weight": step} for step in steps],
        "capacity": {"mode": mode, **more.pop("capacity", {})},
        "analysis": {**ANALYSIS, **more.pop("analysis", {})},
        **more.pop("canary", {}),
    }
    traffic = {"gateway": {"parentRefs": [{"name": "gw"}]}} if gateway else None
    spec = {
        "model": model("1"),
        "replicas": more.pop("replicas", 4),
        "server": {"gpu": {"count": 1}},
        "traffic": traffic,
        "rollout": {"strategy": "Canary", "canary": canary, "stableRetention": "60s", **more.pop("rollout", {})},
        **more,
    }
    return {key: value for key, value in spec.items() if value is not None}


class Scene:
    """One ModelDeployment from its creation on. Every write of the operator is checked against the invariants."""

    def __init__(
        self,
        spec: Any = None,
        *,
        gpus: Mapping[str, int] = EIGHT_GPUS,
        behaviors: Mapping[str, Behavior] | None = None,
        cluster: Cluster | None = None,
        is_told: bool = True,
    ) -> None:
        by_uri = {model(version)["uri"]: behavior for version, behavior in (behaviors or {}).items()}
        self.cluster = cluster or Cluster(ApiServer(body_of(spec or spec_of())), Pool(dict(gpus)), by_uri)
        self.invariants = Invariants(self.cluster)
        self.is_told = is_told
        """Whether a log is kept, which costs time."""
        self.log: list[str] = []
        self.deaths = self.writes = 0
        self._logged: dict[str, Any] = {}
        self.operator = self.start_operator()

    def start_operator(self) -> Operator:
        """Return a process that remembers nothing."""
        return Operator(self.cluster, on_write=self._wrote)

    def copy(self, *, is_told: bool = True) -> "Scene":
        """Return another scene that goes on from here, with an operator that has seen nothing yet."""
        return Scene(cluster=self.cluster.copy(), is_told=is_told)

    @property
    def state(self) -> State:
        """What `status.rollout` says."""
        return state_of(self.cluster.api.body) or State()

    @property
    def attempt(self) -> Attempt:
        """The rollout under way; an empty one where there is none."""
        return self.state.attempt or Attempt()

    @property
    def phase(self) -> Phase:
        """Where the rollout is."""
        return self.state.phase

    def tick(self) -> None:
        """Let the operator act, and be started again if it dies of it."""
        self.invariants.begin()
        try:
            self.operator.reconcile()
        except Died:
            self.deaths += 1
            self.operator = self.start_operator()
        self.cluster.settle()
        if self.is_told:
            self._note()

    def run(self, seconds: float, every: float = 1.0) -> "Scene":
        """Let time pass."""
        for _ in range(round(seconds / every)):
            self.cluster.pass_time(every)
            self.tick()
        return self

    def run_to(self, *phases: Phase, within: float = 600.0, every: float = 1.0) -> "Scene":
        """Let time pass until the rollout is in one of the phases, or goes through it."""
        came = len(self.passages())
        return self.run_until(
            lambda: self.phase in phases or any(each.target in phases for each in self.passages()[came:]),
            within=within,
            every=every,
        )

    def run_to_stable(self, version: str, within: float = 900.0) -> "Scene":
        """Let time pass until a version serves alone."""
        return self.run_until(
            lambda: self.phase is Phase.STABLE and self.version(self.state.stable) == version, within=within
        )

    def run_until(self, reached: Callable[[], bool], within: float = 600.0, every: float = 1.0) -> "Scene":
        """Let time pass until something holds."""
        for _ in range(round(within / every)):
            if reached():
                return self
            self.run(every, every)
        raise AssertionError(f"not within {within:.0f} s; it is {self.phase}:\n{self.story()}")

    def serve(self) -> "Scene":
        """Let the first revision serve; users come when it does."""
        self.tick()
        self.run_to(Phase.STABLE).run(3)
        self.cluster.traffic.failed = self.cluster.traffic.unserved = 0.0
        return self

    def edit(self, said: str = "", **spec: Any) -> "Scene":
        """Let a person change the spec."""
        self.say("you", said or ", ".join(f"{key}: {value}" for key, value in spec.items()))
        self.cluster.edit(**spec)
        return self

    def roll(self, version: str) -> "Scene":
        """Let a person ask for another version of the model."""
        return self.edit(f"ask for model version {version}", model=model(version))

    def rollout(self, **fields: Any) -> "Scene":
        """Let a person change `spec.rollout`."""
        return self.edit(rollout={**self.cluster.api.body["spec"]["rollout"], **fields})

    def ask(self, verb: str, value: str) -> "Scene":
        """Let a person ask by an annotation."""
        self.say("you", f"annotate {verb}={value}")
        self.cluster.annotate(verb, value)
        return self

    def revision(self, version: str) -> str:
        """Return the hash of the revision of a model's version."""
        for target, child in self.cluster.api.children.items():
            if target.kind == "ControllerRevision" and child["data"]["spec"]["model"]["uri"] == model(version)["uri"]:
                return str(child["metadata"]["labels"][names.REVISION_LABEL])
        raise AssertionError(f"no revision of version {version}")

    def asked(self) -> dict[str, int]:
        """Return the replicas of every Deployment, by its model's version."""
        return {self.version(revision): size for revision, size in self.invariants.asked().items()}

    def ready(self, version: str) -> int:
        """Return the ready pods of a model's version."""
        return len(self.cluster.pool.serving(self.revision(version)))

    def shares(self) -> dict[str, float]:
        """Return where users' requests go, in percent, by the model's version."""
        in_force = self.cluster.gateway.in_force
        return {self.version(revision): round(100 * share) for revision, share in sorted(in_force.items())}

    def version(self, revision: str) -> str:
        """Return the model's version that a revision serves."""
        record = next(
            (
                child
                for target, child in self.cluster.api.children.items()
                if target.kind == "ControllerRevision" and target.name == names.revision_name("m", revision)
            ),
            None,
        )
        return str(record["data"]["spec"]["model"]["uri"]).rpartition("/")[2] if record is not None else revision

    def passages(self) -> list[TransitionRecord]:
        """Return every transition so far, the oldest first."""
        return self.invariants.passages

    def path(self) -> list[str]:
        """Return the phases gone through so far."""
        return [record.target.value for record in self.passages()]

    def say(self, who: str, what: str) -> None:
        """Add a line to the log."""
        minutes, seconds = divmod(round((self.cluster.now - START).total_seconds()), 60)
        self.log.append(f"{minutes:3d}:{seconds:02d}  {who:8}  {what}")

    def story(self) -> str:
        """Return the log, each hash as the version of the model that it stands for."""
        return self._readable("\n".join(self.log) + "\n")

    def _readable(self, text: str) -> str:
        return HASH.sub(lambda found: f"version {self.version(found[1])}", text)

    def _wrote(self, observed: Any) -> None:
        self.writes += 1
        taken = self.invariants.wrote(observed)
        if not self.is_told:
            return
        for record in taken:
            self.say("operator", f"{record.source} -> {record.target} ({record.reason}) {record.message}")
        self._note_change("asks", ", ".join(f"{size} of {version}" for version, size in sorted(self.asked().items())))
        self._note_change("writes", self._weights())

    def _weights(self) -> str:
        api = self.cluster.api
        route, front = api.children.get(ROUTE), api.children.get(FRONT)
        if route is not None:
            rules = route_weights(route)
            return ", ".join(f"{weight} % to {self.version(to)}" for to, weight in sorted(rules[-1].items()) if weight)
        selected = front["spec"]["selector"].get(names.REVISION_LABEL) if front is not None else None
        return f"Service to {self.version(selected)}" if selected else "Service to all pods" if front else ""

    def _note(self) -> None:
        ready = {version: self.ready(version) for version in sorted(self.asked())}
        self._note_change("pods", ", ".join(f"{count} of {version} ready" for version, count in ready.items()))
        shares = sorted(self.shares().items())
        self._note_change("users", ", ".join(f"{share:.0f} % to {version}" for version, share in shares))

    def _note_change(self, who: str, what: str) -> None:
        if what and self._logged.get(who) != what:
            self._logged[who] = what
            self.say(who, what)


def seconds_between(passages: list[TransitionRecord], first: Phase, last: Phase) -> float:
    """Return the time from entering one phase first to entering another first after that."""
    began: datetime | None = None
    for record in passages:
        if began is None and record.target is first:
            began = record.at
        elif began is not None and record.target is last:
            return (record.at - began).total_seconds()
    raise AssertionError(f"never from {first} to {last}")
