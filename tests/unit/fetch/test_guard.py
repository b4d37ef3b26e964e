"""Which hosts and addresses a fetch may reach."""

import socket

import pytest
from hypothesis import given
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
