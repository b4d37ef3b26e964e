"""Further models in the same server: their containers, their configurations, and what is refused before a pod runs."""

from typing import Any

import pytest

from tests.unit.plan.rendered import built, environment, parsed, pod, triton
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects import readable_spec
from tritonfleet.plan.sequences import refuse_split_sequences

Body = dict[str, Any]
STEP: Body = {"model_version": -1, "input_map": {"IN": "X"}, "output_map": {"OUT": "Y"}}


def tensor(name: str, kind: str = "TYPE_FP32") -> Body:
    return {"name": name, "data_type": kind, "dims": [4]}


def ensemble(*steps: Body) -> Body:
    return {
        "model": {"uri": "s3://models/pipeline", "backend": "ensemble", "name": "pipeline"},
        "modelConfig": {
            "max_batch_size": 8,
            "input": [tensor("X")],
            "output": [tensor("Y")],
            "ensemble_scheduling": {"step": list(steps)},
        },
    }


def pre(**config: Any) -> Body:
    given = {"max_batch_size": 8, "input": [tensor("IN")], "output": [tensor("OUT")], **config}
    return {"name": "pre", "uri": "s3://models/pre", "backend": "python", "modelConfig": given}


def test_each_model_has_a_container_that_fetches_it_with_its_own_credentials_the_called_one_last() -> None:
    companions = [
        {"name": "pre", "uri": "s3://a/pre", "credentialsSecretName": "a"},
        {"name": "Post_2", "uri": "pvc://b/post", "digest": f"sha256:{'1' * 64}", "backend": "python"},
    ]
    found = pod(model={"credentialsSecretName": "own"}, companions=companions)["initContainers"]

    assert [each["name"] for each in found] == ["fetch-1", "fetch-2", "fetch"]
    assert [each.get("envFrom") for each in found] == [
        [{"secretRef": {"name": "a"}}],
        None,
        [{"secretRef": {"name": "own"}}],
    ]
    first, second, called = map(environment, found)
    assert {key: first[f"TRITONFLEET_FETCH_{key}"] for key in ("URI", "MODEL", "CONFIG", "COMPANION")} == {
        "URI": "s3://a/pre",
        "MODEL": "pre",
        "CONFIG": "/config/companion.pre.pbtxt",
        "COMPANION": "0",
    }
    assert second["TRITONFLEET_FETCH_SOURCE"] == "/source"
    assert second["TRITONFLEET_FETCH_BACKEND"] == "python"
    assert called["TRITONFLEET_FETCH_COMPANIONS"] == "pre,Post_2"
    assert "TRITONFLEET_FETCH_FOLDER" not in called


def test_companions_without_a_uri_are_folders_beside_the_model_with_its_credentials() -> None:
    found = pod(model={"credentialsSecretName": "own"}, companions=[{"name": "pre"}])["initContainers"]

    for container, name in zip(found, ("pre", "demo"), strict=True):
        assert environment(container)["TRITONFLEET_FETCH_URI"] == "s3://models/demo"
        assert environment(container)["TRITONFLEET_FETCH_FOLDER"] == name
        assert container["envFrom"] == [{"secretRef": {"name": "own"}}]


def test_each_claim_is_a_volume_that_its_own_container_and_the_server_mount() -> None:
    spec = pod(
        model={"uri": "pvc://one/m"},
        companions=[{"name": "a", "uri": "pvc://two/a"}, {"name": "b", "uri": "pvc://one/b"}],
    )
    claims = {
        each["name"]: each["persistentVolumeClaim"]["claimName"] for each in spec["volumes"] if "source" in each["name"]
    }
    reading = {
        container["name"]: [each["name"] for each in container["volumeMounts"] if "source" in each["name"]]
        for container in (*spec["initContainers"], *spec["containers"])
    }

    assert claims == {"source": "one", "source-1": "two"}
    assert reading == {
        "fetch-1": ["source-1"],
        "fetch-2": ["source"],
        "fetch": ["source"],
        "triton": ["source", "source-1"],
        "http": [],
    }


def test_triton_loads_all_models_and_the_pod_is_ready_when_all_are() -> None:
    companions = [{"name": "pre"}, {"name": "post"}]
    args = triton(companions=companions)["args"]
    assert [each for each in args if each.startswith("--load-model=")] == [
        "--load-model=demo",
        "--load-model=pre",
        "--load-model=post",
    ]
    proxy = pod(companions=companions)["containers"][1]
    assert proxy["readinessProbe"]["httpGet"] == {"path": "/tritonfleet/ready", "port": "http"}
    config = built(companions=companions).config["haproxy.cfg"]
    for name in ("demo", "pre", "post"):
        assert f"option httpchk GET /v2/models/{name}/ready" in config
    assert config.count("acl is_missing nbsrv(model-") == 3


def test_a_server_with_one_model_is_probed_as_before() -> None:
    assert pod()["containers"][1]["readinessProbe"]["httpGet"]["path"] == "/v2/models/demo/ready"
    assert "monitor" not in built().config["haproxy.cfg"]


def test_the_configuration_of_a_companion_is_a_file_of_its_own() -> None:
    given: dict[str, object] = {"name": "pre", "batching": {"maxBatchSize": 4, "dynamic": {"maxQueueDelay": "2ms"}}}
    given |= {"instances": [{"kind": "CPU", "count": 3}], "modelConfig": {"parameters": {"a": {"string_value": "1"}}}}
    assert built(companions=[given]).config["companion.pre.pbtxt"] == (
        'name: "pre"\nmax_batch_size: 4\ninstance_group {\n  count: 3\n  kind: KIND_CPU\n}\ndynamic_batching {\n'
        '  max_queue_delay_microseconds: 2000\n}\nparameters {\n  key: "a"\n  value {\n    string_value: "1"\n  }\n}\n'
    )


def test_a_change_of_a_companion_is_a_new_revision_and_other_words_for_the_same_are_not() -> None:
    def revision(delay: str, uri: str = "s3://models/pre/1") -> Any:
        return built(companions=[{"name": "pre", "uri": uri, "batching": {"dynamic": {"maxQueueDelay": delay}}}])

    assert revision("2ms").hash == revision("2000us").hash
    assert revision("2ms").hash != revision("3ms").hash
    assert revision("2ms").hash != revision("2ms", "s3://models/pre/2").hash
    (shown,) = readable_spec(revision("2ms").data["spec"])["companions"]
    assert shown["batching"]["dynamic"]["maxQueueDelay"] == "2ms"
    assert built().hash == built(companions=[]).hash


def test_a_rate_limit_of_a_companion_makes_the_server_limit() -> None:
    limited = {"instance_group": [{"rate_limiter": {"priority": 2}}]}
    assert "--rate-limit=execution_count" in triton(companions=[{"name": "pre", "modelConfig": limited}])["args"]


@pytest.mark.parametrize(
    ("companions", "steps", "told"),
    [
        ([pre()], [{**STEP, "model_name": "lost"}], "step[0].model_name is 'lost': must be a model of the same server"),
        ([], [{**STEP, "model_name": "pre"}], "step[0].model_name is 'pre': must be a model of the same server"),
        (
            [pre(input=[tensor("IN", "TYPE_INT8")])],
            [{**STEP, "model_name": "pre"}],
            "with tensor 'X' of TYPE_FP32 in 'pipeline': must be TYPE_INT8, as in 'pre'",
        ),
        (
            [pre(input=[tensor("IN"), tensor("MORE")])],
            [{**STEP, "model_name": "pre"}],
            "step[0].input_map is without MORE: must give every input of 'pre'",
        ),
        ([pre(max_batch_size=4)], [{**STEP, "model_name": "pre"}], "must be at most that of 'pre', 4"),
    ],
)
def test_an_ensemble_is_checked_against_what_the_spec_says_of_its_members(
    companions: list[Body], steps: list[Body], told: str
) -> None:
    given = ensemble(*steps)
    with pytest.raises(InvalidSpec, match=r"^spec") as refusal:
        built(model=given["model"], modelConfig=given["modelConfig"], companions=companions)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    "companion",
    [
        pre(),
        {"name": "pre", "uri": "s3://models/pre"},
        # Whether its tensors have a batch dimension only its artifact says.
        {"name": "pre", "modelConfig": {"input": [{**tensor("IN"), "dims": [8, 4]}], "output": [tensor("OUT")]}},
    ],
)
def test_what_the_artifact_of_a_member_may_bring_is_left_to_the_fetch_step(companion: Body) -> None:
    given = ensemble({**STEP, "model_name": "pre"})
    assert built(model=given["model"], modelConfig=given["modelConfig"], companions=[companion]).hash


@pytest.mark.parametrize(
    ("companion", "told"),
    [
        (
            {"name": "pre", "instances": [{"kind": "GPU", "gpus": [1]}]},
            "spec.companions[0].instances[0].gpus is 1: must be below spec.server.gpu.count (1)",
        ),
        (
            {
                "name": "pre",
                "batching": {"maxBatchSize": 2},
                "modelConfig": {"dynamic_batching": {"preferred_batch_size": [4]}},
            },
            "modelConfig.dynamic_batching is 4: must be from 1 to spec.companions[0].batching.maxBatchSize (2)",
        ),
        ({"name": "pre", "modelConfig": {"nonsense": 1}}, "spec.companions[0].modelConfig is not a Triton model"),
        (
            {"name": "pre", "batching": {"dynamic": {}}, "modelConfig": {"sequence_batching": {}}},
            "spec.companions[0].batching.dynamic and spec.companions[0].modelConfig.sequence_batching are both set",
        ),
        ({"name": "pre", "modelConfig": {"name": "other"}}, "spec.companions[0].modelConfig.name is 'other'"),
    ],
)
def test_what_triton_would_not_load_of_a_companion_is_told_by_its_own_fields(companion: Body, told: str) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        built(companions=[companion])
    assert told in str(refusal.value)


def test_a_companion_that_keeps_state_is_not_spread_over_pods() -> None:
    deployment = parsed(companions=[{"name": "pre", "modelConfig": {"sequence_batching": {}}}], replicas=2)
    revision = built(companions=[{"name": "pre", "modelConfig": {"sequence_batching": {}}}], replicas=2)
    with pytest.raises(InvalidSpec, match="keeps state between requests"):
        refuse_split_sequences(deployment, revision, None, {})
