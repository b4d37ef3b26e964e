"""Reads one JSON object of a file that a person wrote; what does not fit is told with its place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from tritonfleet.errors import TritonfleetError

_SHOWN: Final = 40
LONGEST_NAME: Final = 256


class InvalidGolden(TritonfleetError):
    """The golden file cannot be used as it is; the message names the entry, the field and what would be right."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object, and the way to it from the root of the file."""

    where: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, value: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> "Entry":
        """Return the object at `where`; raises InvalidGolden for anything else, and for fields it must not have."""
        if not isinstance(value, dict):
            raise InvalidGolden(f"{where}: must be an object, not {shown(value)}")
        for name in required:
            if name not in value:
                raise InvalidGolden(f"{where}.{name}: is missing")
        for name in value:
            if name not in (*required, *optional):
                known = ", ".join((*required, *optional))
                raise InvalidGolden(f"{where}: the field {shown(name)} is not known here; there are {known}")
        return cls(where, value)

    def refuse(self, field: str, problem: str) -> NoReturn:
        """Raise InvalidGolden about a field."""
        raise InvalidGolden(f"{self.where}.{field}: {problem}")

    def name(self, field: str = "name") -> str:
        """Return a name: text that is not empty and not long."""
        value = self.fields[field]
        if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME or not value.isprintable():
            self.refuse(field, f"must be a name of 1 to {LONGEST_NAME} printable characters, not {shown(value)}")
        return str(value)

    def integer(self, field: str, least: int, most: int) -> int:
        """Return a whole number between two others."""
        value = self.fields[field]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(field, f"must be a whole number from {least} to {most}, not {shown(value)}")
        return int(value)

    def number(self, field: str, least: float, most: float, default: float) -> float:
        """Return a number between two others, or the default where there is none."""
        value = self.fields.get(field, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.refuse(field, f"must be a number from {least:g} to {most:g}, not {shown(value)}")
        return float(value)

    def entries(
        self, field: str, most: int, required: Sequence[str], optional: Sequence[str] = ()
    ) -> Iterator["Entry"]:
        """Yield the objects of a list that is not empty."""
        for index, value in enumerate(self.items(field, most)):
            yield Entry.of(value, f"{self.where}.{field}[{index}]", required, optional)

    def items(self, field: str, most: int, *, least: int = 1) -> list[Any]:
        """Return a list of a bounded length."""
        value = self.fields[field]
        if not isinstance(value, list) or not least <= len(value) <= most:
            self.refuse(field, f"must be a list of {least} to {most} entries, not {shown(value)}")
        return list(value)


def shown(value: Any) -> str:
    """Return a value as a message may show it."""
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return "an object"
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
