"""The Go programs: pinned modules under go/, built once into the cache."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import follow, run
from devcluster.host import go_binary
from devcluster.paths import HERE, cache_dir, content_key, locked
from devcluster.progress import Progress, Step

_VERSION = "k8s.io/component-base/version"
_KUBERNETES = "k8s.io/kubernetes/cmd"
# The machine's settings change nothing: no other toolchain is fetched, and go.sum is never written. The compiler has
# memory to spare here, and collects garbage less often for it.
ENV = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-buildvcs=false -mod=readonly",
    "GOGC": "300",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}


@dataclass(frozen=True, slots=True)
class Module:
    """A folder under go/ and the programs built from it (name -> import path)."""

    folder: str
    programs: dict[str, str]
    ldflags: str = ""
    tags: str = ""

    @property
    def source(self) -> Path:
        """Where its go.mod lies."""
        return HERE / "go" / self.folder

    @property
    def bin_dir(self) -> Path:
        """Where its programs are kept: another folder for any other source or flag."""
        key = content_key(self.source, repr(sorted(self.programs.items())), self.ldflags, self.tags)
        return cache_dir() / "bin" / f"{self.folder}-{key}"

    def path(self, program: str) -> Path:
        """Where one program is once `build` has run."""
        return self.bin_dir / program


KUBERNETES = Module(
    "kubernetes",
    {
        name: f"{_KUBERNETES}/{name}"
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        )
    },
    ldflags=f"-X {_VERSION}.gitVersion=v1.36.3 -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36",
)
ETCD = Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"})
HELM = Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"})
PAUSE = Module("pause", {"pause": "tritonfleet.dev/devcluster/pause"})
VERSITYGW = Module("versitygw", {"versitygw": "github.com/versity/versitygw/cmd/versitygw"})
FAKE_GCS = Module("fake-gcs-server", {"fake-gcs-server": "github.com/fsouza/fake-gcs-server"})
DISTRIBUTION = Module("distribution", {"registry": "github.com/distribution/distribution/v3/cmd/registry"})
KWOK = Module("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"})
KUBECONFORM = Module("kubeconform", {"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"})
K6 = Module("k6", {"k6": "go.k6.io/k6"})
COREDNS = Module("coredns", {"coredns": "tritonfleet.dev/devcluster/coredns"})
PROMETHEUS = Module(
    "prometheus",
    {"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
    tags="remove_all_sd,enable_kubernetes_sd",
)
KSTATUS = Module("kstatus", {"kstatus": "tritonfleet.dev/devcluster/kstatus"})
GATEWAY = Module("envoy-gateway", {"envoy-gateway": "github.com/envoyproxy/gateway/cmd/envoy-gateway"})
MODULES = (
    KUBERNETES, ETCD, HELM, PAUSE, VERSITYGW, FAKE_GCS, DISTRIBUTION, KWOK, KUBECONFORM, K6, COREDNS, PROMETHEUS,
    GATEWAY, KSTATUS,
)  # fmt: skip


def build(module: Module, progress: Progress) -> Path:
    """Build what the cache does not hold; returns the folder of the programs.

    Raises CommandFailed with the compiler's words. Two checkouts building at once wait for each other.
    """
    if is_built(module):
        return module.bin_dir
    with locked(cache_dir() / "bin" / f"{module.folder}.lock"):
        if is_built(module):
            return module.bin_dir
        go = go_binary(progress)
        with progress.step(f"building {', '.join(module.programs)}") as step:
            _compile(go, module, step)
    return module.bin_dir


def dependency(module: Module, path: str, progress: Progress) -> Path:
    """Return the folder with the source of a Go module that `module` is built with, downloaded if need be."""
    go = go_binary(progress)
    with progress.step(f"getting {path}"):
        answer = run(go, "mod", "download", "-json", path, env=ENV, cwd=module.source).stdout
    return Path(json.loads(answer)["Dir"])


def is_built(module: Module) -> bool:
    """Whether the cache holds all its programs."""
    return all(module.path(program).exists() for program in module.programs)


def _compile(go: Path, module: Module, step: Step) -> None:
    partial = module.bin_dir.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    packages = list(module.programs.values())
    step.note = "fetching modules"
    # `go list` downloads what the programs need, and counts it.
    total = len(run(go, "list", "-deps", *_tags(module), *packages, env=ENV, cwd=module.source).stdout.split())
    compiled = 0
    step.note = f"compiling and linking {total} packages, less those compiled before"

    def count(_line: str) -> None:
        nonlocal compiled
        compiled += 1
        step.note = f"compiled {compiled} of at most {total} packages"

    # One command for all programs: one links while the next is compiled. Several get the names of their folders.
    target = partial if len(packages) > 1 else partial / next(iter(module.programs))
    follow(
        go, "build", "-v", "-trimpath", *_tags(module), "-ldflags", f"-s -w {module.ldflags}".strip(),
        "-o", target, *packages,
        on_line=count, env=ENV, cwd=module.source,
    )  # fmt: skip
    partial.rename(module.bin_dir)


def _tags(module: Module) -> list[str]:
    return ["-tags", module.tags] if module.tags else []
