"""All pods and the Prometheus of the benchmark, in a process of its own: `python -m benchmarks.tick.server PODS`.

Writes the port of the pods and that of Prometheus to its standard output, and ends with its standard input.
"""

import asyncio
import json
import sys
import time

from benchmarks.tick.traffic import REPLICAS, model, page, pod_of

BOUNDS_MS = ("0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000", "+Inf")
STARTED = time.monotonic()


class Pod(asyncio.Protocol):
    """One connection to one pod; whatever is asked, it answers its metrics."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note which pod is meant, by the address that was connected to."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a pod speaks TCP")
        self._transport = transport
        self._pod = pod_of(transport.get_extra_info("sockname")[0])

    def data_received(self, _data: bytes) -> None:
        """Answer. A request of ours fits into one segment."""
        body = page(self._pod, time.monotonic() - STARTED)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


class Prometheus(asyncio.Protocol):
    """Answers an instant query with every route's buckets, and a range query with nothing."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("Prometheus speaks TCP")
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer. A request of ours fits into one segment."""
        body = self.answer if b"/api/v1/query?" in data else _result([])
        self._transport.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )


def _result(rows: list[object]) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}}).encode()


def _routes(models: int) -> bytes:
    rows: list[object] = []
    for number in range(models):
        route = f"httproute/bench/{model(number)}/rule/0"
        for rank, bound in enumerate(BOUNDS_MS, start=1):
            rows.append({"metric": {"envoy_cluster_name": route, "le": bound}, "value": [0, str(rank * 5.0)]})
    return _result(rows)


async def main() -> None:
    """Serve until the standard input ends."""
    pods = int(sys.argv[1])
    Prometheus.answer = _routes(pods // REPLICAS)
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(Pod, "0.0.0.0", 0, backlog=4096),  # noqa: S104 - every pod has a loopback address
        await loop.create_server(Prometheus, "127.0.0.1", 0),
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
