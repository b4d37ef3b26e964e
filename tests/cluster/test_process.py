"""The operator as the process that its image starts."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.faultproxy import FaultProxy
from tests.cluster.world import eventually


class Process:
    """`python -m tritonfleet` against the test's namespace."""

    def __init__(self, control_plane, world, port: int, kubeconfig: Path) -> None:
        self.port = port
        self.log = control_plane.folder / f"operator-{world.namespace}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubeconfig),
            "TRITONFLEET_NAMESPACES": world.namespace,
            "TRITONFLEET_LEASE_NAMESPACE": world.namespace,
            "TRITONFLEET_LEASE_NAME": "operator",
            # Kubernetes gives a restarted container the name of its pod again.
            "TRITONFLEET_IDENTITY": "pod-1",
            "TRITONFLEET_HTTP_PORT": str(port),
        }
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen([sys.executable, "-m", "tritonfleet"], env=environment, stderr=log)

    async def ask(self, path: str) -> tuple[int, str]:
        try:
            async with aiohttp.request("GET", f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError as error:
            return 0, str(error)

    async def is_ready(self) -> bool:
        assert self.popen.poll() is None, self.log.read_text()
        return await self.ask("/readyz") == (200, "ok")


@pytest.fixture
async def start(control_plane, world, unused_tcp_port) -> AsyncIterator:
    running = []

    def start(kubeconfig: Path = control_plane.kubeconfig) -> Process:
        running.append(Process(control_plane, world, unused_tcp_port, kubeconfig))
        return running[-1]

    yield start
    for process in running:
        process.popen.kill()
        await asyncio.to_thread(process.popen.wait)


async def test_on_sigterm_it_releases_the_lease_and_exits_with_0(world, start, kubelet):
    process = start()
    await eventually(process.is_ready, "/readyz")
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    assert await process.ask("/healthz") == (200, "ok")
    _, metrics = await process.ask("/metrics")
    assert 'tritonfleet_writes_total{kind="Deployment",verb="apply"} 1.0' in metrics
    assert 'leader_election_master_status{name="operator"} 1.0' in metrics
    process.popen.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.popen.wait, 20) == 0
    lease = await world.cluster.get("Lease", world.namespace, "operator")
    assert lease["spec"]["holderIdentity"] == ""
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    creations = [line for line in lines if line["msg"] == "creating"]
    assert len(creations) == 6
    assert all(line["modeldeployment"] == "demo" and line["reason"] == "Missing" for line in creations)


async def test_killed_with_signal_nine_its_successor_carries_on(world, start, kubelet):
    first = start()
    await eventually(first.is_ready, "/readyz")
    await world.create("demo")
    await eventually(lambda: world.children("ControllerRevision"), "a first child")
    first.popen.kill()
    await asyncio.to_thread(first.popen.wait)
    second = start()
    await eventually(second.is_ready, "/readyz")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    assert len(await world.children()) == 6


async def test_a_setting_that_cannot_be_used_ends_it_with_a_sentence():
    environment = {"PATH": os.environ["PATH"], "TRITONFLEET_WORKERS": "none"}
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "tritonfleet"], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("tritonfleet: TRITONFLEET_WORKERS: ")
    assert "Traceback" not in ended.stderr


@pytest.fixture
def busy_processors() -> Iterator[None]:
    """Two processes that never rest."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


@pytest.mark.acceptance
async def test_a_thousand_objects_at_once_beside_a_slow_api_server_and_busy_processors_cost_no_lease(
    control_plane, world, start, busy_processors
):
    proxy = FaultProxy(control_plane).start()
    try:
        process = start(proxy.kubeconfig)
        await eventually(process.is_ready, "/readyz")
        proxy.delay_seconds = 2.0
        await asyncio.gather(*(world.create(f"demo-{number}") for number in range(1000)))

        async def all_have_pods() -> bool:
            assert process.popen.poll() is None, process.log.read_text()[-2000:]
            listing = await world.cluster.list("Deployment", world.namespace, metadata_only=True)
            return len(listing.items) == 1000

        await eventually(all_have_pods, "a Deployment for each", within=1800, every=5)
    finally:
        proxy.stop()
    lease = await world.cluster.get("Lease", world.namespace, "operator")
    assert lease["spec"]["leaseTransitions"] == 0
