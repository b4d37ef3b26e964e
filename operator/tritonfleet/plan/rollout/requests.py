"""What a person asks of a rollout, by a field of the spec or by an annotation; each is carried out or refused once."""

from dataclasses import dataclass
from enum import StrEnum


class Verb(StrEnum):
    """What is asked; as an annotation it is `tritonfleet.dev/VERB`."""

    APPROVE = "approve"
    PROMOTE = "promote"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    ROLLBACK_TO = "rollback-to"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. An annotation's value is `WHAT [by=WHO] [at=WHEN]`."""

    verb: Verb
    revision: str
    """Name, hash or number of the revision meant; for RETRY a word."""
    step: int | None = None
    """For APPROVE: which step, from 1."""
    by: str = ""
    at: str = ""

    @property
    def id(self) -> str:
        """Return what tells it from others, as `status.rollout.consumed` keeps it."""
        step = f":{self.step}" if self.step is not None else ""
        return f"{self.verb}={self.revision}{step}{'@' + self.at if self.at else ''}"
