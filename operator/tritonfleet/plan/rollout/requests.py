"""What a person asks of a rollout, by a field of the spec or by an annotation; each is carried out or refused once."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from tritonfleet.api import names
from tritonfleet.api.rollout import Rollout
from tritonfleet.plan.world import Manifest

_HASH: Final = re.compile(r"[0-9a-f]{10}", re.ASCII)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_STEP: Final = re.compile(r"[1-9][0-9]?", re.ASCII)
_WORD_MAX: Final = 63
_WHO_MAX: Final = 128
_VALUE_MAX: Final = 512
_SHOWN_MAX: Final = 60


class Verb(StrEnum):
    """What is asked; as an annotation it is `tritonfleet.dev/VERB`. In the order of precedence at one moment."""

    ABORT = "abort"
    ROLLBACK_TO = "rollback-to"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    APPROVE = "approve"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read from `WHAT [by=WHO] [at=WHEN]`."""

    verb: Verb
    revision: str
    """Hash or number of the revision meant; for RETRY a word."""
    step: int | None = None
    """For APPROVE: which step, from 1."""
    by: str = ""
    """Who says to have asked; anybody who may write the object may claim to be anybody."""
    at: str = ""
    """When, RFC 3339 in UTC; tells one request from the same one later."""
    problem: str = ""
    """Why it cannot be read: such a request is only to be refused, in these words. Then `revision` is meaningless."""

    @property
    def id(self) -> str:
        """Return what tells it from others, as `status.rollout.consumed` keeps it; at most 128 characters."""
        step = f":{self.step}" if self.step is not None else ""
        return f"{self.verb}={self.revision}{step}{'@' + self.at if self.at else ''}"


def requests_of(body: Manifest, policy: Rollout) -> tuple[Request, ...]:
    """Return what annotations and the spec ask for, the earliest first; what was answered before is among it.

    What has no time comes before what has one, and of the same time what is safer first.
    """
    owner: str = body["metadata"]["name"]
    found = {request.id: request for request in _all(body, policy, owner)}
    return tuple(sorted(found.values(), key=lambda request: (request.at, list(Verb).index(request.verb), request.id)))


def resolve(word: str, numbers: Mapping[str, int]) -> str | None:
    """Return the hash of the revision that a name, hash or number means; `numbers` has those that exist, by hash."""
    named = names.REVISION_NAME.fullmatch(word)
    found = word[-10:] if named is not None else word
    if found in numbers:
        return found
    return next((known for known, number in numbers.items() if str(number) == word), None)


def _all(body: Manifest, policy: Rollout, owner: str) -> Iterator[Request]:
    fields = {
        Verb.ABORT: policy.abort,
        Verb.RETRY: policy.retry,
        Verb.APPROVE: policy.approve,
        Verb.PROMOTE: policy.promote,
    }
    annotations = body["metadata"].get("annotations") or {}
    for verb in Verb:
        field, key = fields.get(verb), names.request_annotation(verb)
        if field is not None:
            yield parse(verb, field, owner, f"rollout.{verb}")
        if key in annotations:
            yield parse(verb, annotations[key], owner, f"annotation {key}")


def parse(verb: Verb, value: str, owner: str, place: str) -> Request:
    """Read one request about the ModelDeployment `owner`; what cannot be read has a `problem` that names `place`."""
    try:
        return _read(verb, value, owner)
    except ValueError as error:
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:10]
        return Request(verb, f"!{digest}", problem=f"{place} is {_shown(value)}: {error}")


def _read(verb: Verb, value: str, owner: str) -> Request:
    if len(value) > _VALUE_MAX or not value.isprintable():
        raise ValueError(f"must be at most {_VALUE_MAX} printable characters")
    what, *rest = value.split(" ") if value.strip() else ("",)
    options = _options([option for option in rest if option])
    by, at = options.get("by", ""), options.get("at", "")
    if len(by) > _WHO_MAX:
        raise ValueError(f"by= must have at most {_WHO_MAX} characters")
    at = _moment(at) if at else ""
    if verb is Verb.RETRY:
        if not 1 <= len(what) <= _WORD_MAX:
            raise ValueError(f"must begin with a word of 1 to {_WORD_MAX} characters that was not used before")
        return Request(verb, what, by=by, at=at)
    word, colon, step = what.partition(":")
    if (verb is Verb.APPROVE) != bool(colon) or (colon and not _STEP.fullmatch(step)):
        raise ValueError(_must_name(verb, owner))
    return Request(verb, _revision(word, owner, verb), int(step) if colon else None, by, at)


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in ("by", "at") or not value or key in options:
            raise ValueError("only by=WHO and at=WHEN, each once and without spaces, may follow the first word")
        options[key] = value
    return options


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise ValueError("at= must be a time with its zone, such as 2026-01-31T12:00:00Z") from None


def _revision(word: str, owner: str, verb: Verb) -> str:
    plain = word.removeprefix(f"{owner}-")
    if _HASH.fullmatch(plain) or (plain == word and _NUMBER.fullmatch(word)):
        return plain
    raise ValueError(_must_name(verb, owner))


def _must_name(verb: Verb, owner: str) -> str:
    if verb is Verb.APPROVE:
        return f"must name a revision and a step, such as {owner}-1a2b3c4d5e:2"
    return f"must name a revision by its name, hash or number, such as {owner}-1a2b3c4d5e"


def _shown(value: str) -> str:
    short = value if len(value) <= _SHOWN_MAX else f"{value[:_SHOWN_MAX]}…"
    return "'" + "".join(letter if letter.isprintable() else "�" for letter in short) + "'"
