"""The container in front of Triton's HTTP port: it lets clients go where Triton would cut them off."""

from typing import Final

from tritonfleet.plan.children.lifecycle import HTTP_AGE_SECONDS, IDLE_SECONDS, PROXY_PRE_STOP_SECONDS, Lifecycle
from tritonfleet.plan.children.ports import PORTS, TRITON_HTTP_PORT
from tritonfleet.plan.children.volumes import CONFIG_PATH, mounts
from tritonfleet.plan.world import Defaults, Manifest

PROXY: Final = "http"
PROXY_KEY: Final = "haproxy.cfg"
"""Where the revision's ConfigMap holds the proxy's configuration."""

_COMMAND: Final = ("/usr/bin/dumb-init", "--single-child", "--rewrite", "15:10", "--", "/usr/sbin/haproxy", "-db", "-f")
"""HAProxy stops at once on SIGTERM (15), which is all that Kubernetes sends, and softly on SIGUSR1 (10)."""


def proxy_config(lifecycle: Lifecycle) -> str:
    """Return the configuration of HAProxy.

    Between requests a connection lives IDLE_SECONDS; during a request only its peers end it, since a model
    may think for hours. One older than HTTP_AGE_SECONDS ends with its next answer, which says `Connection: close`:
    clients that keep theirs busy would otherwise never send anything to pods that started later, and an
    overloaded pod would stay so however many come to help. When the proxy stops it takes no new connection and says
    the same in the next answer on each open one, so that a client never meets a connection that was closed under it.
    """
    return f"""\
global
  maxconn 16384
  nbthread 2
  no strict-limits
  hard-stop-after {lifecycle.proxy_drain}s

defaults
  mode http
  timeout connect 5s
  timeout client 24d
  timeout server 24d
  timeout client-fin 30s
  timeout http-request {IDLE_SECONDS}s
  timeout http-keep-alive {IDLE_SECONDS}s
  option idle-close-on-response
  option http-ignore-probes
  option http-no-delay
  option abortonclose
  option clitcpka
  http-reuse safe
  retries 2
  retry-on conn-failure

listen http
  bind :{PORTS["http"]}
  tcp-request session set-var(sess.opened) date
  http-after-response set-header Connection close if {{ date,sub(sess.opened) ge {HTTP_AGE_SECONDS} }}
  server triton 127.0.0.1:{TRITON_HTTP_PORT}
"""


def proxy_container(model_name: str, defaults: Defaults, security: Manifest) -> Manifest:
    """Return the container; readiness is asked of it because its way is the one that clients take."""
    return {
        "name": PROXY,
        "image": defaults.fetch_image,
        "imagePullPolicy": defaults.fetch_image_pull_policy,
        "command": [*_COMMAND, f"{CONFIG_PATH}/{PROXY_KEY}"],
        "ports": [{"name": "http", "containerPort": PORTS["http"], "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": mounts("config"),
        "lifecycle": {"preStop": {"sleep": {"seconds": PROXY_PRE_STOP_SECONDS}}},
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "readinessProbe": {
            "httpGet": {"path": f"/v2/models/{model_name}/ready", "port": "http"},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        },
    }
