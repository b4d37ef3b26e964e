"""Queries to Prometheus for the whole fleet: latency at the gateway, and the rates of past days."""

import asyncio
import json
import math
import time
from array import array
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, MutableSequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import requests
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect
from urllib3.util.retry import Retry

from tritonfleet.errors import Transient
from tritonfleet.plan.histogram import Histogram, histogram
from tritonfleet.plan.rollout import (
    GATEWAY_BUCKETS,
    GATEWAY_CLUSTER,
    GATEWAY_GRPC,
    GATEWAY_RESETS,
    GATEWAY_STATUSES,
    GatewayCounters,
    GatewayLabels,
)

CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 10.0
LIMIT_SECONDS: Final = 15.0
"""Total time limit of a query."""
THREADS: Final = 2
CHUNK: Final = timedelta(hours=2)
"""History per query: for a thousand ModelDeployments more would be tens of megabytes of JSON."""
ROUTES_NAMED: Final = 50
"""For more routes the query selects all: its length is limited like a URL's."""
QUERY_SECONDS: Final = 5.0
"""Prometheus' own timeout for a user's query."""
SERIES_MAX: Final = 1000
"""Limit of series of a user's query."""

MODEL_LABELS: Final = ("modeldeployment", "tritonfleet_dev_modeldeployment")
"""What series of model pods carry: by our PodMonitor, and where all labels of pods are copied."""

T = TypeVar("T")
Row = Mapping[str, Any]
Report = Callable[[str, str, float], None]
"""Called with the name of every query, its outcome (`success` or `error`) and the seconds it took."""
Skipped = Callable[[str, int], None]
"""Called, in any thread, with the name of a query and the number of its rows that cannot be read."""


@dataclass(frozen=True, slots=True)
class Access:
    """The address and credentials of Prometheus; the files are read for every query, since they are rotated."""

    url: str
    token_file: str = ""
    """File with a bearer token; empty for none."""
    username: str = ""
    """Name for basic authentication; empty for none."""
    password_file: str = ""
    """File with the password that belongs to it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of every query, such as the tenant's of Mimir or Thanos."""
    ca_file: str = ""
    """File with the CA certificates; empty for the system's."""
    gateway_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that Prometheus gives to series of the gateway alone. Without any its counters are not read: any pod that
    is scraped could export them."""


@dataclass(frozen=True, slots=True)
class GatewayTraffic:
    """One route's traffic over the window, in requests per second."""

    latency: Histogram
    failed: float
    """Responses with a status of 500 or more, of any latency."""


class Series(NamedTuple):
    """The requests of one model of one ModelDeployment."""

    namespace: str
    modeldeployment: str
    model: str


@dataclass(frozen=True, slots=True)
class Past:
    """Arrivals per second on a time grid; NaN where unknown."""

    start_seconds: float
    step_seconds: float
    rates: MutableMapping[Series, MutableSequence[float]]


class Prometheus:
    """Queries by a synchronous client, in at most two threads. Every method raises Transient for any error."""

    def __init__(
        self,
        access: Access,
        report: Report,
        skipped: Skipped = lambda _query, _rows: None,
        *,
        window_seconds: float = 60.0,
    ) -> None:
        self._access = access
        self._report = report
        self._skipped = skipped
        self._window_seconds = round(window_seconds)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")
        self._waiting = 0

    async def gateway(self) -> Mapping[tuple[str, str], GatewayTraffic]:
        """Return the traffic of every HTTPRoute of an Envoy Gateway, by namespace and name.

        Envoy Gateway names a route's upstreams `httproute/NAMESPACE/NAME/rule/N`; all rules are summed. One query
        for all routes: rows with a bound are buckets, the others failures.
        """
        if not self._access.gateway_labels:
            return {}
        window = f'{{envoy_cluster_name=~"httproute/.+",{self._gateways_own}%s}}[{self._window_seconds}s]'
        buckets = "envoy_cluster_upstream_rq_time_bucket" + window % ""
        failures = "envoy_cluster_upstream_rq_xx" + window % ',envoy_response_code_class="5"'
        query = (
            f"sum by (envoy_cluster_name, le) (rate({buckets}))"
            f" or sum by (envoy_cluster_name, envoy_response_code_class) (rate({failures}))"
        )
        return await self._ask("gateway", lambda client: _traffic(self._rows("gateway", client.custom_query(query))))

    async def gateway_counters(
        self, routes: Collection[tuple[str, str]], at: datetime
    ) -> Mapping[tuple[str, str], GatewayCounters]:
        """Return the raw counters of each backend of the HTTPRoutes, given by namespace and name, at a time.

        One query for all routes. A route that Envoy does not know, or that is not scraped, has none.
        """
        if not self._access.gateway_labels:
            return {}
        some = "|".join(f"{namespace}/{name}" for namespace, name in sorted(routes))
        names = f"({some})" if len(routes) <= ROUTES_NAMED else ".+"
        series = f"{GATEWAY_BUCKETS}|{GATEWAY_STATUSES}|{GATEWAY_RESETS}|{GATEWAY_GRPC.pattern}"
        clusters = f'{GATEWAY_CLUSTER}=~"httproute/{names}/rule/.+/backend/.+"'
        query = f'{{__name__=~"{series}",{clusters},{self._gateways_own}}}'

        def ask(client: PrometheusConnect) -> Mapping[tuple[str, str], GatewayCounters]:
            rows = self._rows("canary", client.custom_query(query, params={"time": at.timestamp()}))
            return _gateway_counters(rows, frozenset(routes))

        return await self._ask("canary", ask)

    async def values(self, query: str, at: datetime) -> tuple[float, ...]:
        """Return one value per series of an instant query, including NaN and infinity; empty for no series."""
        limits = {"time": at.timestamp(), "timeout": f"{QUERY_SECONDS:.0f}s", "limit": SERIES_MAX}
        return await self._ask("custom", lambda client: _values(client.custom_query(query, params=limits)))

    async def arrivals(self, end: datetime, days: int, step_seconds: float, window_seconds: float) -> Past:
        """Return the requests that ended in the `days` before `end`; one query per two hours for the whole fleet."""
        start = end - timedelta(days=days)
        steps = math.ceil((end - start).total_seconds() / step_seconds)
        rates: dict[Series, MutableSequence[float]] = defaultdict(lambda: array("d", [math.nan]) * steps)
        window = f"[{window_seconds:.0f}s]"
        query = (
            f"sum by (namespace, modeldeployment, model) (rate(nv_inference_request_success{window})"
            f" or rate(nv_inference_request_failure{window}))"
        )

        def ask(client: PrometheusConnect, begin: datetime, close: datetime) -> None:
            rows = self._rows("history", client.custom_query_range(query, begin, close, f"{step_seconds:.0f}s"))
            for series, at, rate in _points(rows):
                index = round((at - start.timestamp()) / step_seconds) - 1
                if 0 <= index < steps:
                    rates[series][index] = rate

        for begin, close in _chunks(start, end, step_seconds):
            await self._ask("history", partial(ask, begin=begin, close=close))
        return Past(start.timestamp(), step_seconds, rates)

    def close(self) -> None:
        """Start no further queries; running ones end by their timeouts."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def _gateways_own(self) -> str:
        """Return the matchers that leave only the gateway's series: no pod of a ModelDeployment can export one."""
        wanted = {**self._access.gateway_labels, **dict.fromkeys(MODEL_LABELS, "")}
        return ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in wanted.items())

    def _rows(self, query: str, rows: list[Row]) -> list[Row]:
        """Return the rows that can be read: one series of one pod must not hide those of all others."""
        fine = [row for row in rows if _is_legible(row)]
        if len(fine) < len(rows):
            self._skipped(query, len(rows) - len(fine))
        return fine

    async def _ask(self, name: str, query: Callable[[PrometheusConnect], T]) -> T:
        if self._waiting >= THREADS:
            raise Transient("Prometheus has not answered earlier queries yet")
        self._waiting += 1
        started = time.monotonic()
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._call, query)
        asked.add_done_callback(self._answered)
        outcome = "error"
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                answer = await asyncio.shield(asked)
            outcome = "success"
        except TimeoutError as error:
            raise Transient(f"Prometheus did not answer within {LIMIT_SECONDS:.0f}s") from error
        finally:
            self._report(name, outcome, time.monotonic() - started)
        return answer

    def _answered(self, asked: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        # Retrieve the late result, so that asyncio does not warn.
        if not asked.cancelled():
            asked.exception()

    def _call(self, query: Callable[[PrometheusConnect], T]) -> T:
        try:
            with self._client() as client:
                return query(client)
        except (requests.RequestException, PrometheusApiClientException, OSError, ValueError, KeyError) as error:
            raise Transient(f"Prometheus at {self._access.url}: {str(error)[:300]}") from error

    def _client(self) -> PrometheusConnect:
        session = requests.Session()
        # Ignore proxies and passwords of the environment, and follow no redirects.
        session.trust_env = False
        session.max_redirects = 0
        session.verify = self._access.ca_file or True
        headers = dict(self._access.headers)
        if self._access.username:
            password = Path(self._access.password_file).read_text(encoding="utf-8").rstrip("\r\n")
            pair = b64encode(f"{self._access.username}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        if self._access.token_file:
            headers["Authorization"] = f"Bearer {Path(self._access.token_file).read_text().strip()}"
        retry = Retry(total=1, backoff_factor=0.2, status_forcelist=(429, 502, 503, 504), raise_on_status=False)
        timeout: Any = (CONNECT_SECONDS, READ_SECONDS)
        url = self._access.url.rstrip("/")
        return PrometheusConnect(url, headers=headers, retry=retry, session=session, timeout=timeout)


def _is_legible(row: Row) -> bool:
    """Return whether its numbers are numbers, and the bound of a bucket is one that can be compared."""
    try:
        bound = float(row["metric"].get("le", "+Inf"))
        points = row["values"] if "values" in row else [row["value"]]
        for at, value in points:
            float(at), float(value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return bound >= 0


def _traffic(rows: list[Row]) -> Mapping[tuple[str, str], GatewayTraffic]:
    buckets: dict[tuple[str, str], dict[float, float]] = defaultdict(lambda: defaultdict(float))
    failed: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        labels = row["metric"]
        kind, *route = str(labels.get("envoy_cluster_name", "")).split("/", 3)[:3]
        rate = _number(row["value"][1])
        if kind != "httproute" or len(route) != 2 or rate is None:
            continue
        if "le" in labels:
            buckets[route[0], route[1]][float(labels["le"]) / 1000] += rate
        else:
            failed[route[0], route[1]] += rate
    return {
        route: GatewayTraffic(latency, failed[route])
        for route, cumulative in buckets.items()
        if (latency := histogram(cumulative)) is not None
    }


def _gateway_counters(
    rows: list[Row], routes: Collection[tuple[str, str]]
) -> Mapping[tuple[str, str], GatewayCounters]:
    found: dict[tuple[str, str], dict[GatewayLabels, float]] = defaultdict(dict)
    for row in rows:
        labels = row["metric"]
        _, namespace, name, *_ = (*str(labels.get(GATEWAY_CLUSTER, "")).split("/"), "", "")
        value = _number(row["value"][1])
        if value is not None and (namespace, name) in routes:
            found[namespace, name][frozenset(labels.items())] = value
    return found


def _values(result: list[Any]) -> tuple[float, ...]:
    """Read a vector or a scalar; ValueError for text and for a range."""
    if len(result) == 2 and not isinstance(result[0], dict):
        return (float(result[1]),)
    if any("value" not in row for row in result):
        raise ValueError("the query returns a range; only a scalar or an instant vector can be compared")
    return tuple(float(row["value"][1]) for row in result)


def _chunks(start: datetime, end: datetime, step_seconds: float) -> Iterator[tuple[datetime, datetime]]:
    """Split a period into days; the first point of each is one step after its start, since rates look back."""
    step = timedelta(seconds=step_seconds)
    while start < end:
        yield start + step, min(start + CHUNK, end)
        start += CHUNK


def _points(rows: list[Row]) -> Iterator[tuple[Series, float, float]]:
    for row in rows:
        labels = row["metric"]
        series = Series(*(labels.get(name, "") for name in Series._fields))
        for at, text in row["values"]:
            rate = _number(text)
            if rate is not None:
                yield series, float(at), rate


def _number(text: str) -> float | None:
    number = float(text)
    return number if 0 <= number < math.inf else None
