"""The end of a window: to what its pods counted comes what only others know."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tritonfleet.adapters.store import Key
from tritonfleet.api.metrics import MetricsSource
from tritonfleet.plan.rollout.analysis.counts import Revision
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.analysis.window import Window
from tritonfleet.plan.rollout.edge import Counters, Edge, Tally, edges, told
from tritonfleet.plan.rollout.watch import Watch
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
        clusters: Mapping[str, str] | None,
        before: asyncio.Task[Snapshot] | None,
        after: asyncio.Task[Snapshot] | None,
    ) -> Window:
        """Return the window with golden requests, queries, and what the gateway counted from its start to its end.

        `pods` are the addresses of the canary's ready pods, `clusters` what the gateway calls each revision; None
        where no gateway is asked. Ends within a minute, whoever does not answer.
        """
        watch, namespace = self.watch, self.key.namespace
        run = await inquiry.probe(namespace, watch, pods) if watch.probes else None
        answers = await inquiry.answers(namespace, watch, datetime.fromtimestamp(window.end_seconds, UTC))
        window = replace(window, probe=run, probe_expected=watch.probes, answers=answers)
        if before is None or after is None or clusters is None:
            return window
        # Other rollouts wait for the same answers: if this one is given up, theirs are not.
        first, last = await asyncio.gather(asyncio.shield(before), asyncio.shield(after))
        return self._timed(window, clusters, first, last)

    def _timed(self, window: Window, clusters: Mapping[str, str], before: Snapshot, after: Snapshot) -> Window:
        """Return the window with the latencies that the gateway measured, and with what only it saw fail."""
        for said in (before, after):
            if isinstance(said, str):
                return replace(window, untimed=sentence(said), beats=None)
        first, last = (said.get(self.key, {}) if not isinstance(said, str) else {} for said in (before, after))
        if self.watch.source is MetricsSource.AUTO and not first and not last:
            # Nobody scrapes the gateway: there is what the pods themselves say.
            return window
        if not first or not last:
            moment = "end" if first else "start"
            text = f"Prometheus had no series of HTTPRoute '{self.key}' at the window's {moment}"
            return replace(window, untimed=text, beats=None)
        found = edges(first, last, clusters)
        return replace(
            window,
            canary=self._told(self.watch.segment.canary, window.canary, found),
            stable=self._told(self.watch.stable, window.stable, found),
            beats=None,
        )

    def _told(self, revision: str, counted: Revision, found: Mapping[str, Edge]) -> Revision:
        if revision not in found:
            return counted
        tally = self.tallies.get(revision, Tally())
        counted, self.tallies[revision] = told(counted, found[revision], tally, alone=self.watch.alone)
        return counted
