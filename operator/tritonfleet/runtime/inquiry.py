"""What is asked beside the counters: golden requests, a user's own queries, and what the gateway counted."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from tritonfleet.adapters.prometheus import Prometheus
from tritonfleet.api.canary import PromQuery
from tritonfleet.errors import InvalidSpec, Transient, TritonfleetError
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.analysis.window import Answer, ProbeRun
from tritonfleet.plan.rollout.confinement import confine
from tritonfleet.plan.rollout.edge import Counters
from tritonfleet.plan.rollout.evidence import Verification
from tritonfleet.plan.rollout.verification import golden
from tritonfleet.plan.rollout.verification.golden import Golden
from tritonfleet.plan.rollout.watch import Watch
from tritonfleet.plan.world import Manifest
from tritonfleet.runtime import verification
from tritonfleet.runtime.verification import Connect

log = logging.getLogger(__name__)

PROBE_SECONDS: Final = 30.0
"""For all golden requests of one window; what is not answered by then was not sent."""
QUERIES_SECONDS: Final = 30.0
"""For all of a user's queries in one window."""
VERIFY_SECONDS: Final = 120.0
"""For one verification; a pod that takes longer is asked again."""

Route = tuple[str, str]
"""Namespace and name of an HTTPRoute."""
Get = Callable[[str, str | None, str], Awaitable[Manifest | None]]
"""Reads one object, given kind, namespace and name."""


class Inquiry:
    """Asks on behalf of rollouts; nothing here takes longer than a known time."""

    def __init__(
        self,
        get: Get,
        prometheus: Prometheus | None,
        *,
        custom_queries: bool,
        connect: Connect = verification.connect,
    ) -> None:
        self._get = get
        self._prometheus = prometheus
        self._custom_queries = custom_queries
        self._connect = connect
        self._one_query = asyncio.Lock()

    @property
    def knows_gateways(self) -> bool:
        """Whether there is a Prometheus to ask."""
        return self._prometheus is not None

    def close(self) -> None:
        """Ask Prometheus nothing more."""
        if self._prometheus is not None:
            self._prometheus.close()

    async def edges(self, routes: Collection[Route], at: datetime) -> Mapping[Route, Counters] | str:
        """Return what gateways had counted at a moment, or why that is not known."""
        if self._prometheus is None:
            return "no Prometheus is configured"
        try:
            return await self._prometheus.edges(routes, at)
        except Transient as error:
            return str(error)

    async def verify(self, namespace: str, watch: Watch, canary: Sequence[str], stable: str | None) -> Verification:
        """Ask the canary's pods, by their addresses, what has to be right before they get traffic.

        Raises TimeoutError, Transient or Refused when that could not be done to the end.
        """
        async with asyncio.timeout(VERIFY_SECONDS):
            asked = await self._golden(namespace, watch)
            return await verification.verify(canary, stable, watch.model, asked, watch.contract, connect=self._connect)

    async def probe(self, namespace: str, watch: Watch, pods: Sequence[str]) -> ProbeRun | None:
        """Send the golden requests once; None if none could be sent."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                asked = await self._golden(namespace, watch)
                if asked is None:
                    return None
                return await verification.probe(pods, watch.model, asked, connect=self._connect)
        except (TimeoutError, TritonfleetError) as error:
            log.warning("golden requests could not be sent", extra={"namespace": namespace, "error": str(error)})
            return None

    async def answers(self, namespace: str, watch: Watch, at: datetime) -> tuple[Answer, ...]:
        """Ask every query of the user's, one after the other; each has an answer or says why not."""
        answers: dict[str, Answer] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUERIES_SECONDS):
                for query in watch.queries:
                    answers[query.name] = await self._answer(namespace, watch, query, at)
        late = f"Prometheus did not answer all queries within {QUERIES_SECONDS:.0f} s"
        return tuple(answers.get(query.name) or Answer(query.name, error=late) for query in watch.queries)

    async def _answer(self, namespace: str, watch: Watch, query: PromQuery, at: datetime) -> Answer:
        if not self._custom_queries:
            return Answer(query.name, error="the operator does not allow queries of one's own (rollouts.customQueries)")
        if self._prometheus is None:
            return Answer(query.name, error="the operator knows no Prometheus (prometheus.url)")
        try:
            mine = confine(query.query, namespace, watch.segment.canary)
            other = confine(query.baseline, namespace, watch.stable) if query.baseline is not None else None
            # A rollout may have many, and there may be many rollouts; the answers are awaited in the same order.
            async with self._one_query:
                values = await self._prometheus.values(mine, at)
                baseline = await self._prometheus.values(other, at) if other is not None else ()
        except (InvalidSpec, Transient) as error:
            return Answer(query.name, error=sentence(str(error)))
        return Answer(query.name, values, baseline)

    async def _golden(self, namespace: str, watch: Watch) -> Golden | None:
        """Read the golden file afresh: its owner may have mended it. Raises Transient or Refused."""
        if watch.golden is None:
            return None
        name, key = watch.golden.config_map_name, watch.golden.key
        found = await self._get("ConfigMap", namespace, name)
        if found is None:
            return Golden(problem=f"there is no ConfigMap '{name}'")
        text = (found.get("data") or {}).get(key)
        if not isinstance(text, str):
            return Golden(problem=f"ConfigMap '{name}' has no key '{key}'")
        return golden.read(text)
