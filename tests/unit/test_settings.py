"""Settings are read from the environment; what cannot be used is refused by name."""

import re

import pytest

from tritonfleet.settings import from_environment


def test_without_any_variable_the_defaults_hold():
    settings = from_environment({})
    assert settings.namespaces == ()
    assert settings.workers == 64
    assert settings.defaults.fetch_allowed_schemes == ("az", "gs", "hf", "https", "mlflow", "oci", "pvc", "s3")
    assert settings.defaults.fetch_allow_private_addresses is False


def test_every_kind_of_value_is_read():
    settings = from_environment(
        {
            "TRITONFLEET_TRITON_IMAGE": "example.com/triton:1",
            "TRITONFLEET_ALLOW_UNSAFE_IMAGE": "true",
            "TRITONFLEET_NAMESPACES": "a, b,",
            "TRITONFLEET_WORKERS": "8",
            "TRITONFLEET_RESYNC_SECONDS": "60",
            "TRITONFLEET_HTTP_PORT": "0",
            "TRITONFLEET_LOG_LEVEL": "debug",
            "TRITONFLEET_FETCH_ALLOWED_HOSTS": " ",
            "TRITONFLEET_IDENTITY": "pod-1",
            "TRITONFLEET_TICK_SECONDS": "2",
            "TRITONFLEET_PROMETHEUS_URL": "http://prometheus.monitoring:9090",
        }
    )
    assert settings.defaults.triton_image == "example.com/triton:1"
    assert settings.defaults.allow_unsafe_image
    assert settings.namespaces == ("a", "b")
    assert (settings.workers, settings.resync_seconds, settings.http_port) == (8, 60.0, 0)
    assert (settings.log_level, settings.identity) == ("DEBUG", "pod-1")
    assert settings.defaults.fetch_allowed_hosts == ()
    assert (settings.tick_seconds, settings.prometheus_url) == (2.0, "http://prometheus.monitoring:9090")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOW_UNSAFE_IMAGE", "maybe"),
        ("WORKERS", "0"),
        ("WORKERS", "many"),
        ("RESYNC_SECONDS", "inf"),
        ("HTTP_PORT", "70000"),
        ("LOG_LEVEL", "loud"),
        ("FETCH_IMAGE_PULL_POLICY", "Sometimes"),
        ("TICK_SECONDS", "0"),
        ("SCRAPE_CONCURRENCY", "all"),
        ("PROMETHEUS_URL", "prometheus:9090"),
        ("PROMETHEUS_URL", "http://user@prometheus"),
        ("PROMETHEUS_URL", "file:///etc/passwd"),
        ("POD_IPS", "localhost"),
        ("FETCH_PROXY", "proxy.example.com:3128"),
        ("FETCH_PROXY", "http://user:secret@proxy:3128"),
        ("FETCH_PROXY", "https://proxy:3128"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_name_of_its_variable(name, value):
    with pytest.raises(ValueError, match=f"^TRITONFLEET_{name}: .*{re.escape(value)}"):
        from_environment({f"TRITONFLEET_{name}": value})


@pytest.mark.parametrize(
    ("addresses", "families"),
    [
        ("", ("IPv4",)),
        ("10.4.0.7", ("IPv4",)),
        ("fd00::7", ("IPv6",)),
        ("10.4.0.7,fd00::7", ("IPv4", "IPv6")),
        ("fd00::7,10.4.0.7", ("IPv6", "IPv4")),
    ],
)
def test_pods_get_the_families_of_addresses_that_the_operators_own_pod_has(addresses, families):
    assert from_environment({"TRITONFLEET_POD_IPS": addresses}).defaults.ip_families == families


@pytest.mark.parametrize("headers", ["a list", '["a"]', '{"a b": "c"}', '{"a": "b\\r\\nc: d"}', '{"a": 1}'])
def test_a_header_that_would_be_another_one_is_refused(headers):
    with pytest.raises(ValueError, match=r"^TRITONFLEET_PROMETHEUS_HEADERS: "):
        from_environment({"TRITONFLEET_PROMETHEUS_HEADERS": headers})


def test_workloads_that_cannot_be_used_are_refused_by_the_name_of_the_field():
    with pytest.raises(ValueError, match=r"^TRITONFLEET_WORKLOADS: podMonitor.enabled: .*boolean"):
        from_environment({"TRITONFLEET_WORKLOADS": '{"podMonitor": {"enabled": "perhaps"}}'})


def test_two_processes_of_one_host_have_different_identities():
    assert from_environment({}).identity != from_environment({}).identity
