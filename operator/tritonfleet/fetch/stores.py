"""Opening obstore's stores: which settings of the environment count, and which must not."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import Location
from tritonfleet.fetch.remote import Remote
from tritonfleet.fetch.tunnel import Tunnel

SILENCE: Final = timedelta(seconds=30)
"""A read that brings no byte for this long is broken off and resumed."""
_WHOLE_REQUEST: Final = timedelta(hours=24)
_CONNECT: Final = timedelta(seconds=15)
# One policy of retries for everything, in patience.py, which says in the log what it does.
_NO_RETRIES: Final[Any] = {"max_retries": 0, "retry_timeout": timedelta(0)}
DEFAULT_REGION: Final = "us-east-1"


def opened(location: Location, environment: Mapping[str, str], tunnel: Tunnel, *, allow_private: bool) -> Remote:
    """Return the store of an s3:// or https:// location; nothing is contacted yet.

    Raises FetchFailed when the credentials or the endpoint in the environment cannot be used.
    """
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or ""
    plain_http = location.scheme == "s3" and _is_plain_http(endpoint, allow_private)
    client: Any = {
        "proxy_url": tunnel.url,
        "allow_http": plain_http,
        "connect_timeout": _CONNECT,
        "read_timeout": SILENCE,
        "timeout": _WHOLE_REQUEST,
        "user_agent": "tritonfleet-fetch",
    }
    if authority := environment.get("CA_CERTIFICATE"):
        client["root_certificate"] = authority
    if location.scheme == "https":
        return Remote(location, _https(location, environment, client), tunnel)
    return Remote(location, _s3(location, environment, endpoint, client), tunnel)


def _https(location: Location, environment: Mapping[str, str], client: Any) -> Any:
    from obstore.store import HTTPStore  # noqa: PLC0415

    if authorization := environment.get("HTTPS_AUTHORIZATION"):
        client["default_headers"] = {"Authorization": authorization}
    return _built(lambda: HTTPStore(location.uri, client_options=client, retry_config=_NO_RETRIES))


def _s3(location: Location, environment: Mapping[str, str], endpoint: str, client: Any) -> Any:
    from obstore.store import S3Store  # noqa: PLC0415

    # obstore reads every AWS_* variable by itself. Those of the Secret that were not asked for (a proxy, a
    # metadata endpoint, plain http) must not reach it.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    config: Any = {"region": _region(environment)}
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    if environment.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() == "true":
        config["virtual_hosted_style_request"] = True
    keys = {name: environment.get(f"AWS_{name.upper()}", "") for name in ("access_key_id", "secret_access_key")}
    missing = [f"AWS_{name.upper()}" for name, value in keys.items() if not value]
    if len(missing) == 1:
        raise FetchFailed(
            f"{location.uri}: the Secret has no {missing[0]}; add it, or drop both keys for a public bucket"
        )
    config |= {"skip_signature": True} if missing else keys
    if not missing and (token := environment.get("AWS_SESSION_TOKEN")):
        config["session_token"] = token
    return _built(lambda: S3Store(location.authority, config=config, client_options=client, retry_config=_NO_RETRIES))


def _region(environment: Mapping[str, str]) -> str:
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or DEFAULT_REGION


def _is_plain_http(endpoint: str, allow_private: bool) -> bool:
    """Check AWS_ENDPOINT_URL; plain http is for stores inside the cluster, where those are allowed."""
    if not endpoint:
        return False
    try:
        split = urlsplit(endpoint)
        usable = split.scheme in {"http", "https"} and split.hostname and split.port != 0 and not split.query
    except ValueError:
        usable = False
    if not usable:
        raise FetchFailed("AWS_ENDPOINT_URL in the Secret is not an address such as https://minio.example.com:9000")
    if split.username or split.password:
        raise FetchFailed("AWS_ENDPOINT_URL in the Secret carries a user name or password; use AWS_ACCESS_KEY_ID")
    if split.scheme == "http" and not allow_private:
        raise FetchFailed(
            f"AWS_ENDPOINT_URL names {split.hostname} over plain http, which is only for private addresses that "
            "the administrator has allowed; use https"
        )
    return split.scheme == "http"


def _built(build: Callable[[], Any]) -> Any:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        return build()
    except (BaseError, ValueError) as error:
        # The text may quote a setting that came from the Secret.
        raise FetchFailed("the endpoint, region or CA_CERTIFICATE in the Secret cannot be used; check each") from error
