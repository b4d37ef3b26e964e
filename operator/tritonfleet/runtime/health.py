"""Answer /healthz, /readyz and /metrics.

`sickness()` decides when this process should be restarted (something has not moved for minutes) and `unreadiness()`
when it should get no traffic, both from a `HealthSnapshot` that `app.py` takes for each request.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

STUCK_SECONDS = 300.0
"""A reconcile is cut off long before; a key that waits or is worked on for so long means that nothing moves."""
SWEEP_STALE_SECONDS = 1800.0
"""Three sweeps missed: the store may be blind to deletions."""
LEASE_STALE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """What the operator knows about itself; ages in seconds, None for never."""

    leads: bool
    lease_age: float | None
    sweep_age: float | None
    oldest_due: float
    longest_taken: float


def sickness(snapshot: HealthSnapshot) -> str | None:
    """Say why this process should be restarted, or None.

    That an HTTP answer comes at all shows that the event loop runs; a lost lease or a dead watch ends the process
    by itself.
    """
    if snapshot.longest_taken > STUCK_SECONDS:
        return f"a reconcile has been running for {snapshot.longest_taken:.0f} s"
    if snapshot.oldest_due > STUCK_SECONDS:
        return f"a key has been due for {snapshot.oldest_due:.0f} s: the queue does not move"
    if snapshot.leads and snapshot.lease_age is not None and snapshot.lease_age > LEASE_STALE_SECONDS:
        return f"the lease was last renewed {snapshot.lease_age:.0f} s ago: its loop does not run"
    if snapshot.leads and snapshot.sweep_age is not None and snapshot.sweep_age > SWEEP_STALE_SECONDS:
        return f"the watches were last checked against a list {snapshot.sweep_age:.0f} s ago"
    return None


def unreadiness(snapshot: HealthSnapshot) -> str | None:
    """Say why this process does not do its work, or could not take it over, or None."""
    if snapshot.lease_age is None or snapshot.lease_age > LEASE_STALE_SECONDS:
        return "the API server has not answered about the lease lately"
    if snapshot.leads and snapshot.sweep_age is None:
        return "the watches have not been checked against a list yet"
    return sickness(snapshot)


class HealthServer:
    """Serves the three paths on every address; port 0 takes any free one."""

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
        return _verdict(sickness(self._snapshot()))

    async def _readyz(self, _: web.Request) -> web.Response:
        return _verdict(unreadiness(self._snapshot()))

    async def _exposition(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _listener(port: int) -> socket.socket:
    """Open the port on every address: probes and scrapes come from outside the pod, over IPv4 or IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _verdict(problem: str | None) -> web.Response:
    return web.Response(text=problem or "ok", status=200 if problem is None else 503)
