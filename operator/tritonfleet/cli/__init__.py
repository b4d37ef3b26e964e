"""The `tritonfleet` command.

`main()` runs one subcommand, and `plugin()` does as `kubectl tritonfleet`. Each subcommand is a package
or a module here, but for `operator`, which is `tritonfleet.runtime`, and `fetch`, which is `tritonfleet.fetch`.
"""

from tritonfleet.cli.main import main, plugin

__all__ = [
    "main",
    "plugin",
]
