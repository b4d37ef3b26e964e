"""`tritonfleet operator`: wires the operator and runs it until it is told to stop."""

import asyncio
import logging

from tritonfleet import settings as operator_settings
from tritonfleet.adapters.cluster import Cluster, load_configuration
from tritonfleet.cli.terminal import complain
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.runtime import Operator, Telemetry, configure_logging
from tritonfleet.settings import Settings

log = logging.getLogger(__name__)


def operate() -> int:
    """Run the operator; 0 after an orderly stop, 1 if it could not go on, 2 if its settings are wrong."""
    try:
        settings = operator_settings.from_environment()
    except ValueError as error:
        return complain("operator", error)
    configure_logging(settings.log_level)
    try:
        asyncio.run(run(settings))
    except Exception as error:
        # Everything that ends the operator ends here, and Kubernetes starts it anew.
        log.exception("the operator ended", extra={"reason": type(error).__name__})
        return 1
    return 0


async def run(settings: Settings) -> None:
    """Run one operator on the cluster that the environment points to."""
    telemetry = Telemetry()
    cluster = Cluster(await load_configuration(), telemetry.requested)
    try:
        await Operator(settings, cluster, telemetry, reconcile).run()
    finally:
        await cluster.close()
