"""What a pod of a revision is made of."""

import re
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.rendered import DEFAULTS, built, environment, fetch, parsed, pod, triton
from tritonfleet.api.workloads import Workloads
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects import linger_seconds
from tritonfleet.plan.world import Defaults


def test_readiness_asks_for_the_model_and_liveness_for_the_server() -> None:
    server, proxy = pod(model={"name": "ranker"})["containers"]
    assert server["startupProbe"]["httpGet"] == {"path": "/v2/models/ranker/ready", "port": 8010}
    assert server["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8010}
    assert proxy["readinessProbe"]["httpGet"] == {"path": "/v2/models/ranker/ready", "port": "http"}


def test_a_fault_of_the_proxy_does_not_restart_the_server() -> None:
    server, proxy = pod()["containers"]
    assert proxy["ports"] == [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]
    assert [port["name"] for port in server["ports"]] == ["grpc", "metrics"]
    assert "--http-port=8010" in server["args"]
    assert "livenessProbe" not in proxy


def test_the_proxy_leads_to_the_port_that_the_server_listens_on() -> None:
    files = built().config
    assert "  server triton 127.0.0.1:8010\n" in files["haproxy.cfg"]
    [proxy] = [container for container in pod()["containers"] if container["name"] == "http"]
    assert proxy["command"][-2:] == ["-f", "/config/haproxy.cfg"]
    assert {"name": "config", "mountPath": "/config", "readOnly": True} in proxy["volumeMounts"]


def test_the_startup_probe_lasts_as_long_as_the_startup_timeout() -> None:
    probe = triton({"startupTimeout": "5m"})["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 300


def test_a_pod_is_given_time_to_leave_drain_and_unload() -> None:
    spec = pod({"drainTimeout": "40s", "grpcMaxConnectionAge": "5s"})
    server, proxy = spec["containers"]
    assert proxy["lifecycle"] == {"preStop": {"sleep": {"seconds": 10}}}
    assert server["lifecycle"] == {"preStop": {"sleep": {"seconds": 35}}}
    assert "--exit-timeout-secs=40" in server["args"]
    assert spec["terminationGracePeriodSeconds"] == 35 + 40 + 15


def test_the_server_outlives_every_idle_connection_to_the_proxy() -> None:
    deployment = built({"drainTimeout": "0s"})
    server, proxy = deployment.template["spec"]["containers"]
    leaving = [container["lifecycle"]["preStop"]["sleep"]["seconds"] for container in (server, proxy)]
    [idle] = re.findall(r"timeout http-keep-alive (\d+)s", deployment.config["haproxy.cfg"])
    assert leaving[0] > leaving[1] + int(idle)


def test_the_proxy_waits_for_requests_in_progress_as_long_as_the_server_does() -> None:
    deployment = built({"drainTimeout": "1h"})
    assert "hard-stop-after 3625s" in deployment.config["haproxy.cfg"]
    assert deployment.template["spec"]["terminationGracePeriodSeconds"] > 10 + 3625


@pytest.mark.parametrize(("age", "seconds"), [("1s", 35), ("10s", 35), ("40s", 46), ("10m", 60)])
def test_a_pod_serves_until_grpc_connections_have_moved_but_not_forever(age: str, seconds: int) -> None:
    assert triton({"grpcMaxConnectionAge": age})["lifecycle"]["preStop"]["sleep"]["seconds"] == seconds


def test_an_old_revision_and_its_leaving_pods_outlast_every_grpc_connection() -> None:
    assert linger_seconds(parsed({"grpcMaxConnectionAge": "10m"})) + 60 == 662
    assert linger_seconds(parsed({"grpcMaxConnectionAge": "10s"})) == 2


def test_nothing_in_the_pod_is_privileged_or_writes_to_its_image() -> None:
    spec = pod()
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


def test_termination_messages_reach_the_status_from_every_container() -> None:
    spec = pod()
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_only_the_fetch_step_sees_the_credentials() -> None:
    spec = pod(model={"credentialsSecretName": "models-read"})
    assert spec["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "models-read"}}]
    assert not [container for container in spec["containers"] if "envFrom" in container]


def test_the_fetch_step_gets_its_source_and_rules() -> None:
    defaults = Defaults(
        triton_image="triton:26.11",
        allow_unsafe_image=False,
        fetch_image="op:1",
        fetch_allowed_schemes=("https", "s3"),
        fetch_allowed_hosts=("a.example", "b.example"),
        fetch_allow_private_addresses=True,
    )
    found = environment(fetch({"digest": "sha256:" + "0" * 64, "backend": "python", "name": "ranker"}, defaults))
    assert found == dict.fromkeys(
        ("TRITONFLEET_FETCH_PROXY", "TRITONFLEET_FETCH_NO_PROXY", "TRITONFLEET_FETCH_AUTHORITIES"), ""
    ) | {
        "HOME": "/home/triton",
        "TRITONFLEET_FETCH_URI": "s3://models/demo",
        "TRITONFLEET_FETCH_MODEL": "ranker",
        "TRITONFLEET_FETCH_DIGEST": "sha256:" + "0" * 64,
        "TRITONFLEET_FETCH_BACKEND": "python",
        "TRITONFLEET_FETCH_SERVER": (
            '{"gpus": 1, "server_has_cache": false, "rate_limited": false, "release": [26, 11]}'
        ),
        "TRITONFLEET_FETCH_TARGET": "/models",
        "TRITONFLEET_FETCH_CONFIG": "/config/tritonfleet.pbtxt",
        "TRITONFLEET_FETCH_ALLOWED_SCHEMES": "https,s3",
        "TRITONFLEET_FETCH_ALLOWED_HOSTS": "a.example,b.example",
        "TRITONFLEET_FETCH_ALLOW_PRIVATE": "true",
    }


@pytest.mark.parametrize(
    ("model", "server", "said"),
    [
        ({"uri": "gs://models/demo"}, {"serviceAccountName": "reader"}, "true"),
        ({"uri": "gs://models/demo"}, {}, ""),
        ({"uri": "gs://models/demo", "credentialsSecretName": "s"}, {"serviceAccountName": "reader"}, ""),
        ({"uri": "s3://models/demo"}, {"serviceAccountName": "reader"}, None),
    ],
)
def test_the_pods_identity_is_asked_for_where_a_service_account_is_given_and_no_secret(model, server, said) -> None:
    found = environment(pod(server, model=model)["initContainers"][0])
    assert found.get("TRITONFLEET_FETCH_IDENTITY") == said


@pytest.mark.parametrize(
    ("model", "server", "label"),
    [
        ({"uri": "az://account/models/demo"}, {"serviceAccountName": "reader"}, "true"),
        ({"uri": "https://account.blob.core.windows.net/models/demo/"}, {"serviceAccountName": "reader"}, "true"),
        ({"uri": "https://account.blob.core.windows.net/models/demo.onnx"}, {"serviceAccountName": "reader"}, None),
        ({"uri": "https://example.com/x.blob.core.windows.net/demo/"}, {"serviceAccountName": "reader"}, None),
        ({"uri": "az://account/models/demo"}, {}, None),
        ({"uri": "az://account/models/demo", "credentialsSecretName": "s"}, {"serviceAccountName": "reader"}, None),
        ({"uri": "s3://models/demo"}, {"serviceAccountName": "reader"}, None),
    ],
)
def test_azures_webhook_is_asked_for_a_token_where_the_model_needs_one(model, server, label) -> None:
    template = built(server, model).template
    assert template["metadata"]["labels"].get("azure.workload.identity/use") == label


def test_unset_fields_are_not_passed_to_the_fetch_step() -> None:
    found = environment(fetch())
    assert found["TRITONFLEET_FETCH_ALLOW_PRIVATE"] == "false"
    assert not {f"TRITONFLEET_FETCH_{name}" for name in ("DIGEST", "BACKEND", "SOURCE", "ALLOWED_HOSTS")} & set(found)


def test_a_claim_is_mounted_read_only_where_the_model_is_read() -> None:
    spec = pod(model={"uri": "pvc://artifacts/vision"})
    assert {"name": "source", "persistentVolumeClaim": {"claimName": "artifacts", "readOnly": True}} in spec["volumes"]
    source = {"name": "source", "mountPath": "/source", "readOnly": True}
    reading = [one["name"] for one in (*spec["initContainers"], *spec["containers"]) if source in one["volumeMounts"]]
    assert reading == ["fetch", "triton"]
    assert environment(spec["initContainers"][0])["TRITONFLEET_FETCH_SOURCE"] == "/source"


def test_the_server_cannot_change_the_model_it_serves() -> None:
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in triton()["volumeMounts"]


def test_shared_memory_is_memory_of_the_size_asked_for() -> None:
    [volume] = [volume for volume in pod({"sharedMemory": "2048Mi"})["volumes"] if volume["name"] == "shm"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}


def test_gpus_are_requested_as_a_limit_of_the_named_resource() -> None:
    resources = triton({"gpu": {"count": 2, "resourceName": "nvidia.com/mig-1g.10gb"}})["resources"]
    assert resources["limits"]["nvidia.com/mig-1g.10gb"] == "2"
    assert resources["requests"]["nvidia.com/mig-1g.10gb"] == "2"


def test_quantities_are_written_as_the_api_server_writes_them_back() -> None:
    resources = triton(
        {"gpu": {"count": 0}, "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"cpu": "0.5"}}}
    )["resources"]
    assert resources == {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "500m"}}


def test_a_model_without_gpu_tolerates_no_gpu_node() -> None:
    assert "tolerations" not in pod({"gpu": {"count": 0}})


def test_a_model_with_gpu_tolerates_the_usual_taint_of_gpu_nodes() -> None:
    own = {"key": "team", "operator": "Exists"}
    assert pod({"tolerations": [own]})["tolerations"] == [
        own,
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]


PRODUCT = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-H200"]}
DISK = {"key": "disk", "operator": "Exists"}
ZONE = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}


def required(affinity: dict[str, Any]) -> Any:
    return affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]


def test_a_gpu_product_is_asked_of_the_node() -> None:
    affinity = pod({"gpu": {"product": ["NVIDIA-H200"]}})["affinity"]
    assert required(affinity) == [{"matchExpressions": [PRODUCT]}]


def test_a_gpu_product_is_added_to_every_alternative_of_the_user_s_affinity() -> None:
    own = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [ZONE]},
                    {"matchExpressions": [DISK]},
                ]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {
                        "labelSelector": {"matchLabels": {"app": "noisy"}},
                        "topologyKey": "kubernetes.io/hostname",
                    },
                }
            ]
        },
    }
    affinity = pod({"gpu": {"product": ["NVIDIA-H200"]}, "affinity": own})["affinity"]
    assert required(affinity) == [
        {"matchExpressions": [ZONE, PRODUCT]},
        {"matchExpressions": [DISK, PRODUCT]},
    ]
    assert affinity["podAntiAffinity"] == own["podAntiAffinity"]


def test_pods_of_one_revision_spread_over_hosts_where_they_can() -> None:
    revision = built()
    assert revision.template["spec"]["topologySpreadConstraints"] == [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {
                "matchLabels": {"tritonfleet.dev/modeldeployment": "demo", "tritonfleet.dev/revision": revision.hash}
            },
        }
    ]


def test_a_bad_configuration_is_refused_before_anything_is_written() -> None:
    with pytest.raises(InvalidSpec) as refusal:
        built({"gpu": {"count": 0}}, instances=[{"kind": "GPU"}])
    assert str(refusal.value) == (
        "spec.instances[0].kind is GPU: needs spec.server.gpu.count of 1 or more, or kind CPU"
    )
    assert refusal.value.reason == "ConfigInvalid"


def test_an_owned_flag_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="'--http-port=1' sets --http-port, which the operator sets itself"):
        built({"args": ["--http-port=1"]})


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (None, "nvcr.io/nvidia/tritonserver:26.11-py3"),
        ({"tag": "26.10-py3"}, "nvcr.io/nvidia/tritonserver:26.10-py3"),
        ({"repository": "registry.example/triton", "tag": "ours"}, "registry.example/triton:ours"),
        ({"digest": "sha256:" + "a" * 64}, "nvcr.io/nvidia/tritonserver@sha256:" + "a" * 64),
        (
            {"repository": "registry.example/triton", "tag": "26.11", "digest": "sha256:" + "a" * 64},
            "registry.example/triton:26.11@sha256:" + "a" * 64,
        ),
    ],
)
def test_the_image_is_the_operator_s_with_what_the_spec_says_instead(image: Any, expected: str) -> None:
    assert triton({"image": image} if image else {})["image"] == expected


def test_a_pull_policy_is_passed_on() -> None:
    assert triton({"image": {"pullPolicy": "Always"}})["imagePullPolicy"] == "Always"
    assert "imagePullPolicy" not in triton()


@pytest.mark.parametrize("allowed_by", ["the spec", "the operator"])
def test_an_image_with_remote_holes_needs_permission(allowed_by: str) -> None:
    server = {"image": {"tag": "24.10-py3"}}
    with pytest.raises(InvalidSpec, match=r"older than 26\.06 .*CVE-2025-23316.*CVE-2026-24207.*CVE-2026-47606"):
        built(server)
    if allowed_by == "the spec":
        allowed = built({**server, "allowUnsafeImage": True})
    else:
        allowed = built(server, defaults=Defaults("triton:26.11", allow_unsafe_image=True, fetch_image="op:1"))
    assert allowed.template["spec"]["containers"][0]["image"].endswith(":24.10-py3")


def test_a_rate_limiter_in_the_raw_configuration_is_switched_on() -> None:
    raw = {"instance_group": [{"count": 1, "rate_limiter": {"priority": 1}}]}
    assert "--rate-limit=execution_count" in triton(modelConfig=raw)["args"]


def test_an_empty_value_is_left_out_as_the_api_server_leaves_it_out() -> None:
    spec = pod({"env": [{"name": "A", "value": ""}], "tolerations": [{"key": "team", "value": ""}]})
    assert spec["containers"][0]["env"][-1] == {"name": "A"}
    assert spec["tolerations"][0] == {"key": "team"}


def test_a_cpu_model_is_shown_no_gpu_even_where_the_nvidia_runtime_is_the_default() -> None:
    assert environment(triton({"gpu": {"count": 0}}))["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NVIDIA_VISIBLE_DEVICES" not in environment(triton())


@pytest.mark.parametrize(
    ("server", "allowed", "words"),
    [
        ({"priorityClassName": "system-node-critical"}, {}, "spec.server.priorityClassName: 'system-node-critical'"),
        ({"priorityClassName": "system-cluster-critical"}, {}, "use any but system-*"),
        (
            {"priorityClassName": "gold"},
            {"allowed_priority_classes": ("silver", "bronze")},
            "use silver, bronze, or ask",
        ),
        (
            {"runtimeClassName": "runc"},
            {"allowed_runtime_classes": ("gvisor",)},
            "spec.server.runtimeClassName: 'runc'",
        ),
    ],
)
def test_a_class_that_is_not_the_authors_to_take_is_refused(
    server: dict[str, Any], allowed: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        built(server, defaults=replace(DEFAULTS, workloads=Workloads(**allowed)))
    assert words in str(refusal.value)
    assert "ask the administrator to add it to the chart's workloads.allowed" in str(refusal.value)


@pytest.mark.parametrize(
    ("server", "allowed"),
    [
        ({"priorityClassName": "gold", "runtimeClassName": "nvidia"}, {}),
        ({"priorityClassName": "system-node-critical"}, {"allowed_priority_classes": ("system-node-critical",)}),
        ({"runtimeClassName": "gvisor"}, {"allowed_runtime_classes": ("nvidia", "gvisor")}),
    ],
)
def test_a_class_that_the_administrator_leaves_to_authors_is_passed_on(
    server: dict[str, Any], allowed: dict[str, Any]
) -> None:
    template = built(server, defaults=replace(DEFAULTS, workloads=Workloads(**allowed))).template
    assert server.items() <= template["spec"].items()


def test_a_response_cache_in_redis_gets_its_password_from_the_secret_and_the_model_uses_it() -> None:
    cache = {"redis": {"host": "redis.shop", "credentialsSecretName": "redis"}}

    assert "response_cache {\n  enable: true\n}" in built({"responseCache": cache}).config["tritonfleet.pbtxt"]
    assert {
        "name": "TRITONCACHE_REDIS_PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "redis", "key": "password", "optional": True}},
    } in triton({"responseCache": cache})["env"]


@pytest.mark.parametrize(
    "fields",
    [
        {"instances": [{"kind": "CPU", "rateLimiter": {"priority": 2}}]},
        {"modelConfig": {"instance_group": [{"kind": "KIND_CPU", "rate_limiter": {"priority": 2}}]}},
    ],
    ids=["typed", "raw"],
)
def test_a_rate_limiter_of_the_spec_sets_the_flag_of_the_server(fields: dict[str, Any]) -> None:
    assert "--rate-limit=execution_count" in triton(**fields)["args"]
