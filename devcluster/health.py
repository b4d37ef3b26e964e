"""Whether each process of the cluster says that it is well."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable

from devcluster.processes import Registry
from devcluster.slots import Slot

_CHECKS = {
    "kube-apiserver": "https://{address}:6443/readyz",
    "kube-controller-manager": "https://{address}:10257/healthz",
    "kube-scheduler": "https://{address}:10259/healthz",
    "kubelet": "http://{address}:10248/healthz",
    "kube-proxy": "http://{address}:10256/healthz",
}


def complaints(slot: Slot, registry: Registry, names: Iterable[str]) -> dict[str, str]:
    """Name of each process that is not well -> what is wrong; empty when all is."""
    found = {}
    for name in names:
        if registry.find(name) is None:
            found[name] = "not running"
        elif name in _CHECKS:
            wrong = _ask(_CHECKS[name].format(address=slot.address))
            if wrong:
                found[name] = wrong
    return found


def _ask(url: str) -> str:
    # Some serve these pages with a certificate they made for themselves.
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    try:
        opener.open(url, timeout=3).close()
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}: {error.read().decode(errors='replace')[:200]}"
    except OSError as error:
        return f"{url}: {error}"
    return ""
