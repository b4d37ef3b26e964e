import pytest

from tritonfleet.api.names import OWNED_FLAGS
from tritonfleet.api.server import ResponseCache
from tritonfleet.errors import InvalidSpec
from tritonfleet.triton.flags import has_cache, refuse_owned_flags, server_args


def args(**changes: object) -> list[str]:
    given: dict = {
        "repository": "/models",
        "model_name": "demo",
        "http_port": 8010,
        "owner_uid": "6d2e0a4c-0000-4000-8000-000000000001",
        "gpus": 1,
        "drain_seconds": 30.0,
        "connection_age_seconds": 30.0,
        "rate_limited": False,
    }
    return server_args(**{**given, **changes})


def test_one_model_is_loaded_and_a_failure_ends_the_server() -> None:
    assert args()[:5] == [
        "--model-repository=/models",
        "--model-control-mode=explicit",
        "--load-model=demo",
        "--model-config-name=tritonfleet",
        "--exit-on-error=true",
    ]


def test_durations_are_in_the_units_of_each_flag() -> None:
    given = args(drain_seconds=1.5, connection_age_seconds=0.25)
    assert "--exit-timeout-secs=2" in given
    assert "--grpc-max-connection-age=250" in given


def test_info_lines_are_off_so_that_the_reason_ends_the_log() -> None:
    assert "--log-info=false" in args()


def test_a_user_argument_comes_last_so_that_it_wins() -> None:
    assert args(user_args=["--log-info=true"])[-1] == "--log-info=true"


def test_gpu_metrics_are_off_without_a_gpu() -> None:
    assert "--allow-gpu-metrics=false" in args(gpus=0)
    assert "--allow-gpu-metrics=false" not in args(gpus=1)


def test_the_rate_limiter_runs_when_an_instance_asks_for_it() -> None:
    assert "--rate-limit=execution_count" in args(rate_limited=True)
    assert not [argument for argument in args() if argument.startswith("--rate-limit")]


def test_the_key_of_closed_apis_is_stable_for_one_object_and_differs_between_objects() -> None:
    def restriction(uid: str) -> list[str]:
        return [argument for argument in args(owner_uid=uid) if "restricted" in argument]

    assert restriction("a") == restriction("a")
    assert not set(restriction("a")) & set(restriction("b"))
    http, grpc = restriction("a")
    assert http.startswith("--http-restricted-api=model-repository,shared-memory,trace,logging:tritonfleet-operator=")
    assert grpc.startswith(
        "--grpc-restricted-protocol=model-repository,shared-memory,trace,logging:tritonfleet-operator="
    )


@pytest.mark.parametrize("flag", OWNED_FLAGS)
def test_an_owned_flag_is_refused(flag: str) -> None:
    with pytest.raises(InvalidSpec, match="which the operator sets itself: remove it"):
        refuse_owned_flags([f"{flag}=x"])


@pytest.mark.parametrize("argument", ["--model-rep=/elsewhere", "--exit-on", "--http-p=9000"])
def test_a_short_form_of_an_owned_flag_is_refused(argument: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.server\.args"):
        refuse_owned_flags([argument])


@pytest.mark.parametrize(
    "argument",
    ["--log-verbose=1", "--cache-config=local,size=1048576", "--disable-auto-complete-config", "--http-thread-count=4"],
)
def test_other_flags_are_accepted(argument: str) -> None:
    assert args(user_args=[argument])[-1] == argument


def test_a_cache_is_there_when_the_arguments_configure_one() -> None:
    assert has_cache(["--cache-config=local,size=1048576"])
    assert not has_cache(["--log-verbose=1"])


def test_a_local_cache_gets_its_size_in_bytes() -> None:
    assert "--cache-config=local,size=67108864" in args(cache=ResponseCache.model_validate({"local": {"size": "64Mi"}}))


def test_redis_gets_host_and_port_and_no_password() -> None:
    cache = ResponseCache.model_validate({"redis": {"host": "redis.shop", "tls": True, "credentialsSecretName": "s"}})

    assert [flag for flag in args(cache=cache) if flag.startswith("--cache-config")] == [
        "--cache-config=redis,host=redis.shop",
        "--cache-config=redis,port=6379",
        "--cache-config=redis,tls_enabled=true",
    ]


def test_a_rate_limit_of_the_user_is_not_repeated() -> None:
    given = args(rate_limited=True, user_args=["--rate-limit=execution_count"])

    assert [flag for flag in given if flag.startswith("--rate-limit=")] == ["--rate-limit=execution_count"]
