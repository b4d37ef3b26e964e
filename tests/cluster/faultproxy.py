"""An HTTP proxy before the API server that makes trouble on demand: refusals, broken connections, expired watches."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from tests.cluster.controlplane import TOKEN, ControlPlane

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "content-encoding", "host"})


class Fault(Enum):
    """What may happen to one request."""

    CONFLICT = "409"
    TOO_MANY_REQUESTS = "429"
    SERVER_ERROR = "500"
    LOST_BEFORE = "connection dropped before the request took effect"
    LOST_AFTER = "connection dropped after the request took effect"
    GARBLED = "200 with something that is not JSON"


Choose = Callable[[str, str], Fault | None]
"""Chooses the fault of one request, given its method and path."""


class FaultProxy:
    """Runs in a thread of its own; what is asked of it from outside takes effect on the next request."""

    def __init__(self, plane: ControlPlane) -> None:
        self._upstream = f"https://127.0.0.1:{plane.port}"
        self._folder = plane.folder
        self._choose: Choose = lambda _method, _path: None
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fault-proxy", daemon=True)
        self._watches: set[asyncio.Task[None]] = set()
        self._closed_to_watches = False
        self._expired: set[str] = set()
        self.delay_seconds = 0.0
        """How long every request but a watch waits, those about leases too."""

    def start(self) -> "FaultProxy":
        self._thread.start()
        self._started.wait(20)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(20)

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig that leads through the proxy."""
        path = self._folder / f"kubeconfig-proxy-{self.port}"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
                    "users": [{"name": "proxy", "user": {"token": TOKEN}}],
                    "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
                    "current-context": "proxy",
                }
            )
        )
        return path

    def choose(self, choose: Choose) -> None:
        """Ask this function for the fault of every write from now on, leases aside."""
        self._choose = choose

    def fail_each_write_once(self, fault: Fault) -> set[tuple[str, str]]:
        """Let the first attempt at every single write fail; return the growing set of those that did."""
        struck: set[tuple[str, str]] = set()

        def choose(method: str, path: str) -> Fault | None:
            if (method, path) in struck:
                return None
            struck.add((method, path))
            return fault

        self.choose(choose)
        return struck

    def cut_watches(self) -> None:
        """Break every open watch, and let none through until `restore_watches`."""
        self._closed_to_watches = True
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._watches])

    def restore_watches(self, *, expired: bool = False) -> None:
        """Let watches through again; `expired`: what they missed can no longer be told (410), as after a compaction."""
        if expired:
            self._expired = {"*"}
        self._closed_to_watches = False

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        connector = aiohttp.TCPConnector(ssl=False, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as self._session:
            application = web.Application(client_max_size=2**24)
            application.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            self._seen_expired: set[str] = set()
            self._started.set()
            await self._stopping.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        fault = None
        if request.method in WRITES and "/leases/" not in request.path:
            fault = self._choose(request.method, request.path)
        match fault:
            case Fault.CONFLICT | Fault.TOO_MANY_REQUESTS | Fault.SERVER_ERROR:
                status = {"kind": "Status", "code": int(fault.value), "message": "made by the fault proxy"}
                return web.json_response(status, status=int(fault.value), headers={"Retry-After": "1"})
            case Fault.LOST_BEFORE:
                return _break_off(request)
        await asyncio.sleep(self.delay_seconds)
        answer = await self._forward(request)
        match fault:
            case Fault.LOST_AFTER:
                return _break_off(request)
            case Fault.GARBLED:
                return web.Response(text="<html>a proxy's greeting</html>")
        return answer

    async def _forward(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._session.request(
            request.method, self._upstream + request.raw_path, headers=headers, data=await request.read() or None
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if self._closed_to_watches:
            return _break_off(request)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if self._expired and request.path not in self._seen_expired:
            self._seen_expired.add(request.path)
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return response
        pump = asyncio.ensure_future(self._pump(request, response))
        self._watches.add(pump)
        with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, ConnectionError):
            await pump
        self._watches.discard(pump)
        return _break_off(request)

    async def _pump(self, request: web.Request, response: web.StreamResponse) -> None:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._session.get(
            self._upstream + request.raw_path, headers=headers, timeout=aiohttp.ClientTimeout(total=None)
        ) as answer:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)


def _break_off(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
