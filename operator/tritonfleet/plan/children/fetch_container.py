"""The init container that brings the model's files into the pod."""

from typing import Any, Final

from tritonfleet.api.model import Model
from tritonfleet.plan.children.configmap import CONFIG_KEY
from tritonfleet.plan.children.volumes import CONFIG_PATH, HOME_PATH, MODELS_PATH, SOURCE_PATH, mounts
from tritonfleet.plan.world import Defaults, Manifest

FETCH: Final = "fetch"


def fetch_container(model: Model, model_name: str, defaults: Defaults, security: Manifest) -> Manifest:
    """Return the container; it holds the credentials, the server does not."""
    container: Manifest = {
        "name": FETCH,
        "image": defaults.fetch_image,
        "imagePullPolicy": defaults.fetch_image_pull_policy,
        "args": ["fetch"],
        "env": [{"name": name, "value": value} for name, value in _environment(model, model_name, defaults)],
        "volumeMounts": mounts("models", "config", "home", "tmp", *(["source"] if claim(model.uri) else [])),
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "1Gi"},
        },
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if model.credentials_secret_name is not None:
        container["envFrom"] = [{"secretRef": {"name": model.credentials_secret_name}}]
    return container


def claim(uri: str) -> str | None:
    """Return the PersistentVolumeClaim that a `pvc://` URI names, or None for other schemes."""
    scheme, _, rest = uri.partition("://")
    return rest.partition("/")[0] if scheme == "pvc" else None


def _environment(model: Model, model_name: str, defaults: Defaults) -> list[tuple[str, str]]:
    variables: dict[str, Any] = {
        "URI": model.uri,
        "MODEL": model_name,
        "DIGEST": model.digest,
        "BACKEND": model.backend,
        "TARGET": MODELS_PATH,
        "CONFIG": f"{CONFIG_PATH}/{CONFIG_KEY}",
        "SOURCE": SOURCE_PATH if claim(model.uri) else None,
        "ALLOWED_SCHEMES": ",".join(defaults.fetch_allowed_schemes),
        "ALLOWED_HOSTS": ",".join(defaults.fetch_allowed_hosts) or None,
        "ALLOW_PRIVATE": "true" if defaults.fetch_allow_private_addresses else "false",
    }
    given = [(f"TRITONFLEET_FETCH_{name}", value) for name, value in variables.items() if value is not None]
    return [*given, ("HOME", HOME_PATH)]
