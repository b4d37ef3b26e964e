"""Which hosts and addresses the fetch container may talk to."""

import ipaddress
import socket
from dataclasses import dataclass
from typing import Final

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA: Final = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
"""Cloud metadata services outside the link-local ranges (AWS over IPv6, Alibaba)."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Allow-lists of the administrator, applied to every connection and so to every redirect."""

    allowed_hosts: tuple[str, ...]
    allow_private: bool

    def check_host(self, host: str) -> None:
        """Raise FetchFailed unless the host is on the allow-list; an empty list allows every name."""
        if not self.allowed_hosts or any(_matches(host.lower(), pattern) for pattern in self.allowed_hosts):
            return
        raise FetchFailed(
            f"host '{host}' is not allowed; the administrator allows only: {', '.join(self.allowed_hosts)}"
        )

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the host's addresses, all of them checked, for the caller to connect to and no other.

        Raises Transient when the name server cannot answer now, FetchFailed for everything else.
        """
        self.check_host(host)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise Transient(f"the name server did not answer for host '{host}'") from error
            raise FetchFailed(f"host '{host}' cannot be found by DNS; check its spelling") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            self._check_address(host, ipaddress.ip_address(address.partition("%")[0]))
        return addresses

    def _check_address(self, host: str, address: Address) -> None:
        faces = _faces(address)
        if any(_never(face) for face in faces):
            raise FetchFailed(f"host '{host}' resolves to {address}, a link-local or metadata address: never allowed")
        if not self.allow_private and not all(face.is_global for face in faces):
            raise FetchFailed(
                f"host '{host}' resolves to {address}, a private address; use a public host, or ask the "
                "administrator to allow private addresses for model sources"
            )


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _faces(address: Address) -> list[Address]:
    """Return the address and the IPv4 addresses that it carries packets to when it is a transition form."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    carried = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    mapped = address.ipv4_mapped
    return [mapped] if mapped else [address, *(face for face in carried if face)]


def _never(address: Address) -> bool:
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA
