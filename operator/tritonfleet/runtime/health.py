"""Serve /healthz, /readyz and /metrics.

`liveness_problem()` decides when to restart this process (no progress for minutes) and `readiness_problem()`
when it is not ready, both from a `HealthSnapshot` that `app.py` takes for each request.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

STUCK_SECONDS = 300.0
"""A reconcile times out long before; a key that waits or runs for so long means that the operator is stuck."""
SWEEP_STALE_SECONDS = 1800.0
"""Three missed sweeps: deletions may have been missed."""
LEASE_STALE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """The state of the process; ages in seconds, None for never."""

    leads: bool
    lease_age: float | None
    sweep_age: float | None
    oldest_due: float
    longest_taken: float


def liveness_problem(snapshot: HealthSnapshot) -> str | None:
    """Return why this process should be restarted, or None.

    An HTTP response shows that the event loop runs; a lost lease or a failed watch ends the process
    by itself.
    """
    if snapshot.longest_taken > STUCK_SECONDS:
        return f"a reconcile has been running for {snapshot.longest_taken:.0f}s"
    if snapshot.oldest_due > STUCK_SECONDS:
        return f"a key has been due for {snapshot.oldest_due:.0f}s: the queue is stuck"
    if snapshot.leads and snapshot.lease_age is not None and snapshot.lease_age > LEASE_STALE_SECONDS:
        return f"the lease was last renewed {snapshot.lease_age:.0f}s ago: its loop is stuck"
    if snapshot.leads and snapshot.sweep_age is not None and snapshot.sweep_age > SWEEP_STALE_SECONDS:
        return f"the last sweep was {snapshot.sweep_age:.0f}s ago"
    return None


def readiness_problem(snapshot: HealthSnapshot) -> str | None:
    """Return why this process cannot work or take over, or None."""
    if snapshot.lease_age is None or snapshot.lease_age > LEASE_STALE_SECONDS:
        return "the lease could not be read recently"
    if snapshot.leads and snapshot.sweep_age is None:
        return "the first sweep has not finished"
    return liveness_problem(snapshot)


class HealthServer:
    """Serves the three paths on every address; port 0 picks a free one."""

    def __init__(self, snapshot: Callable[[], HealthSnapshot], metrics: Callable[[], bytes]) -> None:
        self._snapshot = snapshot
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self.port: int | None = None

    async def start(self, port: int) -> None:
        """Listen; raises OSError if the port is taken."""
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        listener = _listener(port)
        await web.SockSite(self._runner, listener).start()
        self.port = listener.getsockname()[1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _verdict(liveness_problem(self._snapshot()))

    async def _readyz(self, _: web.Request) -> web.Response:
        return _verdict(readiness_problem(self._snapshot()))

    async def _exposition(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _listener(port: int) -> socket.socket:
    """Open the port on every address: probes and scrapes come from outside the pod, over IPv4 or IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _verdict(problem: str | None) -> web.Response:
    return web.Response(text=problem or "ok", status=200 if problem is None else 503)
