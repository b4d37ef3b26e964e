import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.errors import InvalidSpec
from tritonfleet.triton import schema
from tritonfleet.triton.schema import merge, parse_text


def merged(base: str, overlay: str) -> str:
    return schema.to_text(merge(parse_text(base, "config.pbtxt"), parse_text(overlay, "the spec")))


def canonical(text: str) -> str:
    return schema.to_text(schema.parse_text(text, "a test"))


@pytest.mark.parametrize(
    ("base", "overlay", "expected"),
    [
        ("max_batch_size: 4 backend: 'python'", "max_batch_size: 8", "backend: 'python' max_batch_size: 8"),
        ("max_batch_size: 4", "max_batch_size: 0", "max_batch_size: 0"),
        (
            "input { name: 'A' } input { name: 'B' }",
            "input { name: 'C' }",
            "input { name: 'C' }",
        ),
        (
            "optimization { eager_batching: true priority: PRIORITY_MAX }",
            "optimization { eager_batching: false }",
            "optimization { eager_batching: false priority: PRIORITY_MAX }",
        ),
        (
            "parameters { key: 'a' value { string_value: '1' } } parameters { key: 'b' value { string_value: '2' } }",
            "parameters { key: 'b' value { string_value: '3' } }",
            "parameters { key: 'a' value { string_value: '1' } } parameters { key: 'b' value { string_value: '3' } }",
        ),
        (
            "metric_tags { key: 'a' value: '1' }",
            "metric_tags { key: 'b' value: '2' }",
            "metric_tags { key: 'a' value: '1' } metric_tags { key: 'b' value: '2' }",
        ),
        (
            "sequence_batching { max_sequence_idle_microseconds: 5 }",
            "dynamic_batching { max_queue_delay_microseconds: 7 }",
            "dynamic_batching { max_queue_delay_microseconds: 7 }",
        ),
        (
            "dynamic_batching { preserve_ordering: true }",
            "dynamic_batching { }",
            "dynamic_batching { preserve_ordering: true }",
        ),
        ("", "dynamic_batching { }", "dynamic_batching { }"),
        ("version_policy { latest { num_versions: 2 } }", "version_policy { all { } }", "version_policy { all { } }"),
    ],
    ids=[
        "a scalar overrides",
        "a default that is spelled out overrides",
        "a list replaces",
        "messages merge field by field",
        "maps of messages merge key by key",
        "maps of scalars merge key by key",
        "another scheduler replaces the scheduler",
        "the same scheduler keeps what is not overridden",
        "an empty message is set",
        "another version policy replaces the policy",
    ],
)
def test_an_overlay_is_laid_over_a_base(base: str, overlay: str, expected: str) -> None:
    assert merged(base, overlay) == canonical(expected)


def test_neither_argument_is_changed() -> None:
    base, overlay = schema.parse_text("max_batch_size: 4", "a"), schema.parse_text("max_batch_size: 8", "b")
    merge(base, overlay)
    assert (base.max_batch_size, overlay.max_batch_size) == (4, 8)


@pytest.mark.parametrize(
    ("base", "overlay", "source"), [("max_batch: 4", "", "config.pbtxt"), ("", "input {", "the spec")]
)
def test_text_that_cannot_be_read_is_refused_with_its_place(base: str, overlay: str, source: str) -> None:
    with pytest.raises(InvalidSpec, match=rf"^{source} is not a Triton model configuration: \d+:\d+ : "):
        merged(base, overlay)


CONFIGS = st.builds(
    lambda size, backend, keys, delay: schema.parse_json(
        {
            **({"max_batch_size": size} if size is not None else {}),
            **({"backend": backend} if backend is not None else {}),
            "parameters": {key: {"string_value": key} for key in keys},
            **({"dynamic_batching": {"max_queue_delay_microseconds": delay}} if delay is not None else {}),
        },
        "a test",
    ),
    size=st.none() | st.integers(0, 8),
    backend=st.none() | st.sampled_from(["python", "onnxruntime"]),
    keys=st.sets(st.text("abc", min_size=1, max_size=2)),
    delay=st.none() | st.integers(0, 9),
)


@given(CONFIGS)
def test_merging_with_nothing_changes_nothing(config: schema.ModelConfig) -> None:
    assert merge(config, schema.empty()) == config == merge(schema.empty(), config)


@given(CONFIGS, CONFIGS)
def test_merging_the_same_overlay_twice_is_merging_it_once(
    base: schema.ModelConfig, overlay: schema.ModelConfig
) -> None:
    once = merge(base, overlay)
    assert merge(once, overlay) == once


@given(CONFIGS, CONFIGS, CONFIGS)
def test_overlays_can_be_merged_first(
    one: schema.ModelConfig, two: schema.ModelConfig, three: schema.ModelConfig
) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
