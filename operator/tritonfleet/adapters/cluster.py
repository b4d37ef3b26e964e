"""The Kubernetes API as plain JSON data: a few verbs, with errors by what the caller can do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
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

from tritonfleet.api import names
from tritonfleet.api.resources import BY_KIND
from tritonfleet.errors import Conflict, NoCluster, Refused, Transient
from tritonfleet.plan.world import Manifest

REQUEST_TIMEOUT_SECONDS = 30.0
PAGE_SIZE = 500
CONNECTIONS = 64
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
IMPOSSIBLE_VERSION = "1"
"""No object ever has this resourceVersion, so an apply with it can only create."""

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


class Cluster:
    """The verbs, on JSON data: the generated models would reject partial objects.

    Every method raises Transient (429, 5xx, broken connection), Conflict (409) or Refused (other 4xx).
    """

    def __init__(self, configuration: Configuration, observe: RequestObserver | None = None) -> None:
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        self._observe = observe

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

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
        self, kind: str, namespace: str | None = None, *, labels: str = "", metadata_only: bool = False
    ) -> Listing | None:
        """Return all objects of a kind (in one namespace, or in all), or None if the cluster lacks the kind."""
        items: list[Manifest] = []
        version = ""
        async for page in self._pages(kind, namespace, labels, metadata_only):
            if page is None:
                return None
            items.extend(page["items"] or ())
            version = page["metadata"]["resourceVersion"]
        resource = BY_KIND[kind]
        for item in items:
            # Kubernetes omits both in the items of a list.
            item["kind"], item["apiVersion"] = kind, resource.api_version
        return Listing(items, version)

    async def _pages(
        self, kind: str, namespace: str | None, labels: str, metadata_only: bool
    ) -> AsyncIterator[Manifest | None]:
        query = {"limit": str(PAGE_SIZE)} | ({"labelSelector": labels} if labels else {})
        accept = METADATA_ONLY if metadata_only else None
        token = None
        while token != "":
            page = await self._call(
                "GET",
                kind,
                BY_KIND[kind].path(namespace),
                query | ({"continue": token} if token else {}),
                accept=accept,
            )
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
    ) -> Manifest | None:
        """Send one request; None for 404. Every request is reported to the observer."""
        outcome = "<error>"
        try:
            url = self._configuration.host + quote(path) + (f"?{urlencode(query)}" if query else "")
            response = await self._rest.request(
                method,
                url,
                headers=await self._headers(content_type, accept),
                body=body,
                _request_timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
            )
            payload = await response.read()
            outcome = str(response.status)
        except (aiohttp.ClientError, TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            raise Transient(f"{method} {path}: {type(error).__name__}: {error}") from error
        finally:
            if self._observe is not None:
                self._observe(method, kind, outcome)
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


def _path(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return BY_KIND[manifest["kind"]].path(metadata.get("namespace"), metadata["name"])


def _found(answer: Manifest | None, kind: str) -> Manifest:
    """Unwrap the response to a write: 404 means that the kind or the namespace does not exist."""
    if answer is None:
        raise Refused(404, f"the namespace or the kind {kind} does not exist in this cluster")
    return answer


def _json(payload: bytes, request: str) -> Manifest:
    try:
        answer: Manifest = json.loads(payload)
    except ValueError as error:
        raise Transient(f"{request}: the response is not JSON: {payload[:100]!r}") from error
    return answer


def _error(status: int, retry_after: str | None, payload: bytes, request: str) -> Exception:
    message = _message(payload) or f"HTTP {status}"
    if status == 409:
        return Conflict(f"{request}: {message}")
    # 401: a rotated token is read again within a minute; 410: a list was paged too slowly.
    if status in (401, 408, 410, 429) or status >= 500:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return Transient(f"{request}: HTTP {status}: {message}", retry_after_seconds=seconds)
    return Refused(status, message)


def _message(payload: bytes) -> str:
    try:
        answer: Any = json.loads(payload)
    except ValueError:
        return payload.decode(errors="replace")[:200]
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""
