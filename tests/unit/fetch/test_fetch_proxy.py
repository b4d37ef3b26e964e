"""Fetching from where everything goes through a proxy, and from servers of a private authority."""

import pytest

from tritonfleet.fetch.tunnel import Guard, Tunnel

MODEL = b"a model, without meaning"


@pytest.fixture
def proxy():
    """A real proxy, which connects to wherever it is told."""
    with Tunnel(Guard((), allow_private=True)) as found:
        yield found


def test_a_model_comes_through_the_proxy_with_tls_end_to_end(https, fetch, proxy, monkeypatch):
    https.files["/m/model.onnx"] = MODEL
    reached = []
    connect = proxy.connect

    def noted(host, port, **how):
        reached.append((host, port))
        return connect(host, port, **how)

    monkeypatch.setattr(proxy, "connect", noted)

    outcome = fetch(https.url("/m/model.onnx"), TRITONFLEET_FETCH_PROXY=proxy.url)

    assert (outcome.code, outcome.files()) == (0, {"1/model.onnx": MODEL})
    assert set(reached) == {("localhost", https.port)}


def test_the_administrators_authorities_are_trusted_without_a_secret(https, fetch, authority, tmp_path):
    https.files["/m/model.onnx"] = MODEL
    other = authority.server_certificate.read_text()
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(f"{other}\n{authority.certificate.read_text()}")

    outcome = fetch(https.url("/m/model.onnx"), CA_CERTIFICATE="", TRITONFLEET_FETCH_AUTHORITIES=str(bundle))

    assert (outcome.code, outcome.files()) == (0, {"1/model.onnx": MODEL})


def test_a_namespace_without_the_authorities_is_told_of_both_remedies(https, fetch, tmp_path):
    missing = tmp_path / "authorities" / "ca.crt"

    outcome = fetch(https.url("/m/model.onnx"), CA_CERTIFICATE="", TRITONFLEET_FETCH_AUTHORITIES=str(missing))

    assert "its TLS certificate is not trusted" in outcome.message
    assert "as CA_CERTIFICATE, or ask the administrator for the ConfigMap of `fetch.ca`" in outcome.message
