"""Scrape pods directly, without Prometheus: samples are seconds old and depend on no other system."""

import asyncio
import contextlib
import ipaddress
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final

import aiohttp
from yarl import URL

from tritonfleet.adapters import read_body
from tritonfleet.api import names
from tritonfleet.plan.autoscale import Counters, PodSample
from tritonfleet.plan.objects import PORTS, TRITON
from tritonfleet.plan.pods import is_ending, is_ready, ready_since
from tritonfleet.plan.world import Manifest
from tritonfleet.triton import metrics
from tritonfleet.triton.metrics import ModelMetrics, Unreadable, model_metrics

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 1.0
"""Connections within a cluster take milliseconds; after a lost packet the next tick is soon enough."""
KEEP_ALIVE_SECONDS: Final = 30.0
LARGEST_PAGE_BYTES: Final = 256 << 10
"""Limit of a page; real ones have 5 to 20 kB."""
SLICE_BYTES: Final = 64 << 10
"""Limit of pages that are parsed in one turn of the event loop, if there are several: 7 ms at worst."""
READ: Final = "Read"
TOO_LARGE: Final = "TooLarge"
MODEL_MISSING: Final = "ModelMissing"
"""The outcome of a successful scrape; all others are failures."""

Report = Callable[[str, float], None]
"""Called with the outcome of every scrape, and the seconds it took."""


@dataclass(frozen=True, slots=True)
class Target:
    """One Triton container to scrape."""

    uid: str
    started_seconds: float
    revision: str
    address: str
    """The pod's IP address."""
    model: str
    ready_seconds: float = 0.0
    """When the pod became ready."""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The newest page of one pod."""

    sample: PodSample
    first_response: Mapping[float, float]
    """Cumulative requests by the milliseconds to their first response; empty where Triton keeps no such histogram."""
    failures: Mapping[str, float] = field(default_factory=dict)
    """Failed requests by Triton's reason."""


def target_of(pod: Manifest, model: str) -> Target | None:
    """Return a pod's target; None unless it is ready, not being deleted, and has a valid address."""
    metadata, status = pod["metadata"], pod.get("status", {})
    started = _running_since(status)
    revision = (metadata.get("labels") or {}).get(names.REVISION_LABEL)
    if is_ending(pod) or started is None or not revision or not is_ready(pod):
        return None
    try:
        address = str(ipaddress.ip_address(status.get("podIP", "")))
    except ValueError:
        return None
    node = (pod.get("spec") or {}).get("nodeName") or ""
    return Target(metadata["uid"], started.timestamp(), revision, address, model, _ready_seconds(pod), node)


class PodScraper:
    """Scrapes pods, and keeps the newest page of each.

    Pods that failed last time are scraped separately, so that a hanging pod is never waited for twice.
    Needs a running event loop; `close` cancels every scrape.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        report: Report,
        *,
        concurrency: int = 128,
        port: int = PORTS["metrics"],
        probed: dict[str, int] | None = None,
    ) -> None:
        """`probed` has the golden requests that each pod has answered, by IP address; `keep` removes other pods'."""
        self._probed = probed if probed is not None else {}
        self._now = now
        self._report = report
        self._concurrency = concurrency
        self._port = port
        self._clock = asyncio.get_running_loop().time
        self._session: aiohttp.ClientSession | None = None
        self._answers: dict[str, Answer] = {}
        self._failed: set[str] = set()
        self._refused: dict[str, str] = {}
        self._slices = _Slices()
        self._doubtful: asyncio.Task[None] | None = None

    def answer(self, uid: str) -> Answer | None:
        """Return the newest page of a pod, however old; None if there is none."""
        return self._answers.get(uid)

    def refusal(self, uid: str) -> str:
        """Return why the last page of a pod was beyond the limits; empty if it was not."""
        return self._refused.get(uid, "")

    def keep(self, targets: Iterable[Target]) -> None:
        """Forget all other pods."""
        uids = {target.uid: target.address for target in targets}
        for address in self._probed.keys() - uids.values():
            del self._probed[address]
        self._answers = {uid: answer for uid, answer in self._answers.items() if uid in uids}
        self._failed &= uids.keys()
        self._refused = {uid: text for uid, text in self._refused.items() if uid in uids}

    async def scrape(self, targets: Iterable[Target], patience_seconds: float) -> None:
        """Scrape all pods; return when all but those that failed last time are done, or at the timeout.

        Scrape the stalest pods first, so that a timeout does not hit the same pod twice.
        """
        wanted = sorted(targets, key=self._heard)
        if self._doubtful is None or self._doubtful.done():
            again = [target for target in wanted if target.uid in self._failed]
            self._doubtful = asyncio.create_task(self._ask_all(again, max(1, self._concurrency // 4)))
        prompt = [target for target in wanted if target.uid not in self._failed]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                await self._ask_all(prompt, self._concurrency)

    async def close(self) -> None:
        """Cancel every scrape and close every connection."""
        if self._doubtful is not None:
            self._doubtful.cancel()
            await asyncio.gather(self._doubtful, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _heard(self, target: Target) -> float:
        answer = self._answers.get(target.uid)
        return answer.sample.at_seconds if answer is not None else 0.0

    async def _ask_all(self, targets: list[Target], concurrency: int) -> None:
        queue = iter(targets)
        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(concurrency, len(targets))):
                lanes.create_task(self._lane(queue))

    async def _lane(self, queue: Iterator[Target]) -> None:
        for target in queue:
            started = self._clock()
            outcome = await self._ask(target)
            self._report(outcome, self._clock() - started)

    async def _ask(self, target: Target) -> str:
        """Scrape one pod and keep the page; return the outcome, and never raise."""
        refusal = ""
        # Before the page is written: one that is answered meanwhile is in neither or in the next.
        probes = self._probed.get(target.address, 0)
        try:
            found = await self._read(target)
        except Unreadable as unreadable:
            outcome = unreadable.reason
            if outcome == TOO_LARGE:
                refusal = f"metrics of the pod at {target.address} are not read: {unreadable}"
        except TimeoutError:
            outcome = "Timeout"
        except aiohttp.ClientConnectorError:
            outcome = "Unreachable"
        except (aiohttp.ClientError, OSError, ValueError):
            outcome = "Disconnected"
        except Exception as error:
            # An error of one pod must not affect the others.
            log.exception("a pod's metrics could not be read", extra={"address": target.address, "error": str(error)})
            outcome = "Unexpected"
        else:
            self._failed.discard(target.uid)
            self._refused.pop(target.uid, None)
            self._answers[target.uid] = self._answer(target, found, probes)
            return READ if found is not None else MODEL_MISSING
        self._failed.add(target.uid)
        # Kept until now, so that the status does not change while the pod is scraped again.
        if refusal:
            self._refused[target.uid] = refusal
        else:
            self._refused.pop(target.uid, None)
        return outcome

    def _answer(self, target: Target, found: ModelMetrics | None, probes: int) -> Answer:
        sample = PodSample(
            uid=target.uid,
            started_seconds=target.started_seconds,
            revision=target.revision,
            at_seconds=self._now().timestamp(),
            counters=_counters(found.totals, probes) if found is not None else None,
        )
        return Answer(sample, found.first_response, found.failures) if found is not None else Answer(sample, {})

    async def _read(self, target: Target) -> ModelMetrics | None:
        page = await self._page(target)
        await self._slices.wait(len(page))
        return model_metrics(page, target.model)

    async def _page(self, target: Target) -> bytes:
        if self._session is None:
            self._session = _session()
        async with self._session.get(_url(target.address, self._port), allow_redirects=False) as response:
            if response.status != 200:
                raise Unreadable("Status", f"answered with status {response.status}")
            page = await read_body(response, LARGEST_PAGE_BYTES)
        if page is None:
            raise Unreadable(TOO_LARGE, f"more than {LARGEST_PAGE_BYTES:,} bytes")
        return page


class _Slices:
    """Has pages wait for the next turn of the event loop once this one's share of parsing is used up.

    Hundreds of pages may arrive at once, and how long one takes to parse is up to the tenant who runs the pod.
    """

    def __init__(self) -> None:
        self._spent = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def wait(self, size: int) -> None:
        """Return when so many bytes may be parsed, in the order of arrival."""
        loop = asyncio.get_running_loop()
        if self._waiting or (self._spent and self._spent + size > SLICE_BYTES):
            turn = loop.create_future()
            self._waiting.append((size, turn))
            await turn
            return
        if not self._spent:
            loop.call_soon(self._begin)
        self._spent += max(1, size)

    def _begin(self) -> None:
        """Begin a turn with the pages that have waited longest; a single page is never too large."""
        self._spent = 0
        while self._waiting and (not self._spent or self._spent + self._waiting[0][0] <= SLICE_BYTES):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._spent += max(1, size)
                turn.set_result(None)
        if self._spent:
            asyncio.get_running_loop().call_soon(self._begin)


@lru_cache(maxsize=16384)
def _url(address: str, port: int) -> URL:
    return URL.build(scheme="http", host=address, port=port, path="/metrics")


def _session() -> aiohttp.ClientSession:
    """No proxy, no cookies, no compression: a pod cannot make us read more bytes than it sends."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"},
    )


def _counters(totals: Mapping[str, float], probes: int) -> Counters:
    return Counters(
        success=totals[metrics.SUCCESS],
        failure=totals[metrics.FAILURE],
        inferences=totals[metrics.INFERENCES],
        executions=totals[metrics.EXECUTIONS],
        request_us=totals[metrics.REQUEST_US],
        queue_us=totals[metrics.QUEUE_US],
        compute_us=sum(totals[name] for name in metrics.COMPUTE_US),
        pending=totals.get(metrics.PENDING, 0.0),
        probes=float(probes),
    )


def _ready_seconds(pod: Manifest) -> float:
    """Return when a ready pod became ready; 0 if its condition does not say so."""
    try:
        ready = ready_since(pod)
    except (KeyError, TypeError, ValueError):
        return 0.0
    return ready.timestamp() if ready is not None else 0.0


def _running_since(status: Manifest) -> datetime | None:
    for container in status.get("containerStatuses") or ():
        if container["name"] == TRITON:
            running = (container.get("state") or {}).get("running") or {}
            started = running.get("startedAt")
            return datetime.fromisoformat(started) if started else None
    return None
