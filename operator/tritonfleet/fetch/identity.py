"""The identity that the pod's ServiceAccount has in a cloud, for stores that need no key in a Secret.

A cloud hands it out at a link-local address, which `tunnel.Guard` never lets through: a model's URI, a redirect or a
Secret must never lead there. So the tunnel has no exception. The requests are made here, each to one fixed address and
path, and only when the pod was given a ServiceAccount and no Secret; the answer goes only to the store.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed

WANTED: Final = "TRITONFLEET_FETCH_IDENTITY"
"""Variable that the operator sets for a pod with a ServiceAccount of the user's and without a Secret."""
TOKENS: Final = Path("/var/run/secrets")
"""Where clouds mount a ServiceAccount's tokens; no other file is ever sent as one."""
EKS: Final = {
    "http://169.254.170.23/v1/credentials": ("169.254.170.23", 80),
    "http://[fd00:ec2::23]/v1/credentials": ("fd00:ec2::23", 80),
}
"""The agent of EKS Pod Identity on each node: the addresses that it puts into pods, and nothing else is asked."""
GOOGLE: Final = ("169.254.169.254", 80)
"""Google's metadata server. By address: the name metadata.google.internal is whatever DNS says."""
METADATA_ATTEMPTS: Final = 5
METADATA_PAUSE_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 3.0
_ANSWER_BYTES: Final = 64 * 1024
_ACCOUNT: Final = "/computeMetadata/v1/instance/service-accounts/default"


def token_file(variable: str, environment: Mapping[str, str]) -> str:
    """Return the file of the pod's token that a variable names; empty if the pod has none.

    Raises FetchFailed for a file that no cloud has mounted: a Secret may have set the variable.
    """
    named = environment.get(variable, "")
    if named and not Path(named).resolve().is_relative_to(TOKENS.resolve()):
        raise FetchFailed(f"{variable} does not name a file below {TOKENS}, where the tokens of a ServiceAccount are")
    return named


@dataclass(frozen=True, slots=True)
class GoogleIdentity:
    """Workload identity of Google Kubernetes Engine, as obstore's credential provider."""

    account: str
    """The e-mail address, or the workload pool, that the tokens speak for."""

    def __call__(self) -> Any:
        """Return a bearer token; raises FetchFailed when there is none for this ServiceAccount, Transient for now."""
        import json  # noqa: PLC0415

        try:
            status, body = _get(GOOGLE, f"{_ACCOUNT}/token", {"Metadata-Flavor": "Google"})
        except OSError as error:
            raise Transient("GKE's metadata server does not answer") from error
        try:
            found = json.loads(body)
            token, seconds = str(found["access_token"]), int(found["expires_in"])
        except (ValueError, KeyError, TypeError):
            raise FetchFailed(
                f"GKE's metadata server gave no token for {self.account} ({status}); check that the "
                "ServiceAccount is bound to an IAM principal (roles/iam.workloadIdentityUser)"
            ) from None
        return {"token": token, "expires_at": datetime.now(UTC) + timedelta(seconds=seconds)}


@dataclass(frozen=True, slots=True)
class EksIdentity:
    """The role that EKS Pod Identity gives the pod, as obstore's credential provider."""

    address: tuple[str, int]
    token_file: str

    def __call__(self) -> Any:
        """Return keys that expire; raises FetchFailed when the pod has none, Transient when it has none for now."""
        import json  # noqa: PLC0415

        try:
            token = Path(self.token_file).read_text().strip()
            status, body = _get(self.address, "/v1/credentials", {"Authorization": token})
        except OSError as error:
            raise Transient("the agent of EKS Pod Identity does not answer") from error
        try:
            found = json.loads(body)
            return {
                "access_key_id": str(found["AccessKeyId"]),
                "secret_access_key": str(found["SecretAccessKey"]),
                "token": str(found["Token"]),
                "expires_at": datetime.fromisoformat(str(found["Expiration"])),
            }
        except (ValueError, KeyError, TypeError):
            raise FetchFailed(
                f"EKS Pod Identity gave no keys for the pod's ServiceAccount ({status}); check its pod identity "
                "association, and that the role trusts pods.eks.amazonaws.com"
            ) from None


def of_eks(environment: Mapping[str, str]) -> EksIdentity | None:
    """Return the pod's identity; None if it has none. Raises FetchFailed for an address that is not the agent's."""
    uri = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    if not uri:
        return None
    if uri not in EKS:
        raise FetchFailed("AWS_CONTAINER_CREDENTIALS_FULL_URI is not the address of EKS Pod Identity; remove it")
    return EksIdentity(EKS[uri], token_file("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", environment))


def of_google(report: Callable[[str], None]) -> GoogleIdentity | None:
    """Return the pod's workload identity; None where the cluster has none, which the log then says.

    The metadata server of a plain node gives out the node's own account, which is not the pod's: it is told apart by
    its answer to a request without the header that both demand, and never asked for a token.
    """
    try:
        _, refusal = _once_ready(GOOGLE, f"{_ACCOUNT}/token")
        if b"GKE Metadata Server" not in refusal:
            report("the metadata server is not GKE's: the node's own account is not used, reading anonymously")
            return None
        status, account = _get(GOOGLE, f"{_ACCOUNT}/email", {"Metadata-Flavor": "Google"})
    except OSError:
        report("no metadata server answers: the pod has no workload identity, reading anonymously")
        return None
    if status != 200:
        raise FetchFailed(f"GKE's metadata server does not say who the pod is ({status}); check workload identity")
    return GoogleIdentity(account.decode("ascii", "replace").strip())


def _once_ready(address: tuple[str, int], path: str) -> tuple[int, bytes]:
    """Get a path without headers; a new pod reaches its metadata server only some seconds after it has started."""
    for _ in range(METADATA_ATTEMPTS - 1):
        with contextlib.suppress(OSError):
            return _get(address, path, {})
        time.sleep(METADATA_PAUSE_SECONDS)
    return _get(address, path, {})


def _get(address: tuple[str, int], path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Return status and body; raises OSError. Follows no redirect and uses no proxy."""
    import http.client  # noqa: PLC0415

    connection = http.client.HTTPConnection(*address, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(_ANSWER_BYTES)
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
