"""The `tritonfleet` command.

`main()` runs one subcommand, and `plugin()` does as `kubectl tritonfleet`. explain, rollout, golden and simulate have a
package each; `operator` is operate.py, and `fetch` is `tritonfleet.fetch`.
"""

from tritonfleet.cli.main import main, plugin

__all__ = [
    "main",
    "plugin",
]
