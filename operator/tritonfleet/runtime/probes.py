"""Send requests to a canary's pods, and queries to Prometheus, on behalf of rollouts.

`verify()` reads the contract of each canary pod and sends it all golden requests; `probe()` sends the golden requests
once, spread over the pods. `CanaryProber` reads the golden file from its ConfigMap, confines users' PromQL to the two
revisions, and sets time limits: 30 s for the golden requests of a window, 30 s for its queries, 120 s for
each verification. `plan.rollout` evaluates the responses. Called by `canary_monitor.py` and `windows.py`.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Final, Protocol

from tritonfleet.adapters.prometheus import Prometheus
from tritonfleet.api.canary import ContractPolicy, PromQuery
from tritonfleet.errors import InvalidSpec, Rejected, Transient, TritonfleetError
from tritonfleet.plan.rollout import GatewayCounters, MeasurementSpec, confine
from tritonfleet.plan.rollout.analysis import ProbeRun, QueryAnswer, Verification, shorten
from tritonfleet.plan.rollout.verification import (
    Answer,
    Contract,
    ContractBaseline,
    Golden,
    GoldenRequest,
    PodAnswers,
    evaluate_answers,
    mismatch,
    read_golden,
)
from tritonfleet.plan.world import Manifest

log = logging.getLogger(__name__)

AT_A_TIME: Final = 4
"""Concurrent pods of one ModelDeployment: a response may take megabytes."""

PROBE_SECONDS: Final = 30.0
"""Limit for all golden requests of one window; unanswered ones count as not sent."""
QUERIES_SECONDS: Final = 30.0
"""Limit for all user queries of one window."""
VERIFY_SECONDS: Final = 120.0
"""Limit for one verification; it is retried after that."""

Route = tuple[str, str]
"""Namespace and name of an HTTPRoute."""
Get = Callable[[str, str | None, str], Awaitable[Manifest | None]]
"""Reads one object, given kind, namespace and name."""


class Server(Protocol):
    """One pod's Triton. Both methods raise Transient if it is unreachable, Rejected if it returns an error."""

    async def contract(self) -> Contract:
        """Return the model's inputs and outputs."""

    async def infer(self, request: GoldenRequest) -> Answer:
        """Return the outputs that the request names."""


Connect = Callable[[str, str], AbstractAsyncContextManager[Server]]
"""Opens a connection, given a pod's IP address and the model's name."""


@asynccontextmanager
async def connect(address: str, model: str) -> AsyncIterator[Server]:
    """Open a connection to a pod; the first one imports the client, whose 25 MiB many operators never need."""
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
    """Verify every ready canary pod, by IP address, against the contract of one stable pod.

    `stable` is None while none of its pods is ready, `golden` is None without golden requests.
    """
    baseline = await _contract_baseline(connect, stable, model, policy)
    requests = golden.requests if golden is not None else ()
    lanes = asyncio.Semaphore(AT_A_TIME)

    async def verify_pod(address: str) -> PodAnswers:
        async with lanes:
            return await _verify_pod(connect, address, model, requests, policy)

    return evaluate_answers(
        await asyncio.gather(*map(verify_pod, canary)),
        baseline,
        golden_requests=len(requests),
        golden_problem=golden.problem if golden is not None else "",
    )


async def probe(pods: Sequence[str], model: str, golden: Golden, *, connect: Connect = connect) -> ProbeRun | None:
    """Send the golden requests once, spread over the pods so that each pod gets at least one.

    None if none can be sent: no pods, no readable file, or no reachable pod.
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


async def _contract_baseline(
    connect: Connect, stable: str | None, model: str, policy: ContractPolicy
) -> ContractBaseline:
    if policy is ContractPolicy.OFF:
        return ContractBaseline(policy)
    if stable is None:
        return ContractBaseline(policy, problem="none of its pods is ready")
    try:
        async with connect(stable, model) as server:
            return ContractBaseline(policy, await server.contract())
    except (Rejected, Transient) as error:
        return ContractBaseline(policy, problem=str(error))


async def _verify_pod(
    connect: Connect, address: str, model: str, requests: Sequence[GoldenRequest], policy: ContractPolicy
) -> PodAnswers:
    """Send requests until the first wrong response; stop at the first failure to reach the pod."""
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
        return PodAnswers(contract, wrong, str(error))
    return PodAnswers(contract, wrong)


async def _probe(connect: Connect, address: str, model: str, share: Sequence[GoldenRequest]) -> tuple[ProbeRun, bool]:
    """Return the results of a pod's responses, and whether it could be reached."""
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
    """Return what is wrong with the response to a request; empty if nothing."""
    try:
        problem = mismatch(request, await server.infer(request))
    except Rejected as error:
        problem = f"request failed: {error}"
    return f"'{request.name}': {problem}" if problem else ""


class _CountedServer:
    """A pod's Triton, whose answers to golden requests are counted: no users sent them."""

    def __init__(self, server: Server, address: str, probed: dict[str, int]) -> None:
        self._server = server
        self._address = address
        self._probed = probed

    async def contract(self) -> Contract:
        return await self._server.contract()

    async def infer(self, request: GoldenRequest) -> Answer:
        answer = await self._server.infer(request)
        # One that Triton refuses may be in none of its counters.
        self._probed[self._address] = self._probed.get(self._address, 0) + 1
        return answer


class CanaryProber:
    """Sends requests and queries for rollouts, with time limits."""

    def __init__(
        self,
        get: Get,
        prometheus: Prometheus | None,
        *,
        custom_queries: bool,
        connect: Connect = connect,
        probed: dict[str, int] | None = None,
    ) -> None:
        """`probed` is updated with the golden requests that each pod has answered, by IP address."""
        self._probed = probed if probed is not None else {}
        self._get = get
        self._prometheus = prometheus
        self._custom_queries = custom_queries
        self._uncounted = connect
        self._one_query = asyncio.Lock()

    @property
    def knows_gateways(self) -> bool:
        """Whether a Prometheus is configured."""
        return self._prometheus is not None

    def close(self) -> None:
        """Stop querying Prometheus."""
        if self._prometheus is not None:
            self._prometheus.close()

    async def gateway_counters(self, routes: Collection[Route], at: datetime) -> Mapping[Route, GatewayCounters] | str:
        """Return the gateways' counters at a time, or why they are unknown."""
        if self._prometheus is None:
            return "no Prometheus is configured"
        try:
            return await self._prometheus.gateway_counters(routes, at)
        except Transient as error:
            return str(error)

    async def verify(
        self, namespace: str, spec: MeasurementSpec, canary: Sequence[str], stable: str | None
    ) -> Verification:
        """Verify the canary's pods, by address, before they get traffic.

        Raises TimeoutError, Transient or Refused if it could not be completed.
        """
        async with asyncio.timeout(VERIFY_SECONDS):
            asked = await self._golden(namespace, spec)
            return await verify(canary, stable, spec.model, asked, spec.contract, connect=self._connect)

    async def probe(self, namespace: str, spec: MeasurementSpec, pods: Sequence[str]) -> ProbeRun | None:
        """Send the golden requests once; None if none could be sent."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                asked = await self._golden(namespace, spec)
                if asked is None:
                    return None
                return await probe(pods, spec.model, asked, connect=self._connect)
        except (TimeoutError, TritonfleetError) as error:
            log.warning("golden requests could not be sent", extra={"namespace": namespace, "error": str(error)})
            return None

    async def answers(self, namespace: str, spec: MeasurementSpec, at: datetime) -> tuple[QueryAnswer, ...]:
        """Run the user's queries in sequence; each has a result or an error."""
        answers: dict[str, QueryAnswer] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUERIES_SECONDS):
                for query in spec.queries:
                    answers[query.name] = await self._answer(namespace, spec, query, at)
        late = f"Prometheus did not answer all queries within {QUERIES_SECONDS:.0f}s"
        return tuple(answers.get(query.name) or QueryAnswer(query.name, error=late) for query in spec.queries)

    async def _answer(self, namespace: str, spec: MeasurementSpec, query: PromQuery, at: datetime) -> QueryAnswer:
        if not self._custom_queries:
            refused = "custom queries are disabled in the operator (rollouts.customQueries)"
            return QueryAnswer(query.name, error=refused)
        if self._prometheus is None:
            return QueryAnswer(query.name, error="no Prometheus is configured in the operator (prometheus.url)")
        try:
            mine = confine(query.query, namespace, spec.key.canary)
            other = confine(query.baseline, namespace, spec.stable) if query.baseline is not None else None
            # Sequentially, since there may be many queries and many rollouts.
            async with self._one_query:
                values = await self._prometheus.values(mine, at)
                baseline = await self._prometheus.values(other, at) if other is not None else ()
        except (InvalidSpec, Transient) as error:
            return QueryAnswer(query.name, error=shorten(str(error)))
        return QueryAnswer(query.name, values, baseline)

    @asynccontextmanager
    async def _connect(self, address: str, model: str) -> AsyncIterator[Server]:
        async with self._uncounted(address, model) as server:
            yield _CountedServer(server, address, self._probed)

    async def _golden(self, namespace: str, spec: MeasurementSpec) -> Golden | None:
        """Read the golden file again: it may have been corrected. Raises Transient or Refused."""
        if spec.golden is None:
            return None
        name, key = spec.golden.config_map_name, spec.golden.key
        found = await self._get("ConfigMap", namespace, name)
        if found is None:
            return Golden(problem=f"ConfigMap '{name}' not found")
        text = (found.get("data") or {}).get(key)
        if not isinstance(text, str):
            return Golden(problem=f"ConfigMap '{name}' has no key '{key}'")
        return read_golden(text)
