"""One reason why a model configuration will not do what it says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A field in the words of the ModelDeployment, what it holds, and what to write instead."""

    field: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field} is {self.value}: {self.remedy}"
