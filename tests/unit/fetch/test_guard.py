"""Which hosts and addresses a fetch may reach."""

import ipaddress
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.tunnel import Guard

PUBLIC_ONLY = Guard((), allow_private=False)
PRIVATE_TOO = Guard((), allow_private=True)


def test_a_public_address_is_allowed():
    assert PUBLIC_ONLY.resolve("8.8.8.8", 443) == ["8.8.8.8"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::1", "::",
        "fd00::1", "fe80::1", "169.254.169.254", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
        "2002:0a00:0001::1", "224.0.0.1", "255.255.255.255", "0x7f.1", "2130706433", "0177.0.0.1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused_in_every_spelling(host):
    with pytest.raises(FetchFailed, match="resolves to"):
        PUBLIC_ONLY.resolve(host, 443)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_is_allowed_is_global(address):
    try:
        PUBLIC_ONLY.resolve(str(address), 443)
    except FetchFailed:
        return
    assert address.is_global
    assert not address.is_multicast


# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, in their order.
SPECIAL = [
    "0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32", "224.0.0.0/4", "::1/128",
    "::/128", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128",
    "2001:1::2/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28",
    "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
    "ff00::/8",
]  # fmt: skip
METADATA = [
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "168.63.129.16", "100.100.100.200",
    "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42", "fd00:a9fe:a9fe::1",
    "fe80::a9fe:a9fe",
]  # fmt: skip


def carriers(address):
    """Yield every form in which an IPv6 address carries the IPv4 address `address`."""
    number = int(ipaddress.IPv4Address(address))
    high, low = number >> 16, number & 0xFFFF
    for prefix in ("::ffff:0:0", "::", "64:ff9b::", "64:ff9b:1::", "64:ff9b:1:fffe:ff::", "fe80::5efe:0:0",
                   "2a00::5efe:0:0", "2a00::200:5efe:0:0"):  # fmt: skip
        yield ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number)
    yield ipaddress.IPv6Address(int(ipaddress.IPv6Address("2002::")) | number << 80)
    yield ipaddress.IPv6Address(int(ipaddress.IPv6Address("2001:0:808:808::")) | (number ^ 0xFFFFFFFF))
    yield ipaddress.IPv6Address(int(ipaddress.IPv6Address("2001::")) | number << 64)
    local = int(ipaddress.IPv6Address("64:ff9b:1::"))
    yield ipaddress.IPv6Address(local | high << 64 | low << 40)
    yield ipaddress.IPv6Address(local | number >> 24 << 64 | (number & 0xFFFFFF) << 32)
    yield ipaddress.IPv6Address(local | number << 24)


@pytest.mark.parametrize("network", SPECIAL)
@settings(max_examples=10)
@given(data=st.data())
def test_no_address_of_a_special_purpose_range_is_reached_in_any_form(network, data):
    address = data.draw(st.ip_addresses(network=network))
    forms = [address, *(carriers(address) if address.version == 4 else ())]
    for form in forms:
        with pytest.raises(FetchFailed, match="resolves to"):
            PUBLIC_ONLY.resolve(str(form), 443)


@pytest.mark.parametrize("address", METADATA)
def test_metadata_services_are_never_reached_in_any_form(address):
    forms = [address, *(map(str, carriers(address)) if "." in address else ())]
    for form in forms:
        with pytest.raises(FetchFailed, match="never allowed"):
            PRIVATE_TOO.resolve(form, 80)


@given(st.ip_addresses(v=4))
def test_a_public_address_behind_nat64_is_as_public_as_itself(address):
    def is_allowed(form):
        try:
            PUBLIC_ONLY.resolve(form, 443)
        except FetchFailed:
            return False
        return True

    assert is_allowed(f"64:ff9b::{address}") == is_allowed(f"::ffff:{address}") == is_allowed(str(address))


@pytest.mark.parametrize("host", ["::1", "fd12:3456::1", "64:ff9b:1::10.0.0.7", "10.0.0.7", "127.0.0.1"])
def test_private_addresses_of_every_kind_are_for_the_administrator_to_allow(host):
    assert len(PRIVATE_TOO.resolve(host, 443)) == 1
    with pytest.raises(FetchFailed, match="ask the administrator to allow private addresses"):
        PUBLIC_ONLY.resolve(host, 443)


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_private_hosts_are_allowed_where_the_administrator_says_so(address):
    assert PRIVATE_TOO.resolve(str(address), 443) == [str(address)]


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"]
)
def test_the_metadata_service_is_never_allowed(host):
    with pytest.raises(FetchFailed, match="never allowed"):
        PRIVATE_TOO.resolve(host, 80)


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch):
    def answers(*_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    with pytest.raises(FetchFailed, match=r"'models\.example\.com' resolves to 10\.0\.0\.1"):
        PUBLIC_ONLY.resolve("models.example.com", 443)


def test_a_name_server_that_is_busy_is_worth_another_try(monkeypatch):
    def busy(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", busy)
    with pytest.raises(Transient, match="name server did not answer for host 'models"):
        PUBLIC_ONLY.resolve("models.example.com", 443)


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("models.example.com", True),
        ("MODELS.example.com", True),
        ("a.b.internal.example.com", True),
        ("internal.example.com", False),
        ("evilinternal.example.com", False),
        ("models.example.com.evil.org", False),
        ("example.com", False),
    ],
)
def test_the_allow_list_takes_names_and_wildcards(host, is_allowed):
    guard = Guard(("models.example.com", "*.internal.example.com"), allow_private=False)
    if is_allowed:
        guard.check_host(host)
    else:
        with pytest.raises(FetchFailed, match="is not allowed; the administrator allows only"):
            guard.check_host(host)
