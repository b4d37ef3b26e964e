"""The outside world, one system per file: the cluster, the store of what was seen, the lease."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


async def read_body(response: "aiohttp.ClientResponse", most_bytes: int | None) -> bytes | None:
    """Return the body of a response; None, and the connection closed, if it is longer than that."""
    if most_bytes is None:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            response.close()
            return None
    return bytes(body)
