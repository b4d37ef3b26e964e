"""Whether an object in the cluster still says everything we want of it.

Server-side apply lets others own the fields that we leave out (an injected label, a default, an autoscaler's
annotation), so an object has drifted only where a field *we* set is missing or different.
"""

from typing import Any

from tritonfleet.plan.world import Manifest

_LIST_KEYS = ("uid", "mountPath", "containerPort", "port", "name", "topologyKey")
"""Merge keys of the associative lists in the objects we write; other lists are atomic."""

_ATOMIC_LISTS = ("parentRefs", "rules")
"""An HTTPRoute's: a backend or a match that was added changes where requests go, however it is named."""

_IMMUTABLE_PAYLOAD = {"ControllerRevision": ("data",), "ConfigMap": ("data",)}
_ATOMIC_MAP = "selector"
"""Label selectors are atomic maps: an added key changes what is selected, so it is drift."""


def covers(desired: Any, observed: Any, *, atomic: bool = False) -> bool:
    """Tell whether `observed` holds every value of `desired`, ignoring what others added.

    In an `atomic` list, and the lists in it, nobody may add an item.
    """
    if desired == observed:
        return True
    if isinstance(desired, dict):
        return isinstance(observed, dict) and all(
            value == observed.get(key)
            if key == _ATOMIC_MAP
            else covers(value, observed.get(key), atomic=atomic or key in _ATOMIC_LISTS)
            for key, value in desired.items()
        )
    if isinstance(desired, list):
        return _covers_list(desired, observed, atomic)
    return False


def payload_changed(desired: Manifest, observed: Manifest) -> bool:
    """Tell whether a part that Kubernetes refuses to update differs, so that only a new object helps."""
    return any(desired[part] != observed.get(part) for part in _IMMUTABLE_PAYLOAD.get(desired["kind"], ()))


def _covers_list(desired: list[Any], observed: Any, atomic: bool) -> bool:
    if not isinstance(observed, list):
        return not desired and observed is None
    key = next((key for key in _LIST_KEYS if not atomic and _identifies(key, desired)), None)
    if key is None:
        pairs = zip(desired, observed, strict=False)
        return len(desired) == len(observed) and all(covers(*pair, atomic=atomic) for pair in pairs)
    found = {item.get(key): item for item in observed if isinstance(item, dict)}
    return all(covers(item, found.get(item[key])) for item in desired)


def _identifies(key: str, items: list[Any]) -> bool:
    values = [item.get(key) for item in items if isinstance(item, dict)]
    return (
        len(values) == len(items) > 0
        and all(value is not None for value in values)
        and len(set(map(repr, values))) == len(values)
    )
