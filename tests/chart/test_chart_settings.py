"""The chart and the operator mean the same settings."""

import re
from dataclasses import replace

import pytest

from tritonfleet import settings
from tritonfleet.api.placement import Toleration
from tritonfleet.api.server import Resources
from tritonfleet.api.workloads import PodMonitor, Workloads
from tritonfleet.plan.world import Defaults

OPENSHIFT = ("security.openshift.io/v1/SecurityContextConstraints",)
OWN = re.compile(r"TRITONFLEET_\w+")


def environment(rendered):
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    fields = {"metadata.name": "tritonfleet-7c9d-x2x4z", "status.podIPs": "10.4.0.7"}
    return {
        each["name"]: each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in container["env"]
        if OWN.fullmatch(each["name"])
    }


class Reads(dict):
    """An environment that remembers what it was asked for."""

    def __init__(self, values=()):
        super().__init__(values)
        self.asked = set()

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


def test_the_chart_sets_every_setting_that_the_operator_reads_and_no_other(by_default):
    reads = Reads()
    settings.from_environment(reads)

    assert set(environment(by_default)) == reads.asked


def test_the_charts_defaults_are_the_operators_own(by_default):
    own = settings.from_environment({})

    from_chart = settings.from_environment(environment(by_default))

    assert from_chart == replace(
        own,
        defaults=replace(own.defaults, fetch_image="docker.io/tritonfleet/operator:0.1.0"),
        lease_name="tritonfleet",
        identity="tritonfleet-7c9d-x2x4z",
    )


def test_every_value_reaches_the_operator(helm):
    rendered = helm.render(
        {
            "image": {"registry": "registry.example.com", "tag": "2", "pullPolicy": "Always"},
            "fullnameOverride": "fleet",
            "watchNamespaces": ["shop", "search"],
            "logLevel": "DEBUG",
            "workers": 4,
            "resyncSeconds": 60,
            "triton": {"image": "registry.example.com/triton:1", "allowUnsafeImage": True},
            "fetch": {
                "allowedSchemes": ["s3", "pvc"],
                "allowedHosts": ["s3.example.com", "*.models.example.com"],
                "allowPrivateAddresses": True,
                "proxy": {"url": "http://proxy.example.com:3128", "noProxy": ["store.example.com", "10.0.0.0/8"]},
                "ca": {"configMapName": "authorities", "key": "bundle.pem"},
            },
            "workloads": {
                "runAsUser": 4242,
                "fetchResources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
                "proxyResources": {
                    "requests": {"cpu": 0.5, "memory": "64Mi"},
                    "limits": {"memory": "128Mi"},
                },
                "imagePullSecrets": [{"name": "registry"}],
                "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "priorityClassName": "models",
                "networkPolicy": True,
                "podMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "monitoring"}},
                "allowedPriorityClasses": ["batch", "system-node-critical"],
                "allowedRuntimeClasses": ["nvidia"],
            },
            "gatewayApi": {"enabled": True, "envoyPolicies": True},
            "autoscaling": {"tickSeconds": 2, "scrapeConcurrency": 32},
            "prometheus": {
                "url": "https://prometheus.example.com/fleet",
                "windowSeconds": 120,
                "headers": {"X-Scope-OrgID": "platform"},
                "gatewayLabels": {"namespace": "gateways", "job": "gateways/envoy"},
                "secretName": "prometheus",
                "tokenKey": "token",
                "caKey": "ca.crt",
            },
            "rollouts": {"customQueries": True},
        }
    )

    found = settings.from_environment(environment(rendered))

    assert found == settings.Settings(
        defaults=Defaults(
            triton_image="registry.example.com/triton:1",
            allow_unsafe_image=True,
            fetch_image="registry.example.com/tritonfleet/operator:2",
            fetch_image_pull_policy="Always",
            fetch_allowed_schemes=("s3", "pvc"),
            fetch_allowed_hosts=("s3.example.com", "*.models.example.com"),
            fetch_allow_private_addresses=True,
            fetch_proxy="http://proxy.example.com:3128",
            fetch_no_proxy=("store.example.com", "10.0.0.0/8"),
            fetch_ca_config_map="authorities",
            fetch_ca_key="bundle.pem",
            gateway_api=True,
            envoy_policies=True,
            workloads=Workloads(
                run_as_user=4242,
                fetch_resources=Resources(requests={"cpu": "1", "memory": "1Gi"}, limits={"memory": "4Gi"}),
                proxy_resources=Resources(requests={"cpu": "500m", "memory": "64Mi"}, limits={"memory": "128Mi"}),
                image_pull_secrets=("registry",),
                tolerations=(Toleration(key="gpu", operator="Exists", effect="NoSchedule"),),
                priority_class_name="models",
                allowed_priority_classes=("batch", "system-node-critical"),
                allowed_runtime_classes=("nvidia",),
                network_policy=True,
                pod_monitor=PodMonitor(enabled=True, interval="15s", labels={"release": "monitoring"}),
            ),
        ),
        namespaces=("shop", "search"),
        workers=4,
        resync_seconds=60.0,
        lease_namespace="tritonfleet-system",
        lease_name="fleet",
        identity="tritonfleet-7c9d-x2x4z",
        log_level="DEBUG",
        tick_seconds=2.0,
        scrape_concurrency=32,
        prometheus_url="https://prometheus.example.com/fleet",
        prometheus_token_file="/etc/tritonfleet/prometheus/token",
        prometheus_headers={"X-Scope-OrgID": "platform"},
        prometheus_ca_file="/etc/tritonfleet/prometheus/ca.crt",
        prometheus_window_seconds=120.0,
        prometheus_gateway_labels={"namespace": "gateways", "job": "gateways/envoy"},
        custom_queries=True,
    )


def test_with_a_gateway_prometheus_needs_the_labels_that_only_its_series_have(helm):
    prometheus, gateway = {"url": "http://x"}, {"enabled": True}
    assert "prometheus.gatewayLabels must be set" in helm.refusal({"prometheus": prometheus, "gatewayApi": gateway})
    for values in ({"prometheus": prometheus}, {"gatewayApi": gateway}):
        assert settings.from_environment(environment(helm.render(values))).prometheus_gateway_labels == {}
    for labels, blamed in (({"job-name": "x"}, "job-name"), ({"job": ""}, "gatewayLabels"), ({"job": "a,b"}, "a,b")):
        assert blamed in helm.refusal({"prometheus": {**prometheus, "gatewayLabels": labels}})


def test_credentials_for_prometheus_are_mounted_from_a_secret_that_the_operator_does_not_read(helm):
    rendered = helm.render({"prometheus": {"url": "http://x", "secretName": "let-me-in", "tokenKey": "token"}})
    pod = rendered.one("Deployment")["spec"]["template"]["spec"]

    assert pod["volumes"] == [{"name": "prometheus", "secret": {"secretName": "let-me-in"}}]
    assert pod["containers"][0]["volumeMounts"] == [
        {"name": "prometheus", "mountPath": "/etc/tritonfleet/prometheus", "readOnly": True}
    ]


def test_a_name_and_a_password_reach_the_operator(helm):
    named = {"url": "http://x", "secretName": "let-me-in", "username": "fleet", "passwordKey": "password"}

    found = settings.from_environment(environment(helm.render({"prometheus": named})))

    assert (found.prometheus_username, found.prometheus_password_file) == (
        "fleet",
        "/etc/tritonfleet/prometheus/password",
    )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"tokenKey": "token"}, "secretName"),
        ({"passwordKey": "password", "username": "fleet"}, "secretName"),
        ({"username": "fleet"}, "passwordKey"),
        ({"secretName": "a", "passwordKey": "password"}, "passwordKey"),
        ({"secretName": "a", "username": "fleet", "passwordKey": "password", "tokenKey": "token"}, "tokenKey"),
        ({"headers": {"Authorization": "Bearer x"}}, "Authorization"),
        ({"headers": {"X-Scope-OrgID": "a\nb"}}, "X-Scope-OrgID"),
    ],
)
def test_credentials_for_prometheus_that_are_not_whole_are_refused(helm, values, says):
    assert says in helm.refusal({"prometheus": {"url": "http://x", **values}})


@pytest.mark.parametrize(
    ("value", "api_versions", "user"),
    [
        ("auto", (), 1000),
        ("auto", OPENSHIFT, None),
        ("cluster", (), None),
        (1000650000, OPENSHIFT, 1000650000),
    ],
)
def test_the_user_of_pods_is_fixed_or_left_to_a_cluster_that_chooses_users_itself(helm, value, api_versions, user):
    rendered = helm.render({"workloads": {"runAsUser": value}}, apis=api_versions)

    assert settings.from_environment(environment(rendered)).defaults.workloads.run_as_user == user


def test_the_lease_has_the_priority_of_leader_election_and_the_rest_a_level_of_its_own(helm):
    assert not helm.render({}).of_kind("FlowSchema", "PriorityLevelConfiguration")
    rendered = helm.render({"apiPriority": {"enabled": True, "concurrencyShares": 7}})
    lease, rest = sorted(rendered.of_kind("FlowSchema"), key=lambda each: each["spec"]["matchingPrecedence"])
    level = rendered.one("PriorityLevelConfiguration")
    assert lease["spec"]["priorityLevelConfiguration"]["name"] == "leader-election"
    assert rest["spec"]["priorityLevelConfiguration"]["name"] == level["metadata"]["name"]
    assert level["spec"]["limited"]["nominalConcurrencyShares"] == 7
    assert [each["resources"] for each in lease["spec"]["rules"][0]["resourceRules"]] == [["leases"]]
    account = rendered.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    for schema in (lease, rest):
        (subject,) = schema["spec"]["rules"][0]["subjects"]
        assert subject["serviceAccount"] == {"name": account, "namespace": "tritonfleet-system"}
