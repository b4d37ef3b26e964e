"""Other autoscalers that reach for what is ours."""

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.world import Manifest, Observed


def foreign_scaler(deployment: ModelDeployment, observed: Observed) -> str | None:
    """Say which HorizontalPodAutoscaler writes what is not its to write, and what to do; None if there is none.

    Our Deployments are never theirs; the ModelDeployment itself is, unless the operator works out its replicas.
    """
    for scaler in observed.scalers:
        target = scaler["spec"]["scaleTargetRef"]
        if target["kind"] == "Deployment":
            if any(child == ("Deployment", target["name"]) for child in observed.children):
                return (
                    f"{_named(scaler)} scales Deployment '{target['name']}', whose replicas the operator writes: "
                    + ("delete it" if deployment.spec.scaled_by_us else _point_at(deployment))
                )
        elif deployment.spec.scaled_by_us:
            return (
                f"{_named(scaler)} scales this ModelDeployment, whose replicas follow its SLO: "
                "delete it, or set `autoscaling.mode` to External"
            )
    return None


def external_scaler(observed: Observed) -> str | None:
    """Name the HorizontalPodAutoscaler that writes `replicas` of the ModelDeployment itself, if there is one."""
    ours = (scaler for scaler in observed.scalers if scaler["spec"]["scaleTargetRef"]["kind"] == names.KIND)
    return next((_named(scaler) for scaler in ours), None)


def _point_at(deployment: ModelDeployment) -> str:
    return f"point it at {names.KIND} '{deployment.metadata.name}' and set `autoscaling.mode` to External"


def _named(scaler: Manifest) -> str:
    metadata = scaler["metadata"]
    made_by = next((f" of {each['kind']} '{each['name']}'" for each in metadata.get("ownerReferences") or ()), "")
    return f"HorizontalPodAutoscaler '{metadata['name']}'{made_by}"
