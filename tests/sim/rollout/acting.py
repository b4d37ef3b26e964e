"""One operator process: it observes, decides with the real `reconcile`, and writes in the executor's order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from tests.sim.rollout.apiserver import Refusal
from tests.sim.rollout.cluster import Cluster
from tests.sim.rollout.watching import Watcher
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.world import Observed, Plan
from tritonfleet.runtime import BEFORE_PODS, intent_of

MAX_PASSES = 30
"""More at one moment would be a decision that never comes to rest."""


class Died(Exception):
    """The process ended in the midst of its writes."""


@dataclass
class Operator:
    """A process with its own view; `lag` holds the view that it goes on using instead of the live one."""

    cluster: Cluster
    watcher: Watcher = field(default_factory=Watcher)
    stale: Observed | None = None
    skew: timedelta = timedelta()
    """How far its clock is off."""
    dies_after: int | None = None
    """Writes that it still gets done; None for as many as it likes."""
    loses_status: bool = False
    """Whether the next write of the status never arrives."""
    on_write: Callable[[Observed], None] = lambda _observed: None
    refusals: int = 0

    def observe(self) -> Observed:
        """Return what it believes the world to be."""
        if self.stale is not None:
            return self.stale
        cluster = self.cluster
        evidence = self.watcher.look(cluster.api.body, cluster.pool, cluster.metrics, cluster.now)
        return cluster.observed(evidence)

    def reconcile(self) -> int:
        """Decide and write until there is nothing more to say; return the number of passes that wrote something."""
        for passes in range(MAX_PASSES):
            observed = self.observe()
            plan = reconcile(observed, self.cluster.now + self.skew)
            try:
                wrote = self._carry_out(plan, observed)
            except Refusal:
                self.refusals += 1
                return passes
            if not wrote or self.stale is not None:
                return passes
        raise AssertionError(f"never at rest: {plan.applies or plan.deletes or plan.status.get('rollout')}")

    def _carry_out(self, plan: Plan, observed: Observed) -> bool:
        written = False
        for write in self._writes(plan, observed):
            if self.dies_after == 0:
                raise Died
            if self.dies_after is not None:
                self.dies_after -= 1
            write()
            written = True
            self.on_write(observed)
        return written

    def _writes(self, plan: Plan, observed: Observed) -> Iterator[Callable[[], None]]:
        """Yield the writes of one pass: children while there are any to write, else the status."""
        api, now = self.cluster.api, self.cluster.now
        if plan.applies and plan.guarded:
            self._refuse_if_changed(observed)
        for apply in sorted(plan.applies, key=lambda apply: apply.target.kind not in BEFORE_PODS):
            yield lambda apply=apply: api.apply(apply.manifest, now, exists=apply.exists)
        if plan.deletes:
            self._refuse_if_changed(observed)
        for delete in plan.deletes:
            yield lambda delete=delete: api.delete(delete.target, delete.uid)
        if not plan.applies and not plan.deletes and plan.status != observed.body.get("status"):
            yield lambda: self._write_status(plan, observed)

    def _refuse_if_changed(self, observed: Observed) -> None:
        if intent_of(self.cluster.api.body) != intent_of(observed.body):
            raise Refusal("the ModelDeployment changed before anything was written")

    def _write_status(self, plan: Plan, observed: Observed) -> None:
        if self.loses_status:
            self.loses_status = False
            raise Refusal("the request timed out")
        self.cluster.api.write_status(observed.body, plan.status, guarded=plan.guarded)
        self.cluster.events += [f"{event.type} {event.reason}: {event.message}" for event in plan.events]
