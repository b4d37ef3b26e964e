"""What a model takes and gives, and whether clients of one revision can use another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tritonfleet.plan.rollout.verification.tensor import shape_text

ANY_SIZE = -1


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a model."""

    name: str
    datatype: str
    """As the KServe v2 protocol names it: FP32, INT64, BYTES."""
    shape: tuple[int, ...]
    """-1 for any size; with batching the first entry is the batch."""
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.datatype} {shape_text(self.shape)}"


@dataclass(frozen=True, slots=True)
class Contract:
    """What a model says of itself when it is asked."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    max_batch_size: int = 0
    """0 for a model without batching by Triton."""
    decoupled: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between two contracts."""

    text: str
    """A sentence that names the tensor and both values."""
    breaking: bool
    """Whether a request that stable answers may fail, or an answer may be misread."""


def findings(stable: Contract, canary: Contract) -> tuple[Finding, ...]:
    """Return every difference that clients could notice, the breaking ones first."""
    found = (
        *_inputs(_by_name(stable.inputs), _by_name(canary.inputs)),
        *_outputs(_by_name(stable.outputs), _by_name(canary.outputs)),
        *_batch(stable, canary),
        *_decoupling(stable, canary),
    )
    return tuple(sorted(found, key=lambda finding: not finding.breaking))


def _by_name(ports: tuple[Port, ...]) -> Mapping[str, Port]:
    return {port.name: port for port in ports}


def _inputs(stable: Mapping[str, Port], canary: Mapping[str, Port]) -> Iterator[Finding]:
    for name, old in stable.items():
        new = canary.get(name)
        if new is None:
            yield Finding(f"input '{name}' ({old}) is not taken any more", breaking=True)
            continue
        yield from _datatype(f"input '{name}'", old, new)
        yield from _taken_shape(f"input '{name}'", old, new)
        if old.optional and not new.optional:
            yield Finding(f"input '{name}' is required; stable has it optional", breaking=True)
        if new.optional and not old.optional:
            yield Finding(f"input '{name}' is optional; stable requires it", breaking=False)
    for name, new in canary.items():
        if name not in stable:
            kind = "optional" if new.optional else "required"
            yield Finding(f"input '{name}' ({new}) is new and {kind}", breaking=not new.optional)


def _outputs(stable: Mapping[str, Port], canary: Mapping[str, Port]) -> Iterator[Finding]:
    for name, old in stable.items():
        new = canary.get(name)
        if new is None:
            yield Finding(f"output '{name}' ({old}) is not given any more", breaking=True)
            continue
        yield from _datatype(f"output '{name}'", old, new)
        yield from _given_shape(f"output '{name}'", old, new)
    for name, new in canary.items():
        if name not in stable:
            yield Finding(f"output '{name}' ({new}) is new", breaking=False)


def _datatype(what: str, old: Port, new: Port) -> Iterator[Finding]:
    if new.datatype != old.datatype:
        yield Finding(f"{what} is {new.datatype}; stable has {old.datatype}", breaking=True)


def _taken_shape(what: str, old: Port, new: Port) -> Iterator[Finding]:
    """An input may take more than before: a fixed size may become any size, never the other way round."""
    if new.shape != old.shape:
        fits = len(new.shape) == len(old.shape) and all(
            now in (before, ANY_SIZE) for before, now in zip(old.shape, new.shape, strict=True)
        )
        yield _shapes(what, old, new, breaking=not fits)


def _given_shape(what: str, old: Port, new: Port) -> Iterator[Finding]:
    """An output keeps its rank and its sizes; one that is declared as any size, before or now, is no promise broken."""
    if new.shape != old.shape:
        fits = len(new.shape) == len(old.shape) and all(
            before == now or ANY_SIZE in (before, now) for before, now in zip(old.shape, new.shape, strict=True)
        )
        yield _shapes(what, old, new, breaking=not fits)


def _shapes(what: str, old: Port, new: Port, *, breaking: bool) -> Finding:
    return Finding(f"{what} has the shape {shape_text(new.shape)}; stable {shape_text(old.shape)}", breaking=breaking)


def _batch(stable: Contract, canary: Contract) -> Iterator[Finding]:
    """Without batching by Triton the shapes alone say how many rows a request may have."""
    before, now = _most_rows(stable), _most_rows(canary)
    if canary.max_batch_size and (before is None or before > canary.max_batch_size):
        most = "any number" if before is None else str(before)
        yield Finding(f"a request may have {canary.max_batch_size} rows; with stable {most}", breaking=True)
    elif stable.max_batch_size and (now is None or now > stable.max_batch_size):
        most = "any number of" if now is None else str(now)
        yield Finding(f"a request may have {most} rows; with stable {stable.max_batch_size}", breaking=False)


def _most_rows(contract: Contract) -> int | None:
    """Return how many rows a request may have; None for any number."""
    if contract.max_batch_size:
        return contract.max_batch_size
    firsts = [port.shape[0] for port in contract.inputs if port.shape]
    return None if ANY_SIZE in firsts else max(firsts, default=1)


def _decoupling(stable: Contract, canary: Contract) -> Iterator[Finding]:
    if canary.decoupled != stable.decoupled:
        now, before = ("any number of answers" if contract.decoupled else "one answer" for contract in (canary, stable))
        yield Finding(
            f"a request gets {now} (decoupled: {_yes(canary.decoupled)}); with stable {before}", breaking=True
        )


def _yes(flag: bool) -> str:
    return "true" if flag else "false"
