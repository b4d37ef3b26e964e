"""What each way of installing the operator brings into the cluster."""

import pytest

CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}


def pod_spec(rendered, kind="Deployment"):
    manifest = rendered.one(kind)
    return manifest["spec"]["template"]["spec"] if kind == "Deployment" else manifest["spec"]


def test_by_default_there_is_one_operator_for_all_namespaces(by_default):
    assert by_default.kinds == {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Deployment",
        "Lease",
        "Pod",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    }
    assert by_default.one("Deployment")["spec"]["replicas"] == 1


def test_several_replicas_are_spread_over_nodes_and_leave_them_one_by_one(helm):
    rendered = helm.render({"replicaCount": 2})

    deployment = rendered.one("Deployment")
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert deployment["spec"]["replicas"] == 2
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"]["matchLabels"] == selector
    assert rendered.one("PodDisruptionBudget")["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": selector}}


def test_one_replica_is_not_protected_from_a_drain(by_default):
    assert by_default.of_kind("PodDisruptionBudget") == []


def test_an_operator_of_some_namespaces_can_be_installed_without_any_object_of_the_cluster(namespaced):
    assert namespaced.kinds.isdisjoint(CLUSTER_SCOPED)


def test_nothing_is_made_outside_of_the_releases_and_the_watched_namespaces(namespaced, by_default):
    for rendered, namespaces in ((by_default, set()), (namespaced, {"shop", "search"})):
        scoped = [each for each in rendered if each["kind"] not in CLUSTER_SCOPED]
        assert {each["metadata"]["namespace"] for each in scoped} == {"tritonfleet-system", *namespaces}


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_every_pod_meets_the_restricted_pod_security_standard(with_everything, kind):
    spec = pod_spec(with_everything, kind)

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(spec)
    assert all(volume.keys() == {"name", "secret"} for volume in spec.get("volumes", ()))
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_the_image_is_named_by_registry_repository_tag_and_digest(helm, kind):
    digest = "sha256:" + "a" * 64
    image = {"registry": "registry.example.com:5000", "repository": "ml/operator", "tag": "1.2", "digest": digest}

    (container,) = pod_spec(helm.render({"image": image}), kind)["containers"]

    assert container["image"] == f"registry.example.com:5000/ml/operator:1.2@{digest}"


def test_selectors_do_not_change_with_the_version_or_with_labels_of_the_user(by_default, with_everything):
    selectors = [each.one("Deployment")["spec"]["selector"] for each in (by_default, with_everything)]

    assert selectors[0] == selectors[1]
    assert set(selectors[0]["matchLabels"]) == {
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/component",
    }


def test_every_selector_finds_the_operators_pods(with_everything):
    labels = with_everything.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        with_everything.one("Deployment")["spec"]["selector"]["matchLabels"],
        with_everything.one("Service")["spec"]["selector"],
        with_everything.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        with_everything.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        with_everything.one("PodMonitor")["spec"]["selector"]["matchLabels"],
    ]

    assert all(selector.items() <= labels.items() for selector in selectors)


def test_the_installation_test_is_not_taken_for_an_operator(by_default):
    selector = by_default.one("Service")["spec"]["selector"]

    assert not selector.items() <= by_default.one("Pod")["metadata"]["labels"].items()


def test_common_labels_are_on_every_object_and_cannot_replace_the_charts_own(helm):
    rendered = helm.render({"commonLabels": {"cost-center": "ml", "app.kubernetes.io/name": "mine"}})

    labels = [each["metadata"]["labels"] for each in rendered]
    assert {each["cost-center"] for each in labels} == {"ml"}
    assert {each["app.kubernetes.io/name"] for each in labels} == {"tritonfleet"}


def test_where_pods_run_is_the_administrators_choice(with_everything):
    spec = pod_spec(with_everything)

    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert spec["tolerations"] == [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["affinity"] == {"podAntiAffinity": {}}
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]


def test_a_service_account_of_ones_own_is_used_and_not_made(helm):
    rendered = helm.render({"serviceAccount": {"create": False, "name": "mine"}})

    subjects = {
        (subject["name"], subject["namespace"])
        for binding in rendered.of_kind("ClusterRoleBinding", "RoleBinding")
        for subject in binding["subjects"]
    }
    assert rendered.of_kind("ServiceAccount") == []
    assert pod_spec(rendered)["serviceAccountName"] == "mine"
    assert subjects == {("mine", "tritonfleet-system")}


def test_the_probes_use_the_port_of_the_operator(by_default):
    (container,) = pod_spec(by_default)["containers"]
    environment = {each["name"]: each.get("value") for each in container["env"]}

    assert container["ports"] == [{"name": "http", "containerPort": int(environment["TRITONFLEET_HTTP_PORT"])}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_no_service_of_the_namespace_can_become_a_setting_of_the_operator(by_default):
    assert pod_spec(by_default)["enableServiceLinks"] is False


def test_the_network_policy_lets_the_named_peers_reach_the_operators_port_alone(with_everything):
    policy = with_everything.one("NetworkPolicy")["spec"]

    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": "http"}], "from": [{"namespaceSelector": {}}]}]


def test_extra_objects_are_installed_with_their_expressions_filled_in(with_everything):
    assert with_everything.one("ConfigMap", "tritonfleet-extra")["data"] == {"a": "b"}


def test_the_only_hook_is_the_installation_test(with_everything):
    hooked = [each for each in with_everything if "helm.sh/hook" in each["metadata"].get("annotations", {})]

    assert [(each["kind"], each["metadata"]["annotations"]["helm.sh/hook"]) for each in hooked] == [("Pod", "test")]


def test_the_installation_test_finds_the_operator_by_the_address_of_its_service(by_default):
    (container,) = pod_spec(by_default, "Pod")["containers"]
    (url,) = container["env"]
    service = by_default.one("Service")

    variable = service["metadata"]["name"].upper().replace("-", "_") + "_SERVICE_HOST"
    assert url == {"name": "OPERATOR_URL", "value": f"http://$({variable}):{service['spec']['ports'][0]['port']}"}
    compile(container["args"][0], "check_installation.py", "exec")
