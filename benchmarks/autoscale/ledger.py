"""All scores of a bench, averaged over seeds and set side by side."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.autoscale.front import Point, Price, price
from benchmarks.autoscale.runs import CLAIRVOYANT, Score

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Mean:
    """One contender on one scene, averaged over seeds."""

    family: str
    contender: str
    gpu_hours: float
    miss: float
    events: float
    flips: float
    minutes_over: float
    minutes_over_after_fault: float
    downs_in_blackout: int
    """The most of any seed."""

    @classmethod
    def of(cls, scores: Sequence[Score]) -> "Mean":
        """Average the seeds of one contender."""
        return cls(
            scores[0].family,
            scores[0].contender,
            fmean(score.gpu_hours for score in scores),
            fmean(score.miss for score in scores),
            fmean(score.events for score in scores),
            fmean(score.flips for score in scores),
            fmean(score.minutes_over for score in scores),
            fmean(score.minutes_over_after_fault for score in scores),
            max(score.downs_in_blackout for score in scores),
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours against the best settings of some families, at the attainment that ours had."""

    price: Price
    gpu_ratio: float
    """GPU-hours of ours over those of the rival: below 1 ours is cheaper."""
    events_ratio: float
    """Scale events of ours over those of the calmer of the rival's settings on either side."""


class Ledger:
    """Scores by scene and contender."""

    def __init__(self, scores: Iterable[Score]) -> None:
        grouped: dict[str, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
        for score in scores:
            grouped[score.scene][score.contender].append(score)
        self._means: Mapping[str, Mapping[str, Mean]] = {
            scene: {name: Mean.of(each) for name, each in contenders.items()} for scene, contenders in grouped.items()
        }

    def on(self, scene: str) -> Mapping[str, Mean]:
        """Return every contender's mean on a scene."""
        return self._means[scene]

    def ours(self, scene: str) -> Mean:
        """Return how ours did."""
        return self._means[scene][OURS]

    def over_clairvoyant(self, scene: str, contender: str = OURS) -> float:
        """Return GPU-hours as a multiple of the clairvoyant's."""
        means = self._means[scene]
        return means[contender].gpu_hours / means[CLAIRVOYANT].gpu_hours

    def knows(self, scene: str, families: Sequence[str]) -> bool:
        """Whether any of some families played on a scene."""
        return any(mean.family in families for mean in self._means[scene].values())

    def against(self, scene: str, families: Sequence[str]) -> Comparison:
        """Compare ours with the common front of some families."""
        ours = self.ours(scene)
        rivals = {name: mean for name, mean in self._means[scene].items() if mean.family in families}
        cost = price([Point(mean.gpu_hours, mean.miss, name) for name, mean in rivals.items()], ours.miss)
        calmest = min(rivals[name].events for name in cost.label.split(".."))
        return Comparison(cost, ours.gpu_hours / cost.gpu_hours, ours.events / max(calmest, 1.0))
