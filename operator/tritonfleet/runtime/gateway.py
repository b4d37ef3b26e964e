"""Asks Prometheus now and then, beside the ticks: whatever becomes of it, no decision waits."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from tritonfleet.adapters.prometheus import GatewayTraffic, Past, Prometheus, Series
from tritonfleet.adapters.store import Key
from tritonfleet.errors import Transient
from tritonfleet.plan.autoscale import History, LatencyReading, Policy

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 15.0
LONGEST_BACKOFF_SECONDS = 120.0
HISTORY_DAYS = 14
HISTORY_STEP_SECONDS = 900.0
PAST_KEPT_SECONDS = 3600.0
"""By then everybody under an SLO has been handed theirs; of the others nobody needs it."""


class Gateway:
    """Keeps the last traffic that Prometheus told of, and after a start the rates of the past."""

    def __init__(self, prometheus: Prometheus, now: Callable[[], datetime]) -> None:
        self._prometheus = prometheus
        self._now = now
        self._traffic: Mapping[tuple[str, str], GatewayTraffic] = {}
        self._at_seconds = 0.0
        self._past: Past | None = None
        self._clock = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Ask until cancelled: every 15 seconds, and less often while nothing comes."""
        failures = 0
        asked_at = 0.0
        try:
            while True:
                if self._clock() - asked_at > PAST_KEPT_SECONDS:
                    self._past = None
                try:
                    await self.ask()
                    if not asked_at:
                        self._past = await self._prometheus.arrivals(self._now(), HISTORY_DAYS, HISTORY_STEP_SECONDS)
                        asked_at = self._clock()
                    failures = 0
                except Transient as error:
                    failures += 1
                    log.warning("what Prometheus knows is missing", extra={"error": str(error)})
                except Exception as error:
                    # Nothing that Prometheus says may end the operator, which can do without.
                    failures += 1
                    log.exception("asking Prometheus failed unexpectedly", extra={"reason": type(error).__name__})
                await asyncio.sleep(min(LONGEST_BACKOFF_SECONDS, INTERVAL_SECONDS * 2 ** min(failures, 8)))
        finally:
            self._prometheus.close()

    async def ask(self) -> None:
        """Ask for the traffic of all gateways once."""
        self._traffic = await self._prometheus.gateway()
        self._at_seconds = self._now().timestamp()

    def reading(self, key: Key, policy: Policy) -> LatencyReading | None:
        """Return what the gateway saw of one ModelDeployment, however long ago; None where it saw no request."""
        traffic = self._traffic.get(key)
        if traffic is None or policy.latency_target_seconds is None or not traffic.latency.total:
            return None
        total = traffic.latency.total
        within = max(0.0, traffic.latency.within(policy.latency_target_seconds) - traffic.failed)
        return LatencyReading(
            source="Gateway",
            at_seconds=self._at_seconds,
            percentile_seconds=traffic.latency.percentile(policy.percentile),
            within=within / total,
            requests_per_second=total,
        )

    def history(self, key: Key, model: str) -> History | None:
        """Hand over what Prometheus knows of the past, once."""
        if self._past is None:
            return None
        rates = self._past.rates.pop(Series(*key, model), None)
        if rates is None:
            return None
        return History(self._past.start_seconds, self._past.step_seconds, tuple(rates))
