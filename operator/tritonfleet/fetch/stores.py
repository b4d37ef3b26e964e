"""Open the store of a model: where it is, and with which credentials it is read.

`open_remote()` looks the scheme up in `_STORES`, or in `_APIS` for what obstore does not read. Each entry takes the
Secret's keys, or the identity that the pod's ServiceAccount has in a cloud, or asks anonymously, and says what to do
when the store refuses that. What else the environment holds never reaches obstore, which would read proxies, endpoints
and metadata addresses from it.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tritonfleet.errors import TritonfleetError
from tritonfleet.fetch import identity
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import Location, parse
from tritonfleet.fetch.remote import Remote
from tritonfleet.fetch.transfer import Source
from tritonfleet.fetch.tunnel import Tunnel

if TYPE_CHECKING:
    from tritonfleet.fetch.direct import Keys
    from tritonfleet.fetch.web import Web

SILENCE: Final = timedelta(seconds=30)
"""A read that brings no byte for this long is broken off and resumed."""
_WHOLE_REQUEST: Final = timedelta(hours=24)
_CONNECT: Final = timedelta(seconds=15)
# One policy of retries for everything, `transfer.Backoff`, which says in the log what it does.
_NO_RETRIES: Final[Any] = {"max_retries": 0, "retry_timeout": timedelta(0)}
_READ_BY_OBSTORE: Final = ("AWS_", "GOOGLE_", "AZURE_")
_KEYS: Final = "check the keys in the Secret named by credentialsSecretName, and that they may read and list it"


@dataclass(frozen=True, slots=True)
class _Opening:
    """What a store is opened with."""

    location: Location
    environment: Mapping[str, str]
    endpoint: str
    """The Secret's, without a slash at its end; empty for the cloud's own."""
    client: Any
    report: Callable[[str], None]
    failures: list[TritonfleetError] = field(default_factory=list)
    """Why the identity could not be had."""

    def remembering(self, provider: Callable[[], Any]) -> Callable[[], Any]:
        """Return the provider of credentials for obstore, which passes on none of what it raises."""

        def credentials() -> Any:
            try:
                return provider()
            except TritonfleetError as error:
                self.failures.append(error)
                raise

        return credentials

    def read(self, *names: str) -> str:
        """Return the first of the variables that is set."""
        return next((value for name in names if (value := self.environment.get(name, "").strip())), "")

    def pair(self, first: str, second: str) -> bool:
        """Return whether both variables are set; raises FetchFailed when one is missing."""
        missing = [name for name in (first, second) if not self.read(name)]
        if len(missing) == 1:
            raise FetchFailed(
                f"{self.location.uri}: the Secret has no {missing[0]}; add it, or drop both keys for anonymous access"
            )
        return not missing


@dataclass(frozen=True, slots=True)
class _Opened:
    store: Any
    """obstore's."""
    remedy: str
    """What to do when it denies access; empty for one that is read anonymously."""
    base: str = ""
    """URL below which the objects are, or the file's, where they are read without obstore."""
    login: "Keys | str" = ""
    """What those reads log in with, as `direct.Direct` takes it."""


@dataclass(frozen=True, slots=True)
class _Store:
    endpoints: tuple[str, ...]
    """Variables of the Secret that name another server, the first that is set counts."""
    keys: str
    """What the Secret must hold, for the message to someone whose anonymous request was denied."""
    open: Callable[[_Opening], _Opened]


@dataclass(frozen=True, slots=True)
class _Call:
    """What a source with an API of its own is opened with."""

    location: Location
    environment: Mapping[str, str]
    endpoint: str
    """The Secret's, without a slash at its end; empty for the usual one."""
    tunnel: Tunnel
    authorities: str
    allow_private: bool
    nested: Callable[[str], Source]
    """Opens another URI with the same environment; raises FetchFailed for one that the administrator forbids."""

    def web(self, *, plain: bool) -> "Web":
        """Return what the requests are made with."""
        from tritonfleet.fetch.web import Web  # noqa: PLC0415

        return Web(self.tunnel, self.authorities, self.location.uri, plain=plain)


@dataclass(frozen=True, slots=True)
class _Api:
    """A source that is read by an API of its own, not by obstore."""

    endpoints: tuple[str, ...]
    open: Callable[[_Call], Source]


def open_remote(
    location: Location,
    environment: Mapping[str, str],
    tunnel: Tunnel,
    *,
    allow_private: bool,
    allowed_schemes: tuple[str, ...] = (),
    authorities: str = "",
    report: Callable[[str], None] = lambda _: None,
) -> Source:
    """Return the store of a location; no store is contacted yet, only the one that hands out the pod's identity.

    `authorities` are the administrator's, in PEM; the Secret may have more. `allowed_schemes` are those of the stores
    that MLflow's registry may name.

    Raises FetchFailed when the credentials or the endpoint in the environment cannot be used.
    """
    trusted = "\n".join(text for text in (authorities, environment.get("CA_CERTIFICATE", "")) if text)
    if api := _APIS.get(location.scheme):
        endpoint = _endpoint(api.endpoints, environment, allow_private=allow_private)

        def nested(uri: str) -> Source:
            return open_remote(
                parse(uri, allowed_schemes),
                environment,
                tunnel,
                allow_private=allow_private,
                authorities=authorities,
                report=report,
            )

        return api.open(_Call(location, environment, endpoint, tunnel, trusted, allow_private, nested))
    kind = _STORES[location.scheme]
    endpoint = _endpoint(kind.endpoints, environment, allow_private=allow_private)
    client: Any = {
        "proxy_url": tunnel.url,
        "allow_http": endpoint.startswith("http:"),
        "connect_timeout": _CONNECT,
        "read_timeout": SILENCE,
        "timeout": _WHOLE_REQUEST,
        "user_agent": "tritonfleet-fetch",
    }
    if trusted:
        client["root_certificate"] = trusted
    for name in [name for name in os.environ if name.startswith(_READ_BY_OBSTORE)]:
        del os.environ[name]
    opening = _Opening(location, environment, endpoint, client, report)
    opened = _built(lambda: kind.open(opening))

    def problem() -> TritonfleetError | None:
        return opening.failures.pop() if opening.failures else tunnel.problem

    direct = None
    if opened.base:
        from tritonfleet.fetch.direct import Direct  # noqa: PLC0415
        from tritonfleet.fetch.web import Web  # noqa: PLC0415

        web = Web(tunnel, trusted, location.uri, plain=endpoint.startswith("http:"))
        direct = Direct(web, opened.base, opened.login)
    remedy = opened.remedy or f"it was read anonymously; {kind.keys}"
    return Remote(location, opened.store, problem, remedy, direct)


def _hub(call: _Call) -> Source:
    from tritonfleet.fetch.hub import Hub  # noqa: PLC0415

    return Hub(call.location, call.environment, call.endpoint, call.web(plain=call.endpoint.startswith("http:")))


_PLAIN: Final = "OCI_PLAIN_HTTP"


def _registry(call: _Call) -> Source:
    from tritonfleet.fetch.registry import Registry  # noqa: PLC0415

    plain = call.environment.get(_PLAIN, "").strip().lower() == "true"
    if plain and not call.allow_private:
        raise FetchFailed(
            f"{_PLAIN} in the Secret asks for plain http, which is only for private addresses that the administrator "
            "has allowed; use https"
        )
    return Registry(call.location, call.environment, call.web(plain=plain), plain=plain)


def _mlflow(call: _Call) -> Source:
    from tritonfleet.fetch.tracker import Tracker  # noqa: PLC0415

    web = call.web(plain=call.endpoint.startswith("http:"))
    return Tracker(call.location, call.environment, call.endpoint, web, call.nested)


_APIS: Final = {
    "hf": _Api(("HF_ENDPOINT",), _hub),
    "mlflow": _Api(("MLFLOW_TRACKING_URI",), _mlflow),
    "oci": _Api((), _registry),
}


def _endpoint(names: tuple[str, ...], environment: Mapping[str, str], *, allow_private: bool) -> str:
    """Return the Secret's endpoint; plain http is for stores inside the cluster, where those are allowed."""
    name, endpoint = next(((name, value) for name in names if (value := environment.get(name, ""))), ("", ""))
    if not endpoint:
        return ""
    try:
        split = urlsplit(endpoint)
        usable = split.scheme in {"http", "https"} and split.hostname and split.port != 0 and not split.query
    except ValueError:
        usable = False
    if not usable:
        raise FetchFailed(f"{name} in the Secret is not an address such as https://storage.example.com:9000")
    if split.username or split.password:
        raise FetchFailed(f"{name} in the Secret carries a user name or password; use the keys of the store instead")
    if split.scheme == "http" and not allow_private:
        raise FetchFailed(
            f"{name} names {split.hostname} over plain http, which is only for private addresses that "
            "the administrator has allowed; use https"
        )
    return endpoint.rstrip("/")


def _built(build: Callable[[], _Opened]) -> _Opened:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        return build()
    except (BaseError, ValueError) as error:
        # The text may quote a setting that came from the Secret.
        raise FetchFailed("the endpoint, key or CA_CERTIFICATE in the Secret cannot be used; check each") from error


def _https(opening: _Opening) -> _Opened:
    from obstore.store import HTTPStore  # noqa: PLC0415

    client, authorization = opening.client, opening.read("HTTPS_AUTHORIZATION")
    if authorization:
        client["default_headers"] = {"Authorization": authorization}
    store = HTTPStore(opening.location.uri, client_options=client, retry_config=_NO_RETRIES)
    remedy = "check HTTPS_AUTHORIZATION in the Secret named by credentialsSecretName" if authorization else ""
    return _Opened(store, remedy, opening.location.uri, authorization)


def _s3(opening: _Opening) -> _Opened:
    from obstore.store import S3Store  # noqa: PLC0415

    from tritonfleet.fetch.direct import Keys  # noqa: PLC0415

    region = opening.read("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1"
    if not re.fullmatch("[a-z0-9-]+", region):
        raise FetchFailed("AWS_REGION is not the name of a region, such as eu-central-1")
    config: Any = {"region": region}
    if opening.endpoint:
        config["endpoint"] = opening.endpoint
    if opening.read("AWS_VIRTUAL_HOSTED_STYLE_REQUEST").lower() == "true":
        config["virtual_hosted_style_request"] = True
    login: Keys | str = ""
    credentials, remedy = None, ""
    role, token = opening.read("AWS_ROLE_ARN"), identity.token_file("AWS_WEB_IDENTITY_TOKEN_FILE", opening.environment)
    of_pod = identity.of_eks(opening.environment)
    if opening.pair("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        names = ("access_key_id", "secret_access_key", "session_token")
        config |= {name: value for name in names if (value := opening.read(f"AWS_{name.upper()}"))}
        remedy = _KEYS
        login = Keys(region, *(config.get(name, "") for name in names))
        if role or of_pod:
            opening.report("the role of the pod's ServiceAccount is not used: the Secret has keys")
    elif role and token:
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        sts = _endpoint(("AWS_ENDPOINT_URL_STS",), opening.environment, allow_private=False)
        config |= {"web_identity_token_file": token, "role_arn": role, "role_session_name": "tritonfleet-fetch"}
        config["endpoint_url_sts"] = sts or f"https://sts.{region}.{domain}"
        remedy = f"let {role}, the role of the pod's ServiceAccount, read and list it (s3:GetObject, s3:ListBucket)"
    elif of_pod:
        credentials = opening.remembering(of_pod)
        remedy = "let the role that EKS Pod Identity gives the pod's ServiceAccount read and list it"
    else:
        config["skip_signature"] = True
        if role:
            opening.report("AWS_ROLE_ARN is not used: the pod has no token for it in AWS_WEB_IDENTITY_TOKEN_FILE")
    options: Any = {"config": config, "client_options": opening.client, "retry_config": _NO_RETRIES}
    store = S3Store(opening.location.authority, credential_provider=credentials, **options)
    return _Opened(store, remedy, _bucket_url(opening, config), login)


def _bucket_url(opening: _Opening, config: Mapping[str, Any]) -> str:
    """Return where obstore finds the objects; empty where only it can read them, with a role's keys."""
    bucket = opening.location.authority
    if not ("secret_access_key" in config or "skip_signature" in config) or bucket.endswith("--x-s3"):
        return ""
    if "virtual_hosted_style_request" in config:
        return opening.endpoint or f"https://{bucket}.s3.{config['region']}.amazonaws.com"
    cloud = f"https://s3.{config['region']}.amazonaws.com"
    return f"{opening.endpoint or cloud}/{bucket}"


_SERVICE_ACCOUNT: Final = ("GOOGLE_SERVICE_ACCOUNT_KEY", "gcloud-application-credentials.json")


def _gs(opening: _Opening) -> _Opened:
    from obstore.store import GCSStore  # noqa: PLC0415

    config: Any = {"base_url": opening.endpoint} if opening.endpoint else {}
    credentials, remedy = None, ""
    if key := opening.read(*_SERVICE_ACCOUNT):
        account = _service_account(key)
        config["service_account_key"] = json.dumps(account)
        remedy = f"let {account['client_email']}, whose key is in the Secret, read and list it"
    elif opening.read(identity.WANTED) and (found := identity.of_google(opening.report)):
        credentials = opening.remembering(found)
        remedy = f"let {found.account}, the identity of the pod's ServiceAccount, read and list it"
    else:
        config["skip_signature"] = True
    options: Any = {"config": config, "client_options": opening.client, "retry_config": _NO_RETRIES}
    return _Opened(GCSStore(opening.location.authority, credential_provider=credentials, **options), remedy)


def _service_account(key: str) -> dict[str, str]:
    """Return what identifies the account: an endpoint that a key may name is the Secret's to set, not the key's."""
    try:
        found = json.loads(key)
        account = {name: found[name] for name in ("type", "client_email", "private_key_id", "private_key")}
    except (ValueError, KeyError, TypeError):
        account = {}
    if account.get("type") != "service_account" or not all(isinstance(value, str) for value in account.values()):
        raise FetchFailed(
            f"{_SERVICE_ACCOUNT[0]} in the Secret is not the JSON key of a service account; put the whole file there"
        )
    return account


_AZURE_KEY: Final = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY")
_AZURE_SIGN_IN: Final = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST")


def _az(opening: _Opening) -> _Opened:
    from obstore.store import AzureStore  # noqa: PLC0415

    account, _, container = opening.location.authority.partition("/")
    config: Any = {"account_name": account, "container_name": container}
    if opening.endpoint:
        config["endpoint"] = opening.endpoint
    token = identity.token_file("AZURE_FEDERATED_TOKEN_FILE", opening.environment)
    client, tenant, host = (opening.read(name) for name in _AZURE_SIGN_IN)
    remedy, unused = _KEYS, "the Secret has a key"
    if key := opening.read(*_AZURE_KEY):
        config |= {"account_key": key, "credential_type": "access_key"}
    elif signature := opening.read("AZURE_STORAGE_SAS_TOKEN").removeprefix("?"):
        config |= {"sas_key": signature, "credential_type": "sas_token"}
        remedy = "check that AZURE_STORAGE_SAS_TOKEN in the Secret has not expired and may read and list the container"
    elif token and client and tenant:
        config |= {"federated_token_file": token, "client_id": client, "tenant_id": tenant}
        config |= {"credential_type": "workload_identity"} | ({"authority_host": host} if host else {})
        remedy = f"give the identity {client} of the pod's ServiceAccount the role Storage Blob Data Reader"
    else:
        config["skip_signature"] = True
        remedy, unused = "", "it has no annotation azure.workload.identity/client-id"
    if token and "federated_token_file" not in config:
        opening.report(f"the identity of the pod's ServiceAccount is not used: {unused}")
    return _Opened(AzureStore(config=config, client_options=opening.client, retry_config=_NO_RETRIES), remedy)


_STORES: Final = {
    "s3": _Store(
        ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "name a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in credentialsSecretName, or a ServiceAccount "
        "with a role in server.serviceAccountName",
        _s3,
    ),
    "gs": _Store(
        ("GOOGLE_BASE_URL",),
        f"name a Secret with {_SERVICE_ACCOUNT[0]} in credentialsSecretName, or a ServiceAccount with workload "
        "identity in server.serviceAccountName",
        _gs,
    ),
    "az": _Store(
        ("AZURE_STORAGE_ENDPOINT",),
        f"name a Secret with {_AZURE_KEY[0]} or AZURE_STORAGE_SAS_TOKEN in credentialsSecretName, or a ServiceAccount "
        "with workload identity in server.serviceAccountName",
        _az,
    ),
    "https": _Store((), "name a Secret with HTTPS_AUTHORIZATION in credentialsSecretName", _https),
}
