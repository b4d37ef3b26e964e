"""Asks the pods of a canary for their contract and for golden requests, a few at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from tritonfleet.api.canary import ContractPolicy
from tritonfleet.errors import Rejected, Transient
from tritonfleet.plan.rollout.analysis.window import ProbeRun
from tritonfleet.plan.rollout.evidence import Verification
from tritonfleet.plan.rollout.verification import judge
from tritonfleet.plan.rollout.verification.compare import Answer, mismatch
from tritonfleet.plan.rollout.verification.contract import Contract
from tritonfleet.plan.rollout.verification.expectation import GoldenRequest
from tritonfleet.plan.rollout.verification.golden import Golden
from tritonfleet.plan.rollout.verification.judge import Compared, Interview

AT_A_TIME: Final = 4
"""Pods that are asked at the same time for one ModelDeployment: an answer may take megabytes."""


class Server(Protocol):
    """One pod's Triton. Both raise Transient when it cannot be reached, Rejected when it answers with an error."""

    async def contract(self) -> Contract:
        """Return what the model takes and gives."""

    async def infer(self, request: GoldenRequest) -> Answer:
        """Return the outputs that the request looks at."""


Connect = Callable[[str, str], AbstractAsyncContextManager[Server]]
"""Opens a connection, given a pod's IP address and the model's name."""


@asynccontextmanager
async def connect(address: str, model: str) -> AsyncIterator[Server]:
    """Open a connection to a pod; the client is loaded by the first, since few operators ever need its 25 MiB."""
    from tritonfleet.adapters import triton  # noqa: PLC0415

    async with triton.connect(address, model) as server:
        yield server


async def verify(
    canary: Sequence[str],
    stable: str | None,
    model: str,
    golden: Golden | None,
    policy: ContractPolicy,
    *,
    connect: Connect = connect,
) -> Verification:
    """Ask every ready pod of the canary, and one of stable, by their IP addresses; return what it comes to.

    `stable` is None while none of its pods is ready, `golden` is None where no golden requests are asked for.
    """
    compared = await _compared(connect, stable, model, policy)
    requests = golden.requests if golden is not None else ()
    lanes = asyncio.Semaphore(AT_A_TIME)

    async def interview(address: str) -> Interview:
        async with lanes:
            return await _interview(connect, address, model, requests, policy)

    return judge.verification(
        await asyncio.gather(*map(interview, canary)),
        compared,
        golden_requests=len(requests),
        golden_problem=golden.problem if golden is not None else "",
    )


async def probe(pods: Sequence[str], model: str, golden: Golden, *, connect: Connect = connect) -> ProbeRun | None:
    """Send the golden requests once, spread over the pods so that each gets at least one.

    None when none can be sent: no pods, no readable file, or not one pod that can be reached.
    """
    if not pods or not golden.requests:
        return None
    turns = max(len(pods), len(golden.requests))
    shares = [
        [golden.requests[turn % len(golden.requests)] for turn in range(index, turns, len(pods))]
        for index in range(len(pods))
    ]
    lanes = asyncio.Semaphore(AT_A_TIME)

    async def ask(address: str, share: Sequence[GoldenRequest]) -> tuple[ProbeRun, bool]:
        async with lanes:
            return await _probe(connect, address, model, share)

    runs = await asyncio.gather(*(ask(pod, share) for pod, share in zip(pods, shares, strict=True)))
    if not any(reached for _, reached in runs):
        return None
    return ProbeRun(
        right=sum(run.right for run, _ in runs),
        wrong=sum(run.wrong for run, _ in runs),
        first_wrong=next((run.first_wrong for run, _ in runs if run.first_wrong), ""),
    )


async def _compared(connect: Connect, stable: str | None, model: str, policy: ContractPolicy) -> Compared:
    if policy is ContractPolicy.OFF:
        return Compared(policy)
    if stable is None:
        return Compared(policy, problem="none of its pods is ready")
    try:
        async with connect(stable, model) as server:
            return Compared(policy, await server.contract())
    except (Rejected, Transient) as error:
        return Compared(policy, problem=str(error))


async def _interview(
    connect: Connect, address: str, model: str, requests: Sequence[GoldenRequest], policy: ContractPolicy
) -> Interview:
    """Ask until the first wrong answer; a pod that cannot be reached once is not asked again."""
    contract, wrong = None, ""
    try:
        async with connect(address, model) as server:
            if policy is not ContractPolicy.OFF:
                contract = await server.contract()
            for request in requests:
                wrong = await _wrong(server, request)
                if wrong:
                    break
    except (Rejected, Transient) as error:
        return Interview(contract, wrong, str(error))
    return Interview(contract, wrong)


async def _probe(connect: Connect, address: str, model: str, share: Sequence[GoldenRequest]) -> tuple[ProbeRun, bool]:
    """Return what a pod's answers were like, and whether it could be reached at all."""
    right, wrongs, reached = 0, [], False
    try:
        async with connect(address, model) as server:
            for request in share:
                wrong = await _wrong(server, request)
                reached = True
                right += not wrong
                wrongs += [wrong] if wrong else []
    except Transient as error:
        wrongs += [str(error)]
    return ProbeRun(right, len(share) - right, wrongs[0] if wrongs else ""), reached


async def _wrong(server: Server, request: GoldenRequest) -> str:
    """Return what is wrong with the answer to a request; empty if nothing."""
    try:
        problem = mismatch(request, await server.infer(request))
    except Rejected as error:
        problem = f"it was refused: {error}"
    return f"'{request.name}': {problem}" if problem else ""
