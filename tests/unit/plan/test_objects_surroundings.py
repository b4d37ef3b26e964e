"""How a pod fits the cluster it runs in: quotas, queues, classes, users, storage, the administrator's defaults."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.rendered import DEFAULTS, built, environment, fetch, pod, triton
from tritonfleet.api.placement import Toleration
from tritonfleet.api.server import Resources
from tritonfleet.api.workloads import Workloads

LISTEN_ON_IPV6 = {"--http-address=ipv6:::", "--metrics-address=ipv6:::", "--grpc-address=[::]"}


def resources(server: dict[str, Any], workloads: Workloads = Workloads()) -> dict[str, Any]:  # noqa: B008
    spec = built(server, defaults=replace(DEFAULTS, workloads=workloads)).template["spec"]
    return {each["name"]: each["resources"] for each in (*spec["initContainers"], *spec["containers"])}


def test_every_container_of_a_pod_can_have_the_limits_that_a_quota_demands() -> None:
    limited = {"limits": {"cpu": "1000m", "memory": "1Gi"}}
    server = {"gpu": {"count": 0}, "resources": limited, "fetchResources": limited, "proxyResources": limited}

    found = resources(server)

    assert set(found) == {"fetch", "triton", "http"}
    assert all(each == {"limits": {"cpu": "1", "memory": "1Gi"}} for each in found.values())


def test_the_resources_of_the_other_containers_are_the_administrators_unless_the_spec_has_its_own() -> None:
    administrators = Workloads(
        fetch_resources=Resources(limits={"cpu": "2"}), proxy_resources=Resources(limits={"cpu": "1"})
    )

    found = resources({"proxyResources": {"requests": {"cpu": "0.25"}}}, administrators)

    assert found["fetch"] == {"limits": {"cpu": "2"}}
    assert found["http"] == {"requests": {"cpu": "250m"}}


def test_pods_have_the_users_labels_beside_the_operators() -> None:
    queue = {"kueue.x-k8s.io/queue-name": "gpus"}

    revision = built({"podLabels": queue})

    own = {**built().template["metadata"]["labels"], "tritonfleet.dev/revision": revision.hash}
    assert revision.template["metadata"]["labels"] == {**own, **queue}


def test_volumes_and_variables_of_the_namespace_reach_the_server_and_no_other_container() -> None:
    volumes = [
        {"name": "tokenizers", "configMap": {"name": "tokenizers"}},
        {"name": "license", "secret": {"secretName": "license", "optional": True}},
        {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}},
        {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1024Mi"}},
        {"name": "plain", "emptyDir": {}},
    ]
    mounts = [
        {"name": "tokenizers", "mountPath": "/opt/tokenizers", "readOnly": True, "subPath": "v2"},
        {"name": "cache", "mountPath": "/home/triton/.cache"},
    ]
    sources = [
        {"prefix": "HUB_", "secretRef": {"name": "hub"}},
        {"configMapRef": {"name": "settings", "optional": True}},
    ]

    spec = pod({"volumes": volumes, "volumeMounts": mounts, "envFrom": sources})

    server, proxy = spec["containers"]
    stored = [*volumes[:3], {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}, volumes[4]]
    assert spec["volumes"][len(pod()["volumes"]) :] == stored
    assert server["volumeMounts"] == [*triton()["volumeMounts"], *mounts]
    assert server["envFrom"] == sources
    assert [proxy["volumeMounts"], spec["initContainers"][0]["volumeMounts"]] == [
        pod()["containers"][1]["volumeMounts"],
        fetch()["volumeMounts"],
    ]


def test_sizes_that_mean_the_same_are_one_revision() -> None:
    def sized(limit: str, cpu: str) -> str:
        volumes = [{"name": "scratch", "emptyDir": {"sizeLimit": limit}}]
        return built({"volumes": volumes, "fetchResources": {"limits": {"cpu": cpu}}}).hash

    assert sized("1024Mi", "1000m") == sized("1Gi", "1")
    assert sized("1Gi", "1") != sized("1Gi", "2")


def test_the_administrators_defaults_come_beside_what_the_spec_asks_for() -> None:
    workloads = Workloads(
        image_pull_secrets=("registry", "mirror"),
        tolerations=(Toleration.model_validate({"key": "pool", "operator": "Exists"}),),
        priority_class_name="models",
    )
    server = {"imagePullSecrets": ["registry"], "tolerations": [{"key": "team", "value": "shop"}]}

    spec = built(server, defaults=replace(DEFAULTS, workloads=workloads)).template["spec"]
    other = built({"priorityClassName": "gold"}, defaults=replace(DEFAULTS, workloads=workloads)).template["spec"]

    assert spec["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
    assert [each["key"] for each in spec["tolerations"]] == ["team", "pool", "nvidia.com/gpu"]
    assert (spec["priorityClassName"], other["priorityClassName"]) == ("models", "gold")


def test_users_are_left_to_a_cluster_that_chooses_them() -> None:
    left = built(defaults=replace(DEFAULTS, workloads=Workloads(run_as_user=None))).template["spec"]["securityContext"]
    other = built(defaults=replace(DEFAULTS, workloads=Workloads(run_as_user=4242))).template["spec"]["securityContext"]

    assert left == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert (other["runAsUser"], other["runAsGroup"], other["fsGroup"]) == (4242, 4242, 4242)


def test_an_administrators_settings_start_no_rollout() -> None:
    changed = Workloads(run_as_user=None, priority_class_name="models", image_pull_secrets=("mirror",))

    assert built(defaults=replace(DEFAULTS, workloads=changed)).hash == built().hash


@pytest.mark.parametrize(
    ("families", "binds", "server", "flags"),
    [
        (("IPv4",), "bind :8000", "127.0.0.1:8010", set()),
        (("IPv4", "IPv6"), "bind :::8000 v4v6", "127.0.0.1:8010", set()),
        (("IPv6",), "bind :::8000 v4v6", "[::1]:8010", LISTEN_ON_IPV6),
        (("IPv6", "IPv4"), "bind :::8000 v4v6", "[::1]:8010", LISTEN_ON_IPV6),
    ],
)
def test_every_listener_is_on_the_families_of_the_pod(
    families: tuple[str, ...], binds: str, server: str, flags: set[str]
) -> None:
    revision = built(defaults=replace(DEFAULTS, ip_families=families))

    proxy = [line.strip() for line in revision.config["haproxy.cfg"].splitlines()]
    assert {binds, f"server triton {server}"} <= set(proxy)
    assert {arg for arg in revision.template["spec"]["containers"][0]["args"] if "-address=" in arg} == flags


def test_the_fetch_step_goes_through_the_administrators_proxy_and_trusts_the_administrators_authorities() -> None:
    defaults = replace(
        DEFAULTS,
        fetch_proxy="http://proxy:3128",
        fetch_no_proxy=("10.0.0.0/8", "example.com"),
        fetch_ca_config_map="authorities",
        fetch_ca_key="bundle.pem",
    )

    spec = built(defaults=defaults).template["spec"]

    variables = environment(spec["initContainers"][0])
    assert variables["TRITONFLEET_FETCH_PROXY"] == "http://proxy:3128"
    assert variables["TRITONFLEET_FETCH_NO_PROXY"] == "10.0.0.0/8,example.com"
    assert variables["TRITONFLEET_FETCH_AUTHORITIES"] == "/authorities/bundle.pem"
    mount = {"name": "authorities", "mountPath": "/authorities", "readOnly": True}
    assert mount in spec["initContainers"][0]["volumeMounts"]
    assert mount not in spec["containers"][0]["volumeMounts"]
    assert {"name": "authorities", "configMap": {"name": "authorities", "optional": True}} in spec["volumes"]


def test_no_secret_can_send_the_fetch_step_elsewhere() -> None:
    """A variable of the container wins over one of `envFrom`, also when it is empty."""
    container = fetch({"credentialsSecretName": "mine"})

    assert {"PROXY", "NO_PROXY", "AUTHORITIES"} <= {
        variable["name"].removeprefix("TRITONFLEET_FETCH_") for variable in container["env"]
    }
