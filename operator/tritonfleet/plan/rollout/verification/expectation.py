"""What is asked of one output of one golden request."""

from dataclasses import dataclass

from tritonfleet.plan.rollout.verification.tensor import Tensor

ABSOLUTE = 1e-4
RELATIVE = 1e-2
"""What floating-point outputs may differ by where nothing is said: less than another GPU or a batch makes of them."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Every value is the expected one."""

    expected: Tensor


@dataclass(frozen=True, slots=True)
class Tolerance:
    """No value differs by more than `absolute + relative * |expected|`."""

    expected: Tensor
    absolute: float = ABSOLUTE
    relative: float = RELATIVE


@dataclass(frozen=True, slots=True)
class TopK:
    """In every row, the entries that are expected to be the k highest are; a row runs along the last dimension."""

    expected: Tensor
    k: int


@dataclass(frozen=True, slots=True)
class Cosine:
    """Every row points where it is expected to: the cosine of the angle between them is at least `least`."""

    expected: Tensor
    least: float


@dataclass(frozen=True, slots=True)
class JsonPath:
    """Every value is JSON text that holds `equals` at `path`."""

    output: str
    path: str
    equals: str | float | bool | None


Expectation = Exact | Tolerance | TopK | Cosine | JsonPath


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """A request and what is known of its answer."""

    name: str
    inputs: tuple[Tensor, ...]
    expected: tuple[Expectation, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the outputs that are looked at, each once."""
        return tuple(dict.fromkeys(output_of(each) for each in self.expected))


def output_of(expectation: Expectation) -> str:
    """Return the name of the output."""
    return expectation.output if isinstance(expectation, JsonPath) else expectation.expected.name
