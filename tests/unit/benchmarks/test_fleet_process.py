"""A benchmark whose operator is gone does not wait for it."""

import asyncio

import pytest

from benchmarks.fleet import process
from benchmarks.fleet.process import OperatorEnded, running_operator


async def at_once(*_):
    """Take the operator for ready."""


async def test_a_measurement_ends_with_the_operator_and_names_its_log(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "_until_ready", at_once)
    log = tmp_path / "operator.log"
    with pytest.raises(OperatorEnded, match=rf"the operator ended with code 1: see {log}"):
        async with asyncio.timeout(120), running_operator(tmp_path / "no-kubeconfig", "fleet", log):
            await asyncio.Event().wait()
    assert "kubeconfig" in log.read_text()


async def test_a_measurement_that_is_canceled_stays_canceled(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "_until_ready", at_once)

    async def measure():
        async with running_operator(tmp_path / "no-kubeconfig", "fleet", tmp_path / "operator.log"):
            await asyncio.Event().wait()

    measuring = asyncio.create_task(measure())
    await asyncio.sleep(0.05)
    measuring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await measuring
