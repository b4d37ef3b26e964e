"""`spec.server.env`: environment variables of the server."""

from typing import Annotated, ClassVar

from tritonfleet.api.base import ApiModel, DataKey, ObjectName, Rule, cel_list, matching, rule, text
from tritonfleet.api.names import OWNED_ENVIRONMENT


class KeyReference(ApiModel):
    """One key of a Secret or ConfigMap of this namespace."""

    name: ObjectName
    """Name of the object."""
    key: DataKey
    """Key within the object."""
    optional: bool = False
    """Whether the pods start without it."""


class FieldReference(ApiModel):
    """One field of the pod itself."""

    field_path: Annotated[
        str,
        matching(
            256,
            r"^(metadata|spec|status)[.][A-Za-z0-9._-]+$",
            "must be a field of the pod, such as metadata.name or status.podIP",
        ),
    ]
    """Path of the field, such as metadata.name or status.podIP."""


class ValueSource(ApiModel):
    """Where a value comes from; exactly one of the fields."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)].filter(x, x).size() == 1",
            "must set exactly one of `secretKeyRef`, `configMapKeyRef` and `fieldRef`",
        ),
    )

    secret_key_ref: KeyReference | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyReference | None = None
    """A key of a ConfigMap."""
    field_ref: FieldReference | None = None
    """A field of the pod."""


class EnvironmentVariable(ApiModel):
    """One environment variable of the server."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule("has(self.value) != has(self.valueFrom)", "must set exactly one of `value` and `valueFrom`"),
    )

    name: Annotated[
        str,
        text(
            128,
            rule(
                "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                "must be an environment variable: letters, digits and '_', not starting with a digit",
                got="self",
            ),
            rule(
                f"!(self in {cel_list(OWNED_ENVIRONMENT)}) && !self.startsWith('TRITONFLEET_')",
                "must not be one of the variables that decide which code and which GPUs the server uses: "
                + ", ".join(OWNED_ENVIRONMENT)
                + " or TRITONFLEET_*; remove it",
                got="self",
            ),
        ),
    ]
    """Name of the variable."""
    value: Annotated[str, text(4096, min_length=0)] | None = None
    """Value of the variable."""
    value_from: ValueSource | None = None
    """Where the value comes from."""


class NamedObject(ApiModel):
    """A ConfigMap or Secret of this namespace."""

    name: ObjectName
    """Name of the object."""
    optional: bool = False
    """Whether the pods start without it."""


class EnvironmentSource(ApiModel):
    """A ConfigMap or Secret whose keys become environment variables."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule("has(self.configMapRef) != has(self.secretRef)", "must set exactly one of `configMapRef` and `secretRef`"),
    )

    prefix: (
        Annotated[str, matching(128, "^[A-Za-z_][A-Za-z0-9_]*$", "must be letters, digits and '_', such as HUB_")]
        | None
    ) = None
    """Text before the name of every variable."""
    config_map_ref: NamedObject | None = None
    """A ConfigMap."""
    secret_ref: NamedObject | None = None
    """A Secret."""
