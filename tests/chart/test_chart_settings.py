"""The chart and the operator mean the same settings."""

import re
from dataclasses import replace

from tritonfleet import settings
from tritonfleet.plan.world import Defaults

OWN = re.compile(r"TRITONFLEET_\w+")


def environment(rendered):
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    fields = {"metadata.name": "tritonfleet-7c9d-x2x4z"}
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
            },
            "workloads": {
                "networkPolicy": True,
                "podMonitor": True,
                "allowedPriorityClasses": ["batch", "system-node-critical"],
                "allowedRuntimeClasses": ["nvidia"],
            },
            "gatewayApi": {"enabled": True},
            "autoscaling": {"tickSeconds": 2, "scrapeConcurrency": 32},
            "prometheus": {
                "url": "https://prometheus.example.com/fleet",
                "windowSeconds": 120,
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
            network_policy=True,
            pod_monitor=True,
            gateway_api=True,
            allowed_priority_classes=("batch", "system-node-critical"),
            allowed_runtime_classes=("nvidia",),
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


def test_a_key_without_a_secret_is_refused(helm):
    assert "secretName" in helm.refusal({"prometheus": {"url": "http://x", "tokenKey": "token"}})


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
