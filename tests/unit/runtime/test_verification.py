"""The order and the number of questions, against pods that answer from memory."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tritonfleet.api.canary import ContractPolicy
from tritonfleet.errors import Rejected, Transient
from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.verification import Answer, Contract, Exact, Golden, GoldenRequest, Port, Tensor
from tritonfleet.runtime import probes, verify
from tritonfleet.runtime.probes import probe

DIGITS = Contract((Port("X", "FP32", (-1, 64)),), (Port("label", "INT64", (1,)),), max_batch_size=16)
SEVEN = Tensor("label", "INT64", (1,), (7,))
THREE = Tensor("label", "INT64", (1,), (3,))
REQUESTS = tuple(GoldenRequest(f"request {number}", (), (Exact(SEVEN),)) for number in range(3))
GOLDEN = Golden(REQUESTS)


@dataclass
class Pods:
    """Every address answers `label` as it is told to, or raises what it is told to."""

    labels: dict[str, Tensor | Exception] = field(default_factory=dict)
    contracts: dict[str, Contract | Exception] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    hang: bool = False
    open: int = 0
    most_open: int = 0

    @asynccontextmanager
    async def connect(self, address: str, model: str) -> AsyncIterator["Pod"]:
        assert model == "digits"
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0)
        try:
            yield Pod(self, address)
        finally:
            self.open -= 1


@dataclass
class Pod:
    pods: Pods
    address: str

    async def contract(self) -> Contract:
        found = self.pods.contracts.get(self.address, DIGITS)
        if isinstance(found, Exception):
            raise found
        return found

    async def infer(self, _: GoldenRequest) -> Answer:
        self.pods.asked[self.address] += 1
        if self.pods.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        found = self.pods.labels.get(self.address, SEVEN)
        if isinstance(found, Exception):
            raise found
        return {"label": found}


def canary(number: int) -> list[str]:
    return [f"10.0.0.{index}" for index in range(number)]


async def test_every_pod_answers_every_golden_request_before_it_gets_traffic() -> None:
    pods = Pods()

    found = await verify(canary(6), "10.0.1.1", "digits", GOLDEN, ContractPolicy.ENFORCE, connect=pods.connect)

    assert found.outcome is Outcome.PASSED
    assert found.pods == 6
    assert pods.asked == Counter(dict.fromkeys(canary(6), 3))
    assert pods.most_open == probes.AT_A_TIME
    assert pods.open == 0


async def test_one_pod_with_wrong_answers_fails_the_canary_and_is_asked_no_further() -> None:
    pods = Pods(labels={"10.0.0.1": THREE})

    found = await verify(canary(2), "10.0.1.1", "digits", GOLDEN, ContractPolicy.ENFORCE, connect=pods.connect)

    assert found.outcome is Outcome.FAILED
    assert found.checks[1].message == (
        "1/2 pods answered golden requests wrong: 'request 0': output 'label'[0]: expected 7, got 3 (1/1 values differ)"
    )
    assert pods.asked["10.0.0.1"] == 1


async def test_a_request_that_the_model_refuses_is_answered_wrong() -> None:
    pods = Pods(labels={"10.0.0.0": Rejected("unexpected shape for input 'X'")})

    found = await verify(canary(1), "10.0.1.1", "digits", GOLDEN, ContractPolicy.ENFORCE, connect=pods.connect)

    assert found.outcome is Outcome.FAILED
    assert "'request 0': request failed: unexpected shape for input 'X'" in found.checks[1].message


async def test_a_pod_that_goes_away_is_given_up_at_once() -> None:
    pods = Pods(labels={"10.0.0.0": Transient("UNAVAILABLE: gone")})

    found = await verify(canary(2), "10.0.1.1", "digits", GOLDEN, ContractPolicy.ENFORCE, connect=pods.connect)

    assert found.outcome is Outcome.ERROR
    assert found.pods == 1
    assert pods.asked["10.0.0.0"] == 1


async def test_stable_is_asked_for_its_contract_alone() -> None:
    pods = Pods(contracts={"10.0.1.1": Contract((), ())})

    found = await verify(canary(1), "10.0.1.1", "digits", GOLDEN, ContractPolicy.ENFORCE, connect=pods.connect)

    assert found.outcome is Outcome.FAILED
    assert "10.0.1.1" not in pods.asked


async def test_stable_that_cannot_be_asked_holds_the_rollout() -> None:
    pods = Pods(contracts={"10.0.1.1": Transient("DEADLINE_EXCEEDED: too late")})

    silent = await verify(canary(1), "10.0.1.1", "digits", None, ContractPolicy.ENFORCE, connect=pods.connect)
    absent = await verify(canary(1), None, "digits", None, ContractPolicy.ENFORCE, connect=pods.connect)

    assert [each.message for each in (*silent.checks, *absent.checks)] == [
        "stable's contract is unknown: DEADLINE_EXCEEDED: too late",
        "stable's contract is unknown: none of its pods is ready",
    ]
    assert {silent.outcome, absent.outcome} == {Outcome.ERROR}


async def test_without_a_contract_check_no_contract_is_read() -> None:
    unknown = Rejected("not to be asked")
    pods = Pods(contracts={"10.0.0.0": unknown, "10.0.1.1": unknown})

    found = await verify(canary(1), "10.0.1.1", "digits", GOLDEN, ContractPolicy.OFF, connect=pods.connect)

    assert found.outcome is Outcome.PASSED


async def test_an_unreadable_golden_file_is_reported_as_the_error() -> None:
    problem = Golden(problem="ConfigMap 'answers' not found")

    found = await verify(canary(1), "10.0.1.1", "digits", problem, ContractPolicy.OFF, connect=Pods().connect)

    assert found.outcome is Outcome.ERROR
    assert found.checks[0].message == "ConfigMap 'answers' not found"


async def test_a_probe_asks_each_question_once_and_each_pod_at_least_once() -> None:
    few, many = Pods(), Pods()

    one_each = await probe(canary(8), "digits", GOLDEN, connect=many.connect)
    spread = await probe(canary(2), "digits", GOLDEN, connect=few.connect)

    assert one_each is not None
    assert (one_each.right, one_each.wrong) == (8, 0)
    assert many.asked == Counter(dict.fromkeys(canary(8), 1))
    assert spread is not None
    assert (spread.right, spread.wrong) == (3, 0)
    assert few.asked == Counter({"10.0.0.0": 2, "10.0.0.1": 1})


async def test_a_probe_counts_what_is_wrong_and_tells_the_first() -> None:
    pods = Pods(labels={"10.0.0.1": THREE})

    found = await probe(canary(2), "digits", GOLDEN, connect=pods.connect)

    assert found is not None
    assert (found.right, found.wrong) == (2, 1)
    assert found.first_wrong == "'request 1': output 'label'[0]: expected 7, got 3 (1/1 values differ)"


async def test_a_pod_that_does_not_answer_a_probe_is_wrong_while_others_answer() -> None:
    pods = Pods(labels={"10.0.0.0": Transient("UNAVAILABLE: gone")})

    found = await probe(canary(2), "digits", GOLDEN, connect=pods.connect)

    assert found is not None
    assert (found.right, found.wrong, found.first_wrong) == (1, 2, "UNAVAILABLE: gone")


async def test_a_probe_that_reaches_no_pod_is_no_verdict_on_the_canary() -> None:
    pods = Pods(labels=dict.fromkeys(canary(2), Transient("UNAVAILABLE: gone")))

    assert await probe(canary(2), "digits", GOLDEN, connect=pods.connect) is None
    assert await probe([], "digits", GOLDEN, connect=pods.connect) is None
    assert await probe(canary(2), "digits", Golden(problem="no file"), connect=pods.connect) is None


async def test_scrapes_are_canceled_when_nothing_waits_for_them() -> None:
    pods = Pods(hang=True)

    asking = asyncio.create_task(verify(canary(2), None, "digits", GOLDEN, ContractPolicy.OFF, connect=pods.connect))
    async with asyncio.timeout(60):
        while len(pods.asked) < 2:  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.001)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert pods.most_open == 2
    assert pods.open == 0


def test_the_client_is_loaded_when_the_first_pod_is_asked() -> None:
    program = """
import asyncio, sys
from tritonfleet.errors import Transient
from tritonfleet.runtime import probes

async def ask():
    async with probes.connect("127.0.0.1", "digits") as server:
        await server.contract()

before = "tritonclient" in sys.modules
try:
    asyncio.run(ask())
except Transient:
    print(before, "tritonclient" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert done.stdout == "False True\n"
