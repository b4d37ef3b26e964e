"""Laying one model configuration over another."""

from tritonfleet.triton import schema
from tritonfleet.triton.schema import ModelConfig


def merge(base: ModelConfig, overlay: ModelConfig) -> ModelConfig:
    """Return `base` with everything that is set in `overlay` taken from there; neither is changed.

    Scalars override, repeated fields replace, messages merge field by field, maps merge key by key, and
    a member of a oneof takes the place of the member that was set.
    """
    merged = type(base)()
    merged.CopyFrom(base)
    _lay_over(merged, overlay)
    return merged


def merge_text(base: str, overlay: str, *, base_source: str, overlay_source: str) -> str:
    """Merge two configurations in text form; raises InvalidSpec naming the source that cannot be read.

    A default that `overlay` spells out (`max_batch_size: 0`) overrides `base`.
    """
    return schema.to_text(merge(schema.parse_text(base, base_source), schema.parse_text(overlay, overlay_source)))


def _lay_over(target: ModelConfig, overlay: ModelConfig) -> None:
    for field, value in overlay.ListFields():
        current = getattr(target, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _lay_over_map(current, value, of_messages=field.message_type.fields_by_name["value"].message_type)
        elif field.is_repeated:
            target.ClearField(field.name)
            getattr(target, field.name).extend(value)
        elif field.message_type is not None:
            current.SetInParent()
            _lay_over(current, value)
        else:
            setattr(target, field.name, value)


def _lay_over_map(current: ModelConfig, overlay: ModelConfig, *, of_messages: object) -> None:
    for key in overlay:
        if of_messages is not None:
            _lay_over(current[key], overlay[key])
        else:
            current[key] = overlay[key]
