"""The end of a window: to what its pods counted comes what only others know."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tritonfleet.adapters.store import Key
from tritonfleet.api.metrics import MetricsSource
from tritonfleet.plan.children.httproute import backends
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.analysis.window import Window
from tritonfleet.plan.rollout.edge import Counters, Tally, clusters, edges, told
from tritonfleet.plan.rollout.watch import Watch
from tritonfleet.plan.world import Manifest
from tritonfleet.runtime.inquiry import Inquiry, Route

Snapshot = Mapping[Route, Counters] | str
"""What gateways had counted at one moment, or why that is not known."""


@dataclass(slots=True)
class Closing:
    """Completes the windows of one segment, one after the other."""

    key: Key
    watch: Watch
    tallies: dict[str, Tally] = field(default_factory=dict)
    """By revision."""

    async def complete(
        self,
        inquiry: Inquiry,
        window: Window,
        pods: Sequence[str],
        route: Manifest | None,
        before: asyncio.Task[Snapshot] | None,
        after: asyncio.Task[Snapshot] | None,
    ) -> Window:
        """Return the window with golden requests, queries, and what the gateway counted from its start to its end.

        `pods` are the addresses of the canary's ready pods. Ends within a minute, whoever does not answer.
        """
        watch, namespace = self.watch, self.key.namespace
        run, answers = await asyncio.gather(
            inquiry.probe(namespace, watch, pods) if watch.probes else _nothing(),
            inquiry.answers(namespace, watch, datetime.fromtimestamp(window.end_seconds, UTC)),
        )
        window = replace(window, probe=run, probe_expected=watch.probes, answers=answers)
        if before is None or after is None or route is None:
            return window
        # A task that was cancelled with another rollout is no answer.
        first, last = await asyncio.gather(asyncio.shield(before), asyncio.shield(after))
        return self._timed(window, route, first, last)

    def _timed(self, window: Window, route: Manifest, before: Snapshot, after: Snapshot) -> Window:
        """Return the window with the latencies that the gateway measured, and with what only it saw fail."""
        problem = next((each for each in (before, after) if isinstance(each, str)), "")
        if problem or isinstance(before, str) or isinstance(after, str):
            return replace(window, untimed=sentence(problem), beats=None)
        first, last = before.get(self.key, {}), after.get(self.key, {})
        if not first and not last and self.watch.source is MetricsSource.AUTO:
            # No Envoy Gateway, or one that nobody scrapes: then there is only what the pods themselves say.
            return window
        if not first or not last:
            moment = "end" if first else "start"
            text = f"Prometheus had no series of HTTPRoute '{self.key}' at the window's {moment}"
            return replace(window, untimed=text, beats=None)
        names = clusters(self.key.namespace, self.key.name, backends(route))
        found = edges(first, last, names)
        told_of = {}
        for name, revision, counted in (
            ("canary", self.watch.segment.canary, window.canary),
            ("stable", self.watch.stable, window.stable),
        ):
            told_of[name] = counted
            if revision in found:
                tally = self.tallies.get(revision, Tally())
                told_of[name], self.tallies[revision] = told(counted, found[revision], tally, alone=self.watch.alone)
        return replace(window, canary=told_of["canary"], stable=told_of["stable"], beats=None)


async def _nothing() -> None:
    return None
