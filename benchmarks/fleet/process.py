"""The operator as a process of its own, and what it costs."""

import asyncio
import os
import re
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.fleet.manifests import FETCH_IMAGE

READY_SECONDS_MAX = 60
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class OperatorEnded(Exception):
    """The operator is gone, so that what is waited for will never come."""


@dataclass(frozen=True, slots=True)
class OperatorProcess:
    """A running operator."""

    pid: int
    address: str

    def cpu_seconds(self) -> float:
        """Return the processor time it has used since it started."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def peak_memory_mib(self) -> float:
        """Return the most resident memory it has ever had, as the kernel keeps it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1]) / 1024  # type: ignore[index]

    async def requests(self) -> Counter[tuple[str, str]]:
        """Return the API requests it has made so far by method and kind, as it counts them itself."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.address}/metrics") as answer:
            exposition = await answer.text()
        totals: Counter[tuple[str, str]] = Counter()
        for labels, value in re.findall(r"^rest_client_requests_total\{(.*)\} (\S+)$", exposition, re.MULTILINE):
            found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            totals[found["method"], found["kind"]] += int(float(value))
        return totals


@asynccontextmanager
async def running_operator(kubeconfig: Path, namespace: str, log: Path) -> AsyncIterator[OperatorProcess]:
    """Run the operator for one namespace until the block ends."""
    port = _free_port()
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "TRITONFLEET_NAMESPACES": namespace,
        "TRITONFLEET_LEASE_NAMESPACE": namespace,
        "TRITONFLEET_FETCH_IMAGE": FETCH_IMAGE,
        "TRITONFLEET_HTTP_PORT": str(port),
    }
    with log.open("w") as output:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tritonfleet", env=environment, stdout=output, stderr=output
        )
    measuring = asyncio.current_task()
    over = False

    def end_measuring(_: object) -> None:
        if not over and measuring is not None:
            measuring.cancel()

    ended = asyncio.create_task(child.wait())
    ended.add_done_callback(end_measuring)
    try:
        await _until_ready(f"http://127.0.0.1:{port}/readyz", child, log)
        yield OperatorProcess(child.pid, f"http://127.0.0.1:{port}")
    except asyncio.CancelledError as error:
        if not ended.done():
            raise
        raise OperatorEnded(f"the operator ended with code {child.returncode}: see {log}") from error
    finally:
        over = True
        if not ended.done():
            child.terminate()
        await ended


async def _until_ready(url: str, child: asyncio.subprocess.Process, log: Path) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(READY_SECONDS_MAX * 5):
            if child.returncode is not None:
                raise OperatorEnded(f"the operator ended with code {child.returncode} before it was ready: see {log}")
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
    raise TimeoutError(f"the operator was not ready after {READY_SECONDS_MAX} s: see {log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
