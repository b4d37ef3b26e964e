"""The bare client that the benchmark itself uses: `kubernetes.aio`'s transport, JSON data in, JSON data out."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from tritonfleet.adapters.cluster import load_configuration

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class Client:
    """One connection pool and one identity."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._host = api.configuration.host

    async def send(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> bytes:
        """Send one request and return the answer unread; raises RuntimeError for an HTTP error."""
        headers = {"Content-Type": content_type, "Accept": "application/json", **await self._authorization()}
        answer = await self._api.call_api(method, self._host + path, headers, body)
        payload = await answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: HTTP {answer.status}: {payload.decode(errors='replace')[:500]}")
        return bytes(payload)

    async def json(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """Send one request and return the object that was answered."""
        return json.loads(await self.send(method, path, body, content_type=content_type))

    async def watch(self, path: str, accept: str = "application/json") -> AsyncIterator[Mapping[str, Any]]:
        """Yield every event of a collection, those of what exists already first; ends when the server ends it."""
        headers = {"Accept": accept, **await self._authorization()}
        url = f"{self._host}{path}?watch=true"
        timeout = aiohttp.ClientTimeout(total=None)
        answer = await self._api.rest_client.request("GET", url, headers=headers, _request_timeout=timeout)
        async for line in answer.response.content:
            yield json.loads(line)

    async def _authorization(self) -> dict[str, str]:
        token = await self._api.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"Authorization": token} if token else {}


@asynccontextmanager
async def connect(kubeconfig: Path, connections: int) -> AsyncIterator[Client]:
    """Open a client that sends at most `connections` requests at once."""
    configuration = await load_configuration(kubeconfig)
    configuration.connection_pool_maxsize = connections
    async with ApiClient(configuration) as api:
        yield Client(api)
