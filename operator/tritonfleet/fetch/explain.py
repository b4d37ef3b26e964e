"""obstore's exceptions in the user's words, sorted into those worth another try and those not."""

import re
from typing import Final

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_CERTIFICATE: Final = re.compile(r"InvalidCertificate\(\s*(\w+)")
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_CREDENTIALS: Final = "check the keys in the Secret named by credentialsSecretName, and that they may read and list it"


def explained(error: Exception, where: str) -> FetchFailed | Transient:
    """Return the exception to raise for a failed read of `where`.

    obstore tells most failures apart only in its text, which holds the status, the S3 error code and, after
    "Debug source", the Rust error; nothing of that text but these words is passed on.
    """
    text = str(error)
    status = _STATUS.search(text)
    if status:
        return _by_status(int(status[1]), _CODE.search(text), where)
    for sign, message in _SIGNS:
        if sign in text:
            return FetchFailed(f"{where}: {message}")
    if certificate := _CERTIFICATE.search(text):
        return FetchFailed(
            f"{where}: its TLS certificate is not trusted ({certificate[1]}); if a private authority "
            "signed it, put that authority's PEM text into the Secret as CA_CERTIFICATE"
        )
    if isinstance(error, FileNotFoundError):
        return FetchFailed(f"{where}: not found (404); check the path")
    return Transient(f"{where}: {_kind(text)}")


_SIGNS: Final = (
    ("RangeNotSupported", "the server announced byte ranges and then ignored one; ask its operator"),
    (
        "BareRedirect",
        "the bucket lives in another region; set AWS_REGION in the Secret to the bucket's region",
    ),
    ("BadScheme", "it redirects to a plain http address, which is not followed; name an https address"),
    ("TooManyRedirects", "it redirects more than 10 times; name the final address"),
    (
        "MissingContentLength",
        "the server does not say how long the file is (no Content-Length); host it elsewhere",
    ),
    ("InvalidPath", "an object's key cannot be a file name ('//', '.' or '..' in it); rename the object"),
)


def _by_status(status: int, code: re.Match[str] | None, where: str) -> FetchFailed | Transient:
    name = f"{status} {code[1]}" if code else str(status)
    if status in _TRY_AGAIN or status >= 500:
        return Transient(f"{where}: the server answered {name}")
    if code and code[1] == "NoSuchBucket":
        return FetchFailed(f"{where}: no such bucket ({name}); check the bucket's name and AWS_ENDPOINT_URL")
    # versitygw answers an unknown access key with 404 XAdminUserNotFound.
    if status in {401, 403} or (code and code[1].endswith("UserNotFound")):
        return FetchFailed(f"{where}: access denied ({name}); {_CREDENTIALS}")
    if status == 404:
        return FetchFailed(f"{where}: not found ({name}); check the path")
    return FetchFailed(f"{where}: the server refused the request ({name}); check the URI and the endpoint")


def _kind(text: str) -> str:
    lowered = text.lower()
    if "timedout" in lowered or "timed out" in lowered:
        return "the server sent nothing for too long"
    if "body error" in lowered:
        return "the connection broke in the middle of the file"
    return "the connection failed"
