"""The autoscalers that people run today, each after its upstream source, to be measured against.

Each is a `sim.Scaler`: Kubernetes' HPA, KEDA's Prometheus trigger, Knative's KPA and NVIDIA Dynamo's planner.
`tritonfleet simulate` and the benchmarks run them on the same requests as our own autoscaler.
"""

from tritonfleet.sim.baselines.dynamo import EngineModel, KalmanPredictor, Planner, Profile
from tritonfleet.sim.baselines.hpa import (
    DEFAULT_BEHAVIOR,
    Behavior,
    ExternalMetric,
    Governor,
    HorizontalPodAutoscaler,
    NoMetric,
    Percent,
    Pods,
    PodsMetric,
    ScalingRules,
    Select,
    replicas_from_average,
    replicas_from_pods,
    replicas_from_value,
)
from tritonfleet.sim.baselines.keda import Fallback, FallbackBehavior, ScaledObject
from tritonfleet.sim.baselines.kpa import Decider, PodAutoscaler

__all__ = [
    "DEFAULT_BEHAVIOR",
    "Behavior",
    "Decider",
    "EngineModel",
    "ExternalMetric",
    "Fallback",
    "FallbackBehavior",
    "Governor",
    "HorizontalPodAutoscaler",
    "KalmanPredictor",
    "NoMetric",
    "Percent",
    "Planner",
    "PodAutoscaler",
    "Pods",
    "PodsMetric",
    "Profile",
    "ScaledObject",
    "ScalingRules",
    "Select",
    "replicas_from_average",
    "replicas_from_pods",
    "replicas_from_value",
]
