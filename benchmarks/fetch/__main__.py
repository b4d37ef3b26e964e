"""How fast the fetch step is, beside plain clients, from a real S3 server on loopback.

`make bench-fetch`. One large file and many small ones, over http and https, each client in turn.
"""

import argparse
import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.report import Bar, Row, Table, report
from devcluster.gobuild import VERSITYGW, build
from devcluster.progress import Progress

NOTES = (Path(__file__).parent / "notes.md").read_text()
BUCKET = "models"
MODELS = {"one": "one file of 1 GiB", "many": "2,000 files of 20 kB"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIABENCHMARKS00", "AWS_SECRET_ACCESS_KEY": "benchmarks", "AWS_REGION": "us-east-1"}
FETCH = "fetch step"
CHECKED = "obstore, then SHA-256"
SHARE = 0.85
MEMORY_MIB = 150.0
SMALL_BYTES = 20_000


@dataclass(frozen=True, slots=True)
class Server:
    """Where the bucket is, and what clients must trust."""

    scheme: str
    endpoint: str
    certificate: Path | None

    def environment(self) -> dict[str, str]:
        """Return what the keys of a Secret would be."""
        trusted = {"CA_CERTIFICATE": self.certificate.read_text()} if self.certificate else {}
        return {**KEYS, "AWS_ENDPOINT_URL": self.endpoint, **trusted}


@dataclass(frozen=True, slots=True)
class Run:
    """One download by one client."""

    seconds: float
    cpu_seconds: float
    memory_mib: float


def main() -> None:
    """Measure each client and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="for 2.1 GiB; not a slow disk")  # noqa: S108
    arguments = parser.parse_args()
    runs: dict[tuple[str, str, str], list[Run]] = {}
    load = f"Load of the machine before: {os.getloadavg()[0]:.1f} processes."
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        _write_models(folder / "root" / BUCKET)
        for scheme in ("http", "https"):
            with _serving(folder, scheme) as server:
                for _ in range(arguments.rounds):
                    for model in MODELS:
                        for client, (command, environment) in _clients(server, model, folder).items():
                            runs.setdefault((scheme, model, client), []).append(_measured(command, environment, folder))
    table = Table("Downloads, medians", [_row(key, found) for key, found in runs.items()])
    report("fetch", [table], _bars(runs), f"{load}\n\n{NOTES}")


def _write_models(bucket: Path) -> None:
    dice = random.Random(0)  # noqa: S311 - no secret
    for model in MODELS:
        (bucket / model).mkdir(parents=True)
    with (bucket / "one" / "model.onnx").open("wb") as file:
        for _ in range(64):
            file.write(dice.randbytes(16 * 1024 * 1024))
    for number in range(2000):
        name = f"weights-{number}" if number else "model.onnx"
        (bucket / "many" / name).write_bytes(dice.randbytes(SMALL_BYTES))


@contextlib.contextmanager
def _serving(folder: Path, scheme: str) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    certificate, key = (folder / "server.pem", folder / "server.key") if scheme == "https" else (None, None)
    if certificate and key:
        names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        made = ("openssl", "req", "-x509", *kind, *names, "-addext", "basicConstraints=critical,CA:FALSE")
        subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ("--cert", certificate, "--key", key) if certificate and key else ()
    program = build(VERSITYGW, Progress()) / "versitygw"
    login = ("--access", KEYS["AWS_ACCESS_KEY_ID"], "--secret", KEYS["AWS_SECRET_ACCESS_KEY"])
    command = (
        program,
        *login,
        "--port",
        f"127.0.0.1:{port}",
        *tls,
        "--keep-alive",
        "--quiet",
        "posix",
        "--nometa",
        folder / "root",
    )
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)) and server.poll() is None:
                time.sleep(0.05)
            yield Server(scheme, f"{scheme}://127.0.0.1:{port}", certificate)
        finally:
            server.terminate()


def _clients(server: Server, model: str, folder: Path) -> dict[str, tuple[Sequence[str], Mapping[str, str]]]:
    """Return each client's command and environment; all write below `folder`/out."""
    out, environment = folder / "out", {**os.environ, **server.environment()}
    (folder / "overlay").write_text("")
    fetch = environment | {
        "TRITONFLEET_FETCH_URI": f"s3://{BUCKET}/{model}",
        "TRITONFLEET_FETCH_MODEL": "m",
        "TRITONFLEET_FETCH_TARGET": str(out),
        "TRITONFLEET_FETCH_CONFIG": str(folder / "overlay"),
        "TRITONFLEET_FETCH_ALLOW_PRIVATE": "true",
    }
    step = (sys.executable, "-c", "import sys; from tritonfleet.fetch import main; sys.exit(main())")
    plain = (sys.executable, "-m", "benchmarks.fetch.plain", BUCKET, model, str(out))
    files = sorted((folder / "root" / BUCKET / model).iterdir())
    urls = "".join(
        f'url="{server.endpoint}/{BUCKET}/{model}/{file.name}"\noutput="{out / file.name}"\n' for file in files
    )
    (folder / f"curl-{model}").write_text(urls)
    login = ("--aws-sigv4", "aws:amz:us-east-1:s3", "--user", ":".join(list(KEYS.values())[:2]))
    unsigned = ("--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD")
    trusted = ("--cacert", str(server.certificate)) if server.certificate else ()
    at_once = ("--parallel", "--parallel-max", "16") if len(files) > 1 else ()
    curl = (
        "curl",
        "--silent",
        "--fail",
        *login,
        *unsigned,
        *trusted,
        *at_once,
        "--config",
        str(folder / f"curl-{model}"),
    )
    return {
        FETCH: (step, fetch),
        "obstore": (plain, environment),
        CHECKED: ((*plain, "--check"), environment),
        "curl": (curl, environment),
    }


def _measured(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Run:
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    status, memory = 0, 0
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        memory = _most_memory(process.pid) or memory
        time.sleep(0.01)
    _, status, used = ended
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return Run(seconds, used.ru_utime + used.ru_stime, memory / 1024)


def _most_memory(process: int) -> int:
    """Return the most memory that a process has had so far, in KiB; 0 if it has ended."""
    # Not that of rusage: it counts what the process shared with this one before it started its program.
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def _row(key: tuple[str, str, str], runs: Sequence[Run]) -> Row:
    scheme, model, client = key
    return {
        "model": MODELS[model],
        "over": scheme,
        "client": client,
        "s": median(run.seconds for run in runs),
        "fastest s": min(run.seconds for run in runs),
        "CPU s": median(run.cpu_seconds for run in runs),
        "memory MiB": max(run.memory_mib for run in runs),
    }


def _bars(runs: Mapping[tuple[str, str, str], Sequence[Run]]) -> list[Bar]:
    found = []
    for scheme in ("http", "https"):
        for model, words in MODELS.items():
            times = {
                key[2]: median(run.seconds for run in each) for key, each in runs.items() if key[:2] == (scheme, model)
            }
            ours = times.pop(FETCH)
            of = f"{words}, {scheme}: time of the fetch step"
            found.append(Bar(f"{of} by that of the fastest", ours / min(times.values()), "", 1 / SHARE))
            found.append(Bar(f"{of} by that of obstore with SHA-256", ours / times[CHECKED], "", 1 / SHARE))
    memory = max(run.memory_mib for key, each in runs.items() if key[2] == FETCH for run in each)
    return [*found, Bar("memory of the fetch step", memory, "MiB", MEMORY_MIB)]


if __name__ == "__main__":
    main()
