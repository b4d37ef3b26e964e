"""The autoscalers that people run today, each after its upstream source, to be measured against.

Each is a `sim.Scaler`: Kubernetes' HPA, KEDA's Prometheus trigger, Knative's KPA and NVIDIA Dynamo's planner.
`tritonfleet simulate` and the benchmarks run them on the same requests as our own autoscaler.

Example: an HPA with a target of 20 requests/s per pod sees 75 requests/s from 3 pods, a ratio of 75 / (3 * 20) = 1.25.
That is beyond its tolerance of 0.1, so that it asks for ceil(75 / 20) = 4 pods, at once; when the rate falls to 40, the
highest recommendation of the last five minutes keeps all four that long.

Each keeps the product's own terms and defaults, so that its settings can be read off a manifest of that product; what
they stand for is said beside each. What the simulator does not have, such as a custom metrics API, is left out.

Import from here and not from the modules inside.
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
