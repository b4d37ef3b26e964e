"""The CRD leaves room for all of Triton's model configuration, and for nothing that is nested in another way."""

from collections.abc import Iterator
from typing import Any

from tritonfleet.api.companions import MODEL_CONFIG_SHAPES
from tritonfleet.triton import schema


def shapes(message: Any) -> Iterator[str]:
    """Yield how objects (`o`) and lists (`l`) are nested in each field of a message, in its JSON form."""
    for field in message.fields:
        inner = field.message_type
        begin = ("l" if field.is_repeated else "") + ("o" if inner is not None else "")
        if inner is not None and inner.GetOptions().map_entry:
            begin, inner = "o", inner.fields_by_name["value"].message_type
            begin += "o" if inner is not None else ""
        yield begin
        if inner is not None:
            yield from (begin + rest for rest in shapes(inner))


def test_what_the_definition_lets_pass_is_what_triton_can_be_told() -> None:
    found = set(shapes(schema.empty().DESCRIPTOR))

    longest = {each for each in found if not any(other != each and other.startswith(each) for other in found)}
    assert longest == set(MODEL_CONFIG_SHAPES)
