"""The `tritonfleet` command, which is also `kubectl tritonfleet`.

`main()` reads the arguments and runs one subcommand; the options of all of them are declared here. Each subcommand
imports what it runs when it runs: `fetch` starts in every pod and needs no Kubernetes client, `simulate` and `tune`
alone need numpy, numba and matplotlib, and `--help` needs none of them. docs/reference/cli.md lists the subcommands.
"""

import os
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from tritonfleet.cli import arguments
from tritonfleet.cli.terminal import UsageError, report_error, require_extra, say

_Command = TypeVar("_Command", bound=Callable[..., int])

_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_DURATION: Final = arguments.Parsed("TIME", arguments.seconds)


def main(words: Sequence[str] | None = None, *, program: str = "tritonfleet") -> int:
    """Run one subcommand and return its exit status: 2 if it was called wrongly."""
    try:
        return tritonfleet.main(words, prog_name=program, standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as problem:
        say(problem.format_message(), error=True)
        return problem.exit_code
    except click.UsageError as problem:
        command = problem.ctx.command_path if problem.ctx is not None else program
        say(f"{command}: {_message(problem)}; see {command} --help", error=True)
        return problem.exit_code
    except click.Abort:
        say("", error=True)
        return 130


def plugin() -> int:
    """Run as `kubectl tritonfleet`."""
    return main(program="kubectl tritonfleet")


def _message(problem: click.UsageError) -> str:
    """Return what is wrong, as other errors say it: the option, and what would be right."""
    if isinstance(problem, click.BadParameter) and problem.param is not None and problem.message:
        return f"{max(problem.param.opts, key=len)}: {problem.message.rstrip('.')}"
    text = problem.format_message().rstrip(".")
    return text[:1].lower() + text[1:]


class _Commands(click.Group):
    """A group of subcommands, whose output may be cut off by its reader, such as `head`."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            sys.stdout = None
            return 0


def _target(command: _Command) -> _Command:
    """Add the parameters that name a ModelDeployment."""
    for add in (
        click.option("--kubeconfig", metavar="FILE", help="Default: $KUBECONFIG, else ~/.kube/config."),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig; default: the current one."),
        click.option("-n", "--namespace", metavar="NAME", help="Its namespace; default: that of the context."),
        click.argument("name", metavar="NAME"),
    ):
        command = add(command)
    return command


def _output(*formats: str) -> Callable[[_Command], _Command]:
    return click.option("-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True)


_watch = click.option("-w", "--watch", is_flag=True, help="Follow it, with graphs of the last minutes.")
_interval = click.option("--interval", type=_DURATION, default="2s", show_default=True, help="Refresh interval.")


def _refuse_together(*names: str) -> None:
    """Raise UsageError if more than one of these parameters was given."""
    context = click.get_current_context()
    given = [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if len(given) > 1:
        raise click.UsageError(f"--{given[0]} cannot be combined with --{given[1]}", context)


@click.group(cls=_Commands, context_settings=_SETTINGS)
@click.version_option(package_name="tritonfleet", message="%(prog)s %(version)s")
def tritonfleet() -> None:
    """Serve models on NVIDIA Triton in Kubernetes."""


@tritonfleet.command("explain")
@_target
@_output("text", "json")
@_watch
@_interval
def _explain(**options: Any) -> int:
    """Explain how many replicas a model has, and why."""
    from tritonfleet.cli.explain import run  # noqa: PLC0415

    _refuse_together("output", "watch")
    return run(SimpleNamespace(**options))


@tritonfleet.group(cls=_Commands)
def rollout() -> None:
    """Show and control a rollout."""


def _roll_out(action: str, options: dict[str, Any]) -> int:
    from tritonfleet.cli.rollout import run  # noqa: PLC0415

    return run(SimpleNamespace(action=action, **options))


@rollout.command("status")
@_target
@_output("text", "json", "yaml")
@_watch
@click.option("--wait", is_flag=True, help="Wait for the end: 0 promoted, 3 rolled back, 4 timed out.")
@click.option("--timeout", type=_DURATION, help="How long --wait waits; default: no limit.")
@_interval
def _status(**options: Any) -> int:
    """Show its phase, what it is waiting for, and what comes next."""
    _refuse_together("output", "watch", "wait")
    return _roll_out("status", options)


@rollout.command("history")
@_target
@_output("text", "json", "yaml")
def _history(**options: Any) -> int:
    """List the revisions and their outcomes."""
    return _roll_out("history", options)


@rollout.command("diff")
@_target
@click.argument("before", required=False, metavar="[FROM]")
@click.argument("after", required=False, metavar="[TO]")
def _diff(**options: Any) -> int:
    """Show the differences between two revisions.

    FROM is by default the stable revision, or the previous one; TO the canary, or stable.
    """
    return _roll_out("diff", options)


@rollout.command("undo")
@_target
@click.option("--to-revision", metavar="REVISION", help="Number, name or hash; default: the previous one.")
def _undo(**options: Any) -> int:
    """Go back to the previous revision, or an older one."""
    return _roll_out("undo", options)


def _request(action: str, summary: str) -> None:
    """Add a subcommand of `rollout` that requests something of the operator."""

    @rollout.command(action, help=summary)
    @_target
    def request(**options: Any) -> int:
        return _roll_out(action, options)


_request("pause", "Pause a rollout; a failing canary is still rolled back.")
_request("resume", "Resume a paused or held rollout.")
_request("approve", "Approve the step that is waiting.")
_request("promote", "Promote the canary to 100% now, without further analysis.")
_request("abort", "Roll back the canary and reject it.")
_request("retry", "Retry a rejected revision.")


@tritonfleet.group(cls=_Commands)
def golden() -> None:
    """Check a model against golden requests, or record new ones."""


def _run_golden(action: str, options: dict[str, Any]) -> int:
    from tritonfleet.cli.golden import run  # noqa: PLC0415

    return run(SimpleNamespace(action=action, **options))


def _server(command: _Command) -> _Command:
    """Add the parameters of a golden file and of the server it is for."""
    for add in (
        click.option(
            "--server",
            default="127.0.0.1:8001",
            show_default=True,
            metavar="HOST:PORT",
            help="Triton's gRPC address, such as that of kubectl port-forward service/MODEL 8001.",
        ),
        click.option("--key", default="golden.json", show_default=True, help="Key in the ConfigMap."),
        click.option(
            "-f", "--filename", required=True, metavar="FILE", help="golden.json, or a ConfigMap; - reads stdin."
        ),
        click.argument("model", metavar="MODEL"),
    ):
        command = add(command)
    return command


@golden.command("check")
@_server
def _check(**options: Any) -> int:
    """Send golden requests to MODEL and compare the responses."""
    return _run_golden("check", options)


@golden.command("record")
@_server
def _record(**options: Any) -> int:
    """Send requests to MODEL and print a golden file with the responses."""
    return _run_golden("record", options)


@tritonfleet.command("simulate")
@click.option(
    "-f", "--filename", required=True, metavar="FILE", help="Manifest with the ModelDeployment; - reads stdin."
)
@click.option(
    "--trace",
    required=True,
    metavar="FILE|NAME",
    help="CSV of request times or rates (gzip is fine), or the name of built-in traffic (see --trace list).",
)
@click.option(
    "--rate", type=arguments.Parsed("MEAN", arguments.rate), help="Scale the trace to this mean of requests per second."
)
@click.option("--duration", type=_DURATION, help="Use only the first part of the trace, such as 6h.")
@click.option("--seed", type=arguments.Parsed("N", arguments.seed), default="0", show_default=True, help="Random seed.")
@click.option(
    "--service",
    type=arguments.Parsed("ALPHA,BETA", arguments.service),
    help="A batch of b requests takes ALPHA + BETA*b, such as 4ms,0.6ms; by default ALPHA is 8% of the target and the"
    " largest batch takes 40% of it.",
)
@click.option(
    "--ready-time",
    type=_DURATION,
    default="60s",
    show_default=True,
    help="Median time from a pod's creation to ready; one in ten takes twice as long.",
)
@click.option(
    "--faults",
    type=arguments.Parsed("FAULT@TIME,...", arguments.names),
    default=(),
    help="Faults to inject (see --faults list).",
)
@click.option(
    "--scalers",
    type=arguments.Parsed("NAME,...", arguments.names),
    default=(),
    help="Scalers to compare with (see --scalers list); default: all, with their usual settings.",
)
@click.option("--plot", metavar="FILE", help="Plot the run as PNG, SVG or PDF, by the file's extension.")
@click.option("--html", metavar="FILE", help="Write a self-contained HTML report.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.option(
    "--jobs",
    type=arguments.Parsed("N", arguments.count),
    default=lambda: os.cpu_count() or 1,
    show_default="one per core",
    help="Scalers to simulate in parallel.",
)
def _simulate(**options: Any) -> int:
    """Replay traffic against a manifest's autoscaling, offline."""
    from tritonfleet.cli.simulate import run  # noqa: PLC0415

    return run(SimpleNamespace(**options))


@tritonfleet.command("tune")
@click.option("--kubeconfig", metavar="FILE", help="Default: $KUBECONFIG, else ~/.kube/config.")
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; default: the current one.")
@click.option("-n", "--namespace", metavar="NAME", help="Its namespace; default: that of the context.")
@click.argument("source", metavar="FILE|NAME")
@click.option("--server", metavar="URL", help="Try settings on this Triton, which must have explicit model control.")
@click.option("--requests", metavar="FILE", help="Requests to send: golden.json, or a ConfigMap.")
@click.option(
    "--shape",
    type=arguments.Parsed("INPUT:SIZE,...", arguments.shape),
    multiple=True,
    help="Shape of an input of variable size, without the batch; may be repeated.",
)
@click.option("--budget", type=_DURATION, default="10m", show_default=True, help="Time for trials.")
@click.option("--state", metavar="FILE", help="Where trials are kept, to go on later; default: NAME.tune.json.")
@click.option(
    "--max-batch-size",
    type=arguments.Parsed("N", arguments.count),
    default="32",
    show_default=True,
    help="Largest batch to try.",
)
@click.option(
    "--max-instances",
    type=arguments.Parsed("N", arguments.count),
    default="4",
    show_default=True,
    help="Most instances to try, on each GPU.",
)
@click.option("--rate", type=arguments.Parsed("RATE", arguments.rate), help="Say how many replicas this load takes.")
@click.option("--apply", is_flag=True, help="Patch the ModelDeployment, which starts a rollout.")
@click.option("--plot", metavar="FILE", help="Plot throughput against latency as PNG, SVG or PDF.")
@click.option("--html", metavar="FILE", help="Write a self-contained HTML report.")
@_output("text", "json")
def _tune(**options: Any) -> int:
    """Find the batching and the instances that carry the most load within the SLO, by trials.

    FILE needs --server. NAME is tried in a temporary pod beside its own, which gets no traffic.
    """
    try:
        require_extra("simulate", ("numpy", "numba", "matplotlib"))
    except UsageError as problem:
        return report_error("tune", problem)
    from tritonfleet.cli.tune import tune  # noqa: PLC0415

    return tune(SimpleNamespace(**options))


_files = click.argument("files", nargs=-1, required=True, metavar="FILE...")


@tritonfleet.command("validate")
@_files
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "sarif", "github"]), default="text", show_default=True
)
@click.option("--strict", is_flag=True, help="Let warnings count as errors.")
def _validate(**options: Any) -> int:
    """Check manifests as a cluster would, offline.

    FILE is a file with any objects, such as the output of Helm or Kustomize, a folder, or - for standard input.
    """
    from tritonfleet.cli.validate import validate  # noqa: PLC0415

    return validate(SimpleNamespace(**options))


@tritonfleet.command("render")
@_files
@_output("yaml", "json")
@click.option("--config", is_flag=True, help="Print Triton's configuration of each model instead.")
@click.option(
    "--effective",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Print what Triton would load with the model's files in FOLDER, and where each value comes from.",
)
def _render(**options: Any) -> int:
    """Print the objects that the operator makes of manifests, offline."""
    from tritonfleet.cli.render import render  # noqa: PLC0415

    _refuse_together("config", "effective")
    return render(SimpleNamespace(**options))


@tritonfleet.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
def _diff_files(**options: Any) -> int:
    """Show what a change of a manifest does, and which fields start new pods, offline.

    Exit status as of kubectl diff: 0 nothing changes, 1 something does, 2 wrong input.
    """
    from tritonfleet.cli.render import diff  # noqa: PLC0415

    return diff(SimpleNamespace(**options))


@tritonfleet.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--uri", metavar="URI", help="Where the model folder, or the repository, has been uploaded.")
@click.option("--model", multiple=True, metavar="NAME", help="Model in the repository of a server; may be repeated.")
def _import(**options: Any) -> int:
    """Print ModelDeployments for models that are served by other means.

    SOURCE is a Triton model folder, a repository of them, a config.pbtxt, or a file with KServe's InferenceServices or
    Deployments that run tritonserver; - reads such a file from standard input.
    """
    from tritonfleet.cli.importing import import_all  # noqa: PLC0415

    return import_all(SimpleNamespace(**options))


@tritonfleet.command("operator")
def _operator() -> int:
    """Run the operator, configured by TRITONFLEET_* variables."""
    from tritonfleet.runtime import operate  # noqa: PLC0415

    return operate()


@tritonfleet.command("fetch")
def _fetch() -> int:
    """Download a model into a pod, as its init container does."""
    from tritonfleet.fetch import main as run  # noqa: PLC0415

    return run()
