"""`spec.server`: on which nodes the pods run, as in a pod spec."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from tritonfleet.api.base import ApiModel, LabelValue, QualifiedName, Rule, items, open_object, rule, text


class SelectorOperator(StrEnum):
    """How a label is compared with values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class TolerationOperator(StrEnum):
    """How a toleration is compared with a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to a pod that does not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Unsatisfiable(StrEnum):
    """What happens to a pod that cannot be spread evenly."""

    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"


class Toleration(ApiModel):
    """A taint that the pods tolerate."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "has(self.key) || self.operator == 'Exists'",
            "must be 'Exists' when `key` is absent: that tolerates every taint",
            got="self.operator",
            at=".operator",
        ),
        rule(
            "!has(self.value) || self.operator == 'Equal'",
            "must be absent when `operator` is 'Exists'",
            got="self.value",
            at=".value",
        ),
        rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "must be absent unless `effect` is 'NoExecute'",
            got="self.tolerationSeconds",
            at=".tolerationSeconds",
        ),
    )

    key: QualifiedName | None = None
    """Key of the taint; absent together with `operator: Exists` means every taint."""
    operator: TolerationOperator = TolerationOperator.EQUAL
    """Equal compares the taint's value, Exists matches any."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: TaintEffect | None = None
    """Effect of the taint; absent means every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """How long a pod stays after the taint is added; absent: forever."""


class SelectorRequirement(ApiModel):
    """One comparison of a node's label with values."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "(self.operator in ['Exists', 'DoesNotExist']) == (!has(self.values) || size(self.values) == 0)",
            "must be set, unless `operator` is 'Exists' or 'DoesNotExist'",
            at=".values",
        ),
    )

    key: Annotated[str, text(317)]
    """Key of the label."""
    operator: SelectorOperator
    """How the label is compared; Gt and Lt compare integers."""
    values: Annotated[
        tuple[Annotated[str, text(63, min_length=0, description="Value of the label.")], ...], items(32)
    ] = ()
    """Values to compare with."""


class NodeTerm(ApiModel):
    """A node selector term: all requirements must hold."""

    match_expressions: Annotated[tuple[SelectorRequirement, ...], Field(min_length=1), items(8)]
    """Requirements on the node's labels."""


class PreferredNodeTerm(ApiModel):
    """A preferred node selector term."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """Weight, from 1 to 100."""
    preference: NodeTerm
    """The node selector term."""


class RequiredNodes(ApiModel):
    """Node selector terms, one of which must match."""

    node_selector_terms: Annotated[tuple[NodeTerm, ...], Field(min_length=1), items(8)]
    """The node selector terms."""


class NodeAffinity(ApiModel):
    """Node affinity of the pods."""

    required_during_scheduling_ignored_during_execution: RequiredNodes | None = None
    """Required nodes."""
    preferred_during_scheduling_ignored_during_execution: Annotated[tuple[PreferredNodeTerm, ...], items(8)] = ()
    """Preferred nodes."""


# Open below: its schema would be a fifth of the whole. The API server checks it in the Deployment, and what it
# refuses there is reported in the conditions.
_TERM_SHAPES: Final = ("l", "ol", "oo", "ooo", "olol", "oolol")
"""Namespaces, labels and expressions, in a term or in the term of a preferred one."""

PodSpecPart = Annotated[dict[str, Any], *open_object(2, _TERM_SHAPES, of_lists=True)]


class Affinity(ApiModel):
    """Affinity of the pods, as in a pod spec."""

    node_affinity: NodeAffinity | None = None
    """Node affinity of the pods."""
    pod_affinity: PodSpecPart | None = None
    """Pod affinity, as `affinity.podAffinity` of a pod."""
    pod_anti_affinity: PodSpecPart | None = None
    """Pod anti-affinity, as `affinity.podAntiAffinity` of a pod."""


class TopologySpread(ApiModel):
    """Spreads the pods of a revision evenly."""

    topology_key: QualifiedName
    """Node label to spread over, such as topology.kubernetes.io/zone."""
    max_skew: Annotated[int, Field(ge=1, le=100)] = 1
    """Maximum difference in pods between two domains."""
    when_unsatisfiable: Unsatisfiable = Unsatisfiable.SCHEDULE_ANYWAY
    """What happens to a pod that would exceed `maxSkew`."""
