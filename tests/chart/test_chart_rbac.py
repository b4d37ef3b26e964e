"""The operator's rights: a table that was reviewed, the chart, and the documentation say the same."""

import re
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "rbac.md"

APPLY = {"get", "list", "watch", "create", "patch"}
READ = {"get", "list", "watch"}

IN_WATCHED_NAMESPACES = {
    ("tritonfleet.dev", "modeldeployments"): READ,
    ("tritonfleet.dev", "modeldeployments/status"): {"patch"},
    ("apps", "controllerrevisions"): APPLY | {"delete"},
    ("apps", "deployments"): APPLY | {"delete"},
    ("", "configmaps"): APPLY | {"delete"},
    ("", "services"): APPLY | {"delete"},
    ("policy", "poddisruptionbudgets"): APPLY,
    ("", "pods"): READ,
    ("autoscaling", "horizontalpodautoscalers"): READ,
    ("", "events"): {"create"},
}
OPTIONAL = {
    "networkPolicy": {("networking.k8s.io", "networkpolicies"): APPLY},
    "podMonitor": {("monitoring.coreos.com", "podmonitors"): APPLY},
}
POLICIES = {("gateway.envoyproxy.io", "backendtrafficpolicies"): APPLY | {"delete"}}
ENVOY_GATEWAY = ("gateway.envoyproxy.io/v1alpha1/BackendTrafficPolicy",)
ROUTES = {
    ("gateway.networking.k8s.io", "httproutes"): APPLY | {"delete"},
    ("gateway.networking.k8s.io", "gateways"): {"list"},
}
GATEWAY_API = ("gateway.networking.k8s.io/v1/HTTPRoute",)
ON_THE_CLUSTER = {("", "nodes"): {"list"}}
CONTROL_OF_THE_CLUSTER = {"admissionregistration.k8s.io", "apiextensions.k8s.io", "rbac.authorization.k8s.io"}
IN_ITS_OWN_NAMESPACE = {("coordination.k8s.io", "leases"): {"get", "update"}}


def table(role):
    """Return (group, resource) -> verbs of one role."""
    rights: dict = {}
    for rule in role["rules"]:
        assert set(rule) <= {"apiGroups", "resources", "verbs", "resourceNames"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights.setdefault((group, resource), set()).update(rule["verbs"])
    return rights


def test_by_default_the_operator_has_the_reviewed_rights_and_no_others(by_default):
    assert table(by_default.one("ClusterRole", "tritonfleet")) == IN_WATCHED_NAMESPACES | ON_THE_CLUSTER
    assert table(by_default.one("Role")) == IN_ITS_OWN_NAMESPACE


WORKLOADS = {"networkPolicy": {"networkPolicy": True}, "podMonitor": {"podMonitor": {"enabled": True}}}


@pytest.mark.parametrize("workload", sorted(OPTIONAL))
def test_a_right_on_an_optional_kind_comes_with_the_option(helm, workload):
    rendered = helm.render({"workloads": WORKLOADS[workload]})

    rights = table(rendered.one("ClusterRole", "tritonfleet"))

    assert rights == IN_WATCHED_NAMESPACES | ON_THE_CLUSTER | OPTIONAL[workload]


@pytest.mark.parametrize(
    ("values", "apis", "given"),
    [
        ({}, (), False),
        ({}, GATEWAY_API, True),
        ({"gatewayApi": {"enabled": True}}, (), True),
        ({"gatewayApi": {"enabled": False}}, GATEWAY_API, False),
    ],
)
def test_routes_are_the_operators_where_the_cluster_has_them_unless_the_values_say_otherwise(helm, values, apis, given):
    rendered = helm.render(values, apis=apis)

    rights = table(rendered.one("ClusterRole", "tritonfleet"))
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    told = {each["name"]: each.get("value") for each in container["env"]}

    assert rights == IN_WATCHED_NAMESPACES | ON_THE_CLUSTER | (ROUTES if given else {})
    assert told["TRITONFLEET_GATEWAY_API"] == str(given).lower()


@pytest.mark.parametrize(
    ("values", "apis", "given"),
    [
        ({}, (), False),
        ({}, ENVOY_GATEWAY, True),
        ({"gatewayApi": {"envoyPolicies": True}}, (), True),
        ({"gatewayApi": {"envoyPolicies": False}}, ENVOY_GATEWAY, False),
    ],
)
def test_policies_of_envoy_gateway_are_the_operators_where_the_cluster_has_them(helm, values, apis, given):
    rendered = helm.render(values, apis=apis)

    rights = table(rendered.one("ClusterRole", "tritonfleet"))
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    told = {each["name"]: each.get("value") for each in container["env"]}

    assert rights == IN_WATCHED_NAMESPACES | ON_THE_CLUSTER | (POLICIES if given else {})
    assert told["TRITONFLEET_ENVOY_POLICIES"] == str(given).lower()


def test_a_word_that_is_no_answer_is_refused_for_the_gateway_api(helm):
    assert "gatewayApi" in helm.refusal({"gatewayApi": {"enabled": "perhaps"}})


def test_an_operator_of_some_namespaces_has_its_rights_in_them_and_none_on_the_cluster(namespaced):
    roles = {role["metadata"]["namespace"]: table(role) for role in namespaced.of_kind("Role")}

    assert roles == {
        "shop": IN_WATCHED_NAMESPACES,
        "search": IN_WATCHED_NAMESPACES,
        "tritonfleet-system": IN_ITS_OWN_NAMESPACE,
    }
    assert namespaced.of_kind("ClusterRole", "ClusterRoleBinding") == []


def test_every_role_is_bound_to_the_operator_alone_where_it_is(with_everything, namespaced):
    for rendered in (with_everything, namespaced):
        account = rendered.one("ServiceAccount")["metadata"]
        subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        bindings = rendered.of_kind("ClusterRoleBinding", "RoleBinding")
        assert bindings
        for binding in bindings:
            kind = binding["kind"].removesuffix("Binding")
            (role,) = (
                each
                for each in rendered.of_kind(kind)
                if each["metadata"]["name"] == binding["roleRef"]["name"]
                and each["metadata"].get("namespace") == binding["metadata"].get("namespace")
            )
            assert binding["roleRef"]["kind"] == role["kind"]
            assert binding["subjects"] == [subject]
        bound = {(each["kind"], each["roleRef"]["name"]) for each in bindings}
        assert all(not name.endswith(("-view", "-edit")) for _, name in bound)


def test_the_only_lease_the_operator_can_touch_is_the_charts_own(with_everything, namespaced):
    for rendered in (with_everything, namespaced):
        lease = rendered.one("Lease")["metadata"]
        (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
        told = {each["name"]: each.get("value") for each in container["env"]}
        rules = [rule for role in rendered.of_kind("Role", "ClusterRole") for rule in role["rules"]]
        (rule,) = (rule for rule in rules if "leases" in rule["resources"])
        assert rule["resourceNames"] == [lease["name"]] == [told["TRITONFLEET_LEASE_NAME"]]
        assert lease["namespace"] == told["TRITONFLEET_LEASE_NAMESPACE"]


def test_no_role_grants_secrets_wildcards_or_escalation(with_everything, namespaced):
    for rendered in (with_everything, namespaced):
        for role in rendered.of_kind("ClusterRole", "Role"):
            for (group, resource), verbs in table(role).items():
                assert "*" not in {group, resource, *verbs}
                assert resource.partition("/")[0] not in {"secrets", "serviceaccounts"}
                assert resource not in {"pods/exec", "pods/log", "pods/attach", "pods/portforward", "nodes/proxy"}
                assert group not in CONTROL_OF_THE_CLUSTER
                assert verbs.isdisjoint({"escalate", "bind", "impersonate", "approve", "sign"})


def test_people_who_may_view_or_edit_a_namespace_may_do_so_with_its_model_deployments(by_default):
    view, edit = (by_default.one("ClusterRole", f"tritonfleet-{role}") for role in ("view", "edit"))

    def covers(role):
        prefix = "rbac.authorization.k8s.io/aggregate-to-"
        return {name.removeprefix(prefix) for name in role["metadata"]["labels"] if name.startswith(prefix)}

    assert covers(view) == {"view", "edit", "admin"}
    assert covers(edit) == {"edit", "admin"}
    assert all(verbs == READ for verbs in table(view).values())
    assert ("tritonfleet.dev", "modeldeployments/status") not in table(edit)
    assert {group for group, _ in (*table(view), *table(edit))} == {"tritonfleet.dev"}


def test_without_rbac_no_role_is_made(helm):
    rendered = helm.render({"rbac": {"create": False}})

    assert rendered.of_kind("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding") == []


def documented(heading):
    """Return (group, resource) -> verbs of the table below a heading of the reference."""
    section = REFERENCE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rights = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 4 or cells[0] in ("API group", "---"):
            continue
        group, resources, verbs, why = cells
        assert len(why) > 10, f"no reason is given for {resources}"
        for resource in re.findall(r"`([^`]+)`", resources):
            rights["" if group == "core" else group.strip("`"), resource] = set(re.findall(r"\w+", verbs))
    return rights


def test_the_reference_lists_the_same_rights():
    optional = {right: verbs for rights in OPTIONAL.values() for right, verbs in rights.items()}

    assert documented("In every namespace it watches") == IN_WATCHED_NAMESPACES | optional | ROUTES | POLICIES
    assert documented("Cluster-wide") == ON_THE_CLUSTER
    assert documented("In its own namespace") == IN_ITS_OWN_NAMESPACE


def test_every_rule_of_the_chart_says_why_beside_it(with_everything):
    lines = with_everything.text.split("kind: ClusterRole\nmetadata:\n  name: tritonfleet\n", 1)[1].splitlines()
    rules = [number for number, line in enumerate(lines) if line.strip().startswith("- apiGroups:")]

    assert len(rules) >= len(with_everything.one("ClusterRole", "tritonfleet")["rules"])
    assert [lines[number] for number in rules if not lines[number - 1].strip().startswith("#")] == []
