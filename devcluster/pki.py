"""Keys, certificates and kubeconfigs of the control plane."""

import json
import shutil
from pathlib import Path

from devcluster.commands import run
from devcluster.paths import State
from devcluster.slots import Slot

CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kubelet": "/O=system:nodes/CN=system:node:node-0",
    "kube-proxy": "/CN=system:kube-proxy",
}
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "365")


def ensure(state: State, slot: Slot) -> None:
    """Write every key, certificate and kubeconfig, unless they are there for these very addresses."""
    mark = state.pki / "made-for"
    wanted = f"{slot.server} {slot.service_address(1)}"
    if mark.exists() and mark.read_text() == wanted:
        return
    shutil.rmtree(state.pki, ignore_errors=True)
    state.pki.mkdir(parents=True, mode=0o700)
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-out", state.pki / "service-accounts.key")  # fmt: skip
    run("openssl", "pkey", "-in", state.pki / "service-accounts.key", "-pubout",
        "-out", state.pki / "service-accounts.pub")  # fmt: skip
    run("openssl", "req", "-x509", *_NEW_KEY, "-subj", "/CN=tritonfleet-devcluster",
        "-keyout", state.pki / "ca.key", "-out", state.pki / "ca.crt")  # fmt: skip
    names = ["localhost", *(f"kubernetes{tail}" for tail in ("", ".default", ".default.svc"))]
    names.append("kubernetes.default.svc.cluster.local")
    addresses = ["127.0.0.1", slot.address, slot.service_address(1)]
    alternatives = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
    _sign(state, "kube-apiserver", "/CN=kube-apiserver", ",".join(alternatives))
    for name, subject in CLIENTS.items():
        _sign(state, name, subject)
        path = state.root / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(_kubeconfig(state, slot, name), indent=1))
    mark.write_text(wanted)


def _sign(state: State, name: str, subject: str, alternatives: str = "") -> None:
    usage = "serverAuth" if alternatives else "clientAuth"
    extensions = ["-addext", f"extendedKeyUsage={usage}", "-addext", "basicConstraints=critical,CA:FALSE"]
    if alternatives:
        extensions += ["-addext", f"subjectAltName={alternatives}"]
    run("openssl", "req", "-x509", "-CA", state.pki / "ca.crt", "-CAkey", state.pki / "ca.key", *_NEW_KEY,
        "-subj", subject, *extensions,
        "-keyout", state.pki / f"{name}.key", "-out", state.pki / f"{name}.crt")  # fmt: skip


def _kubeconfig(state: State, slot: Slot, name: str) -> dict[str, object]:
    def file(suffix: str) -> str:
        return str(Path(state.pki) / suffix)

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "devcluster", "cluster": {"server": slot.server, "certificate-authority": file("ca.crt")}}
        ],
        "users": [
            {
                "name": name,
                "user": {"client-certificate": file(f"{name}.crt"), "client-key": file(f"{name}.key")},
            }
        ],
        "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": name}}],
        "current-context": "devcluster",
    }
