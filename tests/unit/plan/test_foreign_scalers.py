"""Other autoscalers: welcome where they are asked for, named and overruled where they are not."""

from tests.unit.plan.verdicts import SCALED, SLO, VERDICT, says
from tritonfleet.api import names
from tritonfleet.plan.world import ChildId


def scaler(kind, name, owner=None):
    references = [{"kind": "ScaledObject", "name": owner}] if owner else []
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "hpa", "namespace": "shop", "ownerReferences": references},
        "spec": {"scaleTargetRef": {"kind": kind, "name": name}},
    }


def test_another_scaler_has_its_way_through_replicas(world):
    world.edit(slo=SLO, replicas=3, autoscaling={"mode": "External"})
    world.scaling = says(9)
    world.settle()
    assert world.replicas() == [3]
    assert world.condition("ScalingActive") == (
        "Unknown",
        "ExternalScaler",
        "`replicas` is left to another scaler, but none was found",
    )
    world.scalers = [scaler("ModelDeployment", "m")]
    world.settle()
    assert world.condition("ScalingActive")[2] == "HorizontalPodAutoscaler 'hpa' writes `replicas`"
    assert world.condition("SLOMet")[:2] == ("True", "Met")
    assert "desiredReplicas" not in world.status["autoscaling"]


def test_a_scaler_on_our_deployment_is_reported_and_overruled(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    name = names.revision_name("m", world.revisions()[0])
    world.scalers = [scaler("Deployment", name, owner="keda")]
    world.children[ChildId("Deployment", name)]["spec"]["replicas"] = 9
    world.settle()
    assert world.replicas() == [4]
    assert world.condition("ScalingActive") == (
        "False",
        "ForeignScaler",
        (
            f"HorizontalPodAutoscaler 'hpa' of ScaledObject 'keda' scales Deployment '{name}', "
            "which the operator manages: delete it"
        ),
    )
    assert world.events[-1].startswith("Warning ForeignScaler: HorizontalPodAutoscaler 'hpa'")
    world.scalers = []
    world.settle()
    assert world.condition("ScalingActive")[:2] == ("True", "Demand")


def test_a_scaler_on_a_model_with_an_slo_is_reported_with_the_remedy(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.scalers = [scaler("ModelDeployment", "m")]
    world.settle()
    assert world.condition("ScalingActive") == (
        "False",
        "ForeignScaler",
        (
            "HorizontalPodAutoscaler 'hpa' scales this ModelDeployment, which the operator scales by its SLO: "
            "delete it, or set `autoscaling.mode` to External"
        ),
    )


def test_a_scaler_on_the_deployment_of_a_fixed_model_is_pointed_at_the_model(world):
    world.settle()
    world.scalers = [scaler("Deployment", names.revision_name("m", world.revisions()[0]))]
    world.settle()
    assert world.condition("ScalingActive")[2].endswith(
        "point it at ModelDeployment 'm' and set `autoscaling.mode` to External"
    )


def test_a_scaler_on_another_deployment_is_ignored(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.scalers = [scaler("Deployment", "m-0123456789")]
    world.settle()
    assert world.condition("ScalingActive")[0] == "True"
