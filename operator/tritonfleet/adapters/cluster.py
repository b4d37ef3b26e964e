"""The Kubernetes API as plain JSON data: a few verbs, with errors by what the caller can do."""

import asyncio
import json
import math
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import (
    ConfigException,
    list_kube_config_contexts,
    load_incluster_config,
    load_kube_config,
)

from tritonfleet.adapters import read_body
from tritonfleet.api import names
from tritonfleet.api.resources import BY_KIND
from tritonfleet.errors import Conflict, NoCluster, Refused, Transient
from tritonfleet.plan.world import Manifest

REQUEST_TIMEOUT_SECONDS = 30.0
PAGE_SIZE = 500
PAGE_BYTES: Final = 1 << 20
"""Limit of a page of a list: it takes 10 ms to parse, and six times the memory. A longer one is asked for in parts."""
CONNECTIONS = 64
FEWEST_WRITES: Final = 8
SLOW_SECONDS: Final = 1.0
SLOW_FACTOR: Final = 4.0
"""A write is slow above both: this time, and so many times the fastest lately."""
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
IMPOSSIBLE_VERSION = "1"
"""No object ever has this resourceVersion, so an apply with it can only create."""

LEVELS_READ: Final = 100
"""Depth to which JSON is read where it is deeper than Python's parser can go; the API server takes 10,000 levels."""
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|[-+.0-9eE]{512,}', re.DOTALL)

_MISFIT: Final = "failed to create typed patch object"

RequestObserver = Callable[[str, str, str], None]
"""Called with the method, the kind and the status code (or `<error>`) of every finished request."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The API server's address and our credentials, for another client."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None
    insecure: bool


@dataclass(slots=True)
class PageLimit:
    """How many objects a page of a list may have, so that none is longer than PAGE_BYTES."""

    objects: int = PAGE_SIZE

    @property
    def most_bytes(self) -> int | None:
        """How long a page may be; None for a single object, which is read however long it is."""
        return PAGE_BYTES if self.objects > 1 else None

    def shrink(self) -> None:
        """Ask for fewer objects, after a page that was too long."""
        self.objects = max(1, self.objects // 2)

    def grow(self) -> None:
        """Ask for slightly more objects, after a page that was not: one that is too long is read in vain."""
        self.objects = min(PAGE_SIZE, self.objects + max(1, self.objects // 8))


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of one kind, at one resourceVersion."""

    items: list[Manifest]
    resource_version: str


async def load_configuration(kubeconfig: Path | None = None, context: str | None = None) -> Configuration:
    """Load the client configuration: `kubeconfig` if given, else the pod's service account, else ~/.kube/config.

    A `context` implies a kubeconfig. Raises NoCluster if there is none of them.
    """
    configuration = Configuration()
    if kubeconfig is None and context is None:
        try:
            load_incluster_config(configuration)
        except ConfigException:
            await _load_kubeconfig(configuration, None, None)
    else:
        await _load_kubeconfig(configuration, kubeconfig, context)
    configuration.connection_pool_maxsize = CONNECTIONS
    # Otherwise aiohttp looks for a .netrc and a proxy, each in a thread, before every request.
    configuration.client_session_kwargs = {"trust_env": False}
    return configuration


async def _load_kubeconfig(configuration: Configuration, kubeconfig: Path | None, context: str | None) -> None:
    file = str(kubeconfig) if kubeconfig is not None else None
    try:
        await load_kube_config(config_file=file, context=context, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise NoCluster(f"{file or 'kubeconfig'}: {error}") from error


def default_namespace(kubeconfig: Path | None = None, context: str | None = None) -> str:
    """Return the namespace that a kubeconfig's context names, `default` if it names none or there is no kubeconfig."""
    try:
        contexts, current = list_kube_config_contexts(str(kubeconfig) if kubeconfig is not None else None)
    except ConfigException:
        return "default"
    chosen = next((one for one in contexts if one["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")


class WriteLimit:
    """How many writes may be in flight: halved when answers slow down, and raised by one for as many prompt ones.

    An API server that takes long anyway is no reason for fewer: an answer is slow only if it took several times as long
    as the fastest lately. Nothing is refused, later writes wait.
    """

    def __init__(self, clock: Callable[[], float], most: int = CONNECTIONS) -> None:
        self.limit = float(most)
        self._most = most
        self._clock = clock
        self._fastest_seconds = math.inf
        self._lowered_at = -math.inf
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        """Wait for a turn, in the order of arrival."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._in_flight -= 1
                self._admit()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Give the turn back."""
        self._in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_flight < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)

    def answered(self, started: float, *, overloaded: bool) -> None:
        """Learn from an answer to a write that was sent at `started`, by the clock."""
        now = self._clock()
        seconds = now - started
        self._fastest_seconds = min(seconds, 1.01 * self._fastest_seconds)
        if overloaded or seconds > max(SLOW_SECONDS, SLOW_FACTOR * self._fastest_seconds):
            # Those that were in flight by then say nothing of the new limit.
            if started >= self._lowered_at:
                self.limit, self._lowered_at = max(float(FEWEST_WRITES), self.limit / 2), now
        else:
            self.limit = min(float(self._most), self.limit + 1 / self.limit)


class Cluster:
    """The verbs, on JSON data: the generated models would reject partial objects.

    Every method raises Transient (429, 5xx, broken connection), Conflict (409) or Refused (other 4xx).
    """

    def __init__(self, configuration: Configuration, observe: RequestObserver | None = None) -> None:
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        # Renewals of the lease must not wait for a connection behind our own writes.
        self._lease_rest = RESTClientObject(configuration)
        self._clock = time.monotonic
        self._writes = WriteLimit(self._clock)
        self._observe = observe

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()
        await self._lease_rest.close()

    async def endpoint(self) -> Endpoint:
        """Return this client's address and credentials, with the current token."""
        configuration = self._configuration
        authorization = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return Endpoint(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            token=authorization.split(" ", 1)[-1] if authorization else None,
            insecure=not configuration.verify_ssl,
        )

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """Return one object, or None if there is none."""
        return await self._call("GET", kind, BY_KIND[kind].path(namespace, name))

    async def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        metadata_only: bool = False,
        keep: Callable[[Manifest], Manifest] = lambda item: item,
    ) -> Listing | None:
        """Return all objects of a kind (in one namespace, or in all), or None if the cluster lacks the kind.

        `keep` returns what is kept of an object: it is called page by page, so that all are never in memory whole.
        """
        items: list[Manifest] = []
        version = ""
        async for page in self._pages(kind, namespace, labels, metadata_only):
            if page is None:
                return None
            items.extend(map(keep, page["items"] or ()))
            version = page["metadata"]["resourceVersion"]
        return Listing(items, version)

    async def each(self, kind: str, namespace: str | None = None, *, labels: str = "") -> AsyncIterator[Manifest]:
        """Yield the objects of a kind page by page, so that all are never in memory; none if the cluster lacks it."""
        async for page in self._pages(kind, namespace, labels, metadata_only=False):
            for item in page["items"] or () if page is not None else ():
                yield item

    async def _pages(
        self, kind: str, namespace: str | None, labels: str, metadata_only: bool
    ) -> AsyncIterator[Manifest | None]:
        query = {"labelSelector": labels} if labels else {}
        accept = METADATA_ONLY if metadata_only else None
        limit = PageLimit()
        token = None
        while token != "":
            asked = query | {"limit": str(limit.objects)} | ({"continue": token} if token else {})
            path = BY_KIND[kind].path(namespace)
            try:
                page = await self._call("GET", kind, path, asked, accept=accept, most_bytes=limit.most_bytes)
            except _TooLong:
                limit.shrink()
                continue
            limit.grow()
            for item in page["items"] or () if page is not None else ():
                # Kubernetes omits both in the items of a list.
                item["kind"], item["apiVersion"] = kind, BY_KIND[kind].api_version
            yield page
            token = page["metadata"].get("continue", "") if page is not None else ""

    async def has(self, kind: str) -> bool:
        """Return whether discovery lists a kind: slightly later than the API server serves it."""
        group, _, plural = BY_KIND[kind].path().rpartition("/")
        shown = await self._call("GET", kind, group)
        return shown is not None and any(each["name"] == plural for each in shown["resources"])

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object that must not exist yet; Conflict if it does."""
        kind, namespace = manifest["kind"], manifest["metadata"].get("namespace")
        return _found(await self._call("POST", kind, BY_KIND[kind].path(namespace), body=manifest), kind)

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object; Conflict if it is no longer at the manifest's resourceVersion."""
        return _found(await self._call("PUT", manifest["kind"], _path(manifest), body=manifest), manifest["kind"])

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply all our fields of one child that is ours, even if others changed them.

        With a `uid` in its metadata it is applied to that very object, or raises Conflict.
        """
        return await self._apply(manifest)

    async def apply_new(self, manifest: Manifest) -> Manifest:
        """Server-side apply a child that must not exist yet; Conflict if an object of that name does."""
        metadata = manifest["metadata"] | {"resourceVersion": IMPOSSIBLE_VERSION}
        return await self._apply({**manifest, "metadata": metadata})

    async def _apply(self, manifest: Manifest) -> Manifest:
        kind = manifest["kind"]
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        return _found(await self._call("PATCH", kind, _path(manifest), query, manifest, APPLY_PATCH), kind)

    async def remove(self, manifest: Manifest, patch: Manifest) -> Manifest:
        """Strategic merge patch of this very object, whatever else has changed since; Conflict if it is another."""
        kind, query = manifest["kind"], {"fieldManager": names.FIELD_MANAGER}
        body = {**patch, "metadata": {"uid": manifest["metadata"]["uid"]}}
        return _found(await self._call("PATCH", kind, _path(manifest), query, body, STRATEGIC_PATCH), kind)

    async def apply_status(self, manifest: Manifest) -> Manifest | None:
        """Server-side apply the complete status; None if the object is gone, Conflict if it is not of that uid."""
        query = {"fieldManager": names.STATUS_FIELD_MANAGER, "force": "true"}
        return await self._call("PATCH", manifest["kind"], _path(manifest) + "/status", query, manifest, APPLY_PATCH)

    async def annotate(self, manifest: Manifest, annotations: Mapping[str, str]) -> Manifest:
        """Set annotations of an object; Conflict if it is no longer at the manifest's resourceVersion."""
        metadata = {"uid": manifest["metadata"]["uid"], "resourceVersion": manifest["metadata"]["resourceVersion"]}
        patch = {"metadata": {**metadata, "annotations": dict(annotations)}}
        kind, query = manifest["kind"], {"fieldManager": names.PERSON_FIELD_MANAGER}
        return _found(await self._call("PATCH", kind, _path(manifest), query, patch, MERGE_PATCH), kind)

    async def patch_spec(self, manifest: Manifest, spec: Manifest) -> Manifest:
        """Merge patch the spec of an object; Conflict if it is no longer at the manifest's resourceVersion."""
        metadata = {"uid": manifest["metadata"]["uid"], "resourceVersion": manifest["metadata"]["resourceVersion"]}
        kind, query = manifest["kind"], {"fieldManager": names.PERSON_FIELD_MANAGER}
        patch = {"metadata": metadata, "spec": spec}
        return _found(await self._call("PATCH", kind, _path(manifest), query, patch, MERGE_PATCH), kind)

    async def whoami(self) -> str:
        """Return this client's user according to the API server; empty if unknown."""
        kind = "SelfSubjectReview"
        review = {"apiVersion": BY_KIND[kind].api_version, "kind": kind, "metadata": {}}
        answer = await self._call("POST", kind, BY_KIND[kind].path(), body=review)
        return str(((answer or {}).get("status") or {}).get("userInfo", {}).get("username") or "")

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> Manifest | None:
        """Delete one object, and its dependents in the background. Conflict if the name has another uid.

        Return the object if finalizers still hold it, None once it is gone.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        answer = await self._call("DELETE", kind, BY_KIND[kind].path(namespace, name), body=options)
        remains = answer is not None and answer.get("metadata", {}).get("deletionTimestamp") is not None
        return answer if remains else None

    async def _call(
        self,
        method: str,
        kind: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
        most_bytes: int | None = None,
    ) -> Manifest | None:
        """Send one request; None for 404. Every request is reported to the observer.

        Raises _TooLong for a response of more than `most_bytes`.
        """
        if method == "GET" or kind == "Lease":
            return await self._send(method, kind, path, query, body, content_type, accept, most_bytes)
        async with self._writes:
            started = self._clock()
            overloaded = False
            try:
                return await self._send(method, kind, path, query, body, content_type, accept, most_bytes)
            except Transient:
                overloaded = True
                raise
            finally:
                self._writes.answered(started, overloaded=overloaded)

    async def _send(
        self,
        method: str,
        kind: str,
        path: str,
        query: dict[str, str] | None,
        body: Manifest | None,
        content_type: str,
        accept: str | None,
        most_bytes: int | None,
    ) -> Manifest | None:
        outcome = "<error>"
        rest = self._lease_rest if kind == "Lease" else self._rest
        try:
            url = self._configuration.host + quote(path) + (f"?{urlencode(query)}" if query else "")
            response = await rest.request(
                method,
                url,
                headers=await self._headers(content_type, accept),
                body=body,
                _request_timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
            )
            payload = await read_body(response.response, most_bytes)
            outcome = str(response.status)
        except (aiohttp.ClientError, TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            raise Transient(f"{method} {path}: {type(error).__name__}: {error}") from error
        finally:
            if self._observe is not None:
                self._observe(method, kind, outcome)
        if payload is None:
            raise _TooLong
        if response.status == 404:
            return None
        if response.status >= 400:
            raise _error(response.status, response.headers.get("Retry-After"), payload, f"{method} {path}")
        return _json(payload, f"{method} {path}")

    async def _headers(self, content_type: str, accept: str | None) -> dict[str, str]:
        headers = {"Content-Type": content_type, "Accept": accept or "application/json", "User-Agent": "tritonfleet"}
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        return headers


class _TooLong(Exception):
    """A response is longer than its reader takes."""


def _path(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return BY_KIND[manifest["kind"]].path(metadata.get("namespace"), metadata["name"])


def _found(answer: Manifest | None, kind: str) -> Manifest:
    """Unwrap the response to a write: 404 means that the kind or the namespace does not exist."""
    if answer is None:
        raise Refused(404, f"the namespace or the kind {kind} does not exist in this cluster")
    return answer


def decode(payload: bytes | str) -> Any:
    """Parse JSON; where it is too deep, or a number too long, for Python's parser, those parts are null.

    One object of one tenant must not end a watch or a list that holds all others'. Raises ValueError for no JSON.
    """
    try:
        return json.loads(payload)
    except (RecursionError, ValueError):
        raw = payload.encode(errors="replace") if isinstance(payload, str) else payload
        return json.loads(_cut(raw).decode(errors="replace"))


def _cut(text: bytes) -> bytes:
    """Replace what is deeper than LEVELS_READ, and numbers of more than 511 characters."""
    kept: list[bytes] = []
    level = start = 0
    for token in _TOKEN.finditer(text):
        match token[0][:1]:
            case b"{" | b"[":
                if level == LEVELS_READ:
                    kept.append(text[start : token.start()])
                level += 1
            case b"}" | b"]":
                level -= 1
                if level == LEVELS_READ:
                    kept.append(b"null")
                    start = token.end()
            case first if first != b'"' and level <= LEVELS_READ:
                kept += (text[start : token.start()], b"null")
                start = token.end()
    if level <= LEVELS_READ:
        kept.append(text[start:])
    return b"".join(kept)


def _json(payload: bytes, request: str) -> Manifest:
    try:
        answer: Manifest = decode(payload)
    except ValueError as error:
        raise Transient(f"{request}: the response is not JSON: {payload[:100]!r}") from error
    return answer


def _error(status: int, retry_after: str | None, payload: bytes, request: str) -> Exception:
    message = _message(payload) or f"HTTP {status}"
    if status == 409:
        return Conflict(f"{request}: {message}")
    if status == 500 and message.startswith(_MISFIT):
        # The API server's answer to an apply with a field that the kind lacks; a retry would get the same one.
        return Refused(status, message)
    # 401: a rotated token is read again within a minute; 410: a list was paged too slowly.
    if status in (401, 408, 410, 429) or status >= 500:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return Transient(f"{request}: HTTP {status}: {message}", retry_after_seconds=seconds)
    return Refused(status, message)


def _message(payload: bytes) -> str:
    try:
        answer: Any = decode(payload)
    except ValueError:
        return payload.decode(errors="replace")[:200]
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""
