"""Server flags, environment variables and annotations that are reserved for the operator."""

from typing import Final

from tritonfleet.api.base import LABEL_KEY_RULE, rule

OWNED_FLAGS: Final = (
    "--allow-grpc",
    "--allow-http",
    "--allow-metrics",
    "--exit-on-error",
    "--exit-timeout-secs",
    "--grpc-address",
    "--grpc-max-connection-age",
    "--grpc-port",
    "--grpc-restricted-protocol",
    "--help",
    "--http-address",
    "--http-port",
    "--http-restricted-api",
    "--load-model",
    "--log-error",
    "--log-file",
    "--metrics-address",
    "--metrics-port",
    "--model-config-name",
    "--model-control-mode",
    "--model-namespacing",
    "--model-repository",
    "--model-store",
    "--repository-poll-secs",
    "--reuse-grpc-port",
    "--reuse-http-port",
    "--strict-readiness",
)
"""Flags of tritonserver that the operator sets or relies on."""

OWNED_ENVIRONMENT: Final = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HOME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NVIDIA_VISIBLE_DEVICES",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "TMPDIR",
)
"""Environment variables that change which code or which GPUs the server uses."""

RESERVED_ANNOTATION_PREFIXES: Final = ("tritonfleet.dev/", "argocd.argoproj.io/", "kubectl.kubernetes.io/")
"""Annotations that tools use to track ownership; on a child they would make a tool adopt or prune it."""

ANNOTATION_RULES: Final = (
    LABEL_KEY_RULE,
    rule(
        "!self.exists(key, "
        + " || ".join(f"key.startsWith('{prefix}')" for prefix in RESERVED_ANNOTATION_PREFIXES)
        + ")",
        "must not have keys that start with " + ", ".join(RESERVED_ANNOTATION_PREFIXES),
    ),
)

POD_LABEL_RULE: Final = rule(
    "!self.exists(key, key.startsWith('tritonfleet.dev/') || key == 'app.kubernetes.io/managed-by')",
    "must not have keys that the operator sets itself: tritonfleet.dev/* and app.kubernetes.io/managed-by",
)
