"""What is promised of a verdict: its accuracy, its calibration and its set.

All three are found out on virtual recordings of organisms whose rule is known, by classifiers that
did not see them: of whole families of networks where the cohort has enough, since a brain is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrplan.classifiers._search import best_temperature
from lrplan.classifiers.calibrated import Calibrated
from lrplan.measure.trajectories import Trajectories
from lrplan.randomness import Streams
from lrplan.tell.auc import auc_estimate
from lrplan.tell.combine import Probabilities
from lrplan.tell.held_out import LEAST_FAMILIES, Condition, Findings
from lrplan.tell.intervals import Bootstrap, Interval
from lrplan.tell.unseen import Unseen, cross_predict, within_known

EXCLUDED_AT = 0.05
FAMILY, KNOWN = "held-out family", "known"


@dataclass(frozen=True)
class Promise:
    """What a verdict on such a recording is worth.

    Parameters
    ----------
    conditions : {"held-out family", "known"}
        What the figures hold for: families of networks that no classifier saw, if the cohort has
        at least three with all the rules, or conditions that were seen.
    accuracy, auc : Interval
        Balanced accuracy, and area under the curve, under these conditions.
    known : Interval
        Balanced accuracy under known conditions.
    architecture : Interval or None
        Balanced accuracy on architectures that were not seen, where no family could be held out.
    families : list of str
        Those that were held out.
    alone, together : float
        Temperatures of the probabilities of one area, and of all areas together; 1 under known
        conditions, which the classifier is calibrated for.
    threshold : float
        Rules whose probability is lower are excluded: that of the right rule is lower in 5% of
        the virtual recordings, all rules together (after split conformal prediction; Vovk et al.
        2005). Families and rules weigh the same.
    warnings : list of str
        What limits it.
    """

    conditions: str
    accuracy: Interval
    auc: Interval
    known: Interval
    architecture: Interval | None
    families: list[str]
    alone: float
    together: float
    threshold: float
    warnings: list[str]


def find_promise(
    virtual: Trajectories, streams: Streams, classifier: Calibrated | None, *, areas: int
) -> Promise:
    """Find out what classifiers say of virtual recordings that they did not see.

    Parameters
    ----------
    virtual : Trajectories
        Recordings of a cohort, made as the one that is judged.
    streams : Streams
        Source of folds, classifiers and resamples.
    classifier : Calibrated or None
        Cloned and fitted; None takes that of forecasts.
    areas : int
        How many of each organism are told together.
    """
    _, index, held = np.unique(virtual.organisms, return_inverse=True, return_counts=True)
    enough = held[index] >= areas
    families = Condition.of(virtual, "family", virtual.organisms, tested=enough)
    by_family = len(families.groups) >= LEAST_FAMILIES
    held_out = families
    if not by_family:
        held_out = Condition.of(virtual, "architecture", virtual.organisms, tested=enough)
    tests = [within_known(virtual, virtual.organisms, streams, 0)]
    if held_out.groups:
        tests.append(Unseen(virtual, held_out.splits(), (held_out.name,)))
    predicted = cross_predict(tests, virtual.organisms, streams=streams, classifier=classifier)
    known = _together(predicted[0], areas)
    unseen = None
    if held_out.groups:
        unseen = _Unseen.of(held_out, predicted[1], virtual.organisms, enough, areas)
    if by_family and unseen is not None:
        return _of_families(known, unseen, families, streams)
    return _of_known(known, unseen, families, streams)


@dataclass(frozen=True)
class _Unseen:
    """What was said of whole groups by classifiers that did not see them.

    Parameters
    ----------
    alone, together : Probabilities
        Of each area, and of each organism's areas together.
    groups_alone, groups : array (recording,)
        The group of each row.
    """

    condition: Condition
    alone: Probabilities
    together: Probabilities
    groups_alone: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(
        cls,
        condition: Condition,
        p: Probabilities,
        organisms: np.ndarray,
        enough: np.ndarray,
        areas: int,
    ) -> _Unseen:
        rows = np.isin(condition.values, condition.groups) & enough
        alone = p.take(rows)
        together = _together(alone, areas)
        of_organism = dict(zip(organisms, condition.values, strict=True))
        groups = np.array([of_organism[animal] for animal in together.animals])
        return cls(condition, alone, together, condition.values[rows], groups)

    def judge(self, streams: Streams) -> Findings:
        name, groups = self.condition.name, self.condition.groups
        return Findings.of(name, self.together, self.groups, groups, streams)


def _of_families(
    known: Probabilities, unseen: _Unseen, families: Condition, streams: Streams
) -> Promise:
    """Promise what held on families that no classifier saw."""
    found = unseen.judge(streams)
    assert found.accuracy is not None and found.auc is not None
    temperature = _temperature(unseen.together, unseen.groups)
    of_truth = unseen.together.tempered(temperature).of_truth
    weights = _weights(unseen.together.told, unseen.groups)
    return Promise(
        conditions=FAMILY,
        accuracy=found.accuracy,
        auc=found.auc,
        known=_bootstrap(known, streams).balanced(known.right),
        architecture=None,
        families=families.groups,
        alone=_temperature(unseen.alone, unseen.groups_alone),
        together=temperature,
        threshold=float(np.quantile(of_truth, EXCLUDED_AT, weights=weights, method="inverted_cdf")),
        warnings=families.warnings,
    )


def _of_known(
    known: Probabilities, unseen: _Unseen | None, families: Condition, streams: Streams
) -> Promise:
    """Promise what held under known conditions, and say that no more is known."""
    bootstrap = _bootstrap(known, streams)
    accuracy = bootstrap.balanced(known.right)
    some = f"{len(families.groups)} families with all rules"
    if families.groups:
        some += f" ({', '.join(families.groups)})"
    return Promise(
        conditions=KNOWN,
        accuracy=accuracy,
        auc=auc_estimate([known], bootstrap)[0].interval,
        known=accuracy,
        architecture=None if unseen is None else unseen.judge(streams).accuracy,
        families=[],
        alone=1.0,
        together=1.0,
        threshold=float(np.quantile(known.of_truth, EXCLUDED_AT, method="lower")),
        warnings=[
            f"the cohort has {some}; at least {LEAST_FAMILIES} are needed to find out what a "
            "verdict is worth on a family that was never seen. Probabilities, set and expected "
            "accuracy hold for known conditions only: for networks like those of the cohort, and "
            "not for a brain"
        ],
    )


def _bootstrap(p: Probabilities, streams: Streams) -> Bootstrap:
    return Bootstrap(p.told, p.animals, rng=streams.rng("bootstrap"))


def _together(p: Probabilities, areas: int) -> Probabilities:
    """Tell so many areas of each organism together, as those of the recording are."""
    return p if areas == 1 else p.by_animal(areas=areas)


def _weights(told: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return a weight for each recording, such that the rules of all groups weigh the same."""
    cells = np.unique(np.stack([told, groups]).astype(str), axis=1, return_inverse=True)[1].ravel()
    weights = 1 / np.bincount(cells)[cells]
    return np.asarray(weights / weights.sum())


def _temperature(p: Probabilities, groups: np.ndarray) -> float:
    """Return the temperature that calibrates what was said of groups that were not seen."""
    index = np.searchsorted(p.rules, p.told)
    return best_temperature(p.logits, index, weight=_weights(p.told, groups))[0]
