"""Part 3: how often `score` would name a rule on a family that it never saw, and be right.

Nested: for each family that is held out, classifier, temperature, threshold, expected accuracy and
distances come from the other families alone, as `score` finds them for a brain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrplan.measure.observables import names_of
from lrplan.measure.observe import observe_cohort
from lrplan.measure.trajectories import Trajectories
from lrplan.randomness import Streams
from lrplan.tell.combine import Probabilities
from lrplan.tell.held_out import Condition
from lrplan.tell.intervals import CONFIDENCE, RESAMPLES, Interval
from lrplan.tell.promise import Promise, find_promise
from lrplan.tell.verdict import TOO_FAR, distances
from plans.common import SETS, THREE, Work, groups_of, markdown, told


@dataclass(frozen=True)
class Verdicts:
    """What `score` would say of the recordings of one family.

    Parameters
    ----------
    animals : array (recording,)
        Whose.
    named, right, covered, far : array (recording,) of bool
        Whether a rule is named; whether it is the right one; whether the right one is in the 95%
        set; whether it lies too far from the virtual recordings for an answer.
    promise : Promise
        Of the other families.
    chance : float
        Accuracy of guessing.
    """

    animals: np.ndarray
    named: np.ndarray
    right: np.ndarray
    covered: np.ndarray
    far: np.ndarray
    promise: Promise
    chance: float


def named(work: Work) -> None:
    """Print the tables: of one area, and of three areas of an animal together."""
    # `score` takes the default set, and measures distances in the paper's observables besides.
    design = work.design.with_(position="unknown", observables=SETS["both"])
    made = observe_cohort(work.cohort, design, rng=work.seed)
    everything = made.finite(work.cohort.name)[0]
    families = Condition.of(everything, "family", everything.organisms)
    header = ["family", "recordings", "named", "right of those named", "right in the 95% set"]
    header += ["too far", "promised accuracy", "promised for", "temperature", "threshold"]
    for areas in (1, len(THREE)):
        found = {g: _verdicts(work, everything, families, g, areas) for g in families.groups}
        rows = [_row(g, v) for g, v in found.items()]
        if len(found) > 1:
            rows.insert(0, _mean_row(found, work.streams))
        title = "one area" if areas == 1 else f"{areas} areas of an animal together"
        work.say(f"### `score` on families that it never saw, {title}\n")
        work.say(markdown(header, rows))
    for family, why in families.lacking.items():
        work.say(f"Not held out: {family} ({why}).\n")
    work.say(
        "Intervals: of one family Wilson's, with as many trials as organisms; of the mean a "
        "bootstrap over families and organisms.\n"
    )


def _verdicts(
    work: Work, everything: Trajectories, families: Condition, family: str, areas: int
) -> Verdicts:
    """Return what would be said of a family by classifiers and a promise of the others."""
    rows = families.values == family
    train, test = everything.take(~rows), everything.take(rows)
    default = names_of(work.design.taken, work.design.measures)
    taken = [n for n in everything.observables if n in default]
    virtual, heard = (t.with_observables(taken) for t in (train, test))
    given = virtual.features()
    base = work.effort.classifier(sessions=given.sessions, static=given.static)
    streams = Streams(work.streams.seed("verdicts", family))
    promise = find_promise(virtual, streams, base, areas=areas)
    model = work.fit(given, virtual.y, virtual.organisms, "verdicts", family)
    kinds = np.unique(virtual.y)
    p = Probabilities.of(model.predict_proba(heard.features().values), kinds, heard.labels)
    p = p if areas == 1 else p.by_animal(areas=areas)
    typical, own = distances(train.features(), train.organisms, test.features().values)
    far = _quantiles(typical, own, test.label("animal"), p, areas) > TOO_FAR
    left = p.tempered(promise.together).values >= promise.threshold
    chance = 1 / len(kinds)
    is_named = (left.sum(axis=1) == 1) & ~far & (promise.accuracy.low > chance)
    of_truth = left[np.arange(len(left)), np.searchsorted(kinds, p.told)]
    return Verdicts(
        animals=p.animals,
        named=is_named,
        right=is_named & of_truth,
        covered=of_truth,
        far=far,
        promise=promise,
        chance=chance,
    )


def _quantiles(
    typical: np.ndarray, own: np.ndarray, animals: np.ndarray, p: Probabilities, areas: int
) -> np.ndarray:
    """Return which share of virtual recordings lies nearer, the mean distance of an animal."""
    if areas > 1:
        names = np.unique(animals)
        own = groups_of(names, np.array([own[animals == n].mean() for n in names]), p.animals)
    return np.asarray((typical < own[:, None]).mean(axis=1))


def _row(family: str, v: Verdicts) -> list[str]:
    promise = v.promise
    every = np.ones(len(v.animals), dtype=bool)
    return [
        family,
        str(len(v.animals)),
        told(_wilson(v.named, every, v.animals)),
        told(_wilson(v.right, v.named, v.animals)),
        told(_wilson(v.covered, every, v.animals)),
        f"{v.far.mean():.2f}",
        told(promise.accuracy),
        promise.conditions,
        f"{promise.together:.2f}",
        f"{promise.threshold:.3f}",
    ]


def _mean_row(found: dict[str, Verdicts], streams: Streams) -> list[str]:
    verdicts = list(found.values())
    every = [np.ones(len(v.animals), dtype=bool) for v in verdicts]
    animals = [v.animals for v in verdicts]
    is_named, right = [v.named for v in verdicts], [v.right for v in verdicts]
    covered = [v.covered for v in verdicts]
    return [
        "**all, families alike**",
        str(sum(map(len, animals))),
        told(_ratio(is_named, every, animals, streams)),
        told(_ratio(right, is_named, animals, streams)),
        told(_ratio(covered, every, animals, streams)),
        f"{np.mean([v.far.mean() for v in verdicts]):.2f}",
        *["-"] * 4,
    ]


def _wilson(of: np.ndarray, among: np.ndarray, animals: np.ndarray) -> Interval:
    """Return a share among recordings; recordings of one organism count as one trial."""
    from scipy.stats import norm

    n = len(np.unique(animals[among]))
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"))
    share = float((of & among).sum() / among.sum())
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(share, max(0.0, middle - float(reach)), min(1.0, middle + float(reach)))


def _ratio(
    of: list[np.ndarray], among: list[np.ndarray], animals: list[np.ndarray], streams: Streams
) -> Interval:
    """Return a share among the recordings of several families, resampling families and organisms.

    Families weigh alike, whatever number of recordings each has.
    """
    rng = streams.rng("bootstrap", "verdicts")
    families = len(of)
    picks = rng.multinomial(families, np.full(families, 1 / families), RESAMPLES)
    sums, draws = np.zeros(2), np.zeros((2, RESAMPLES))
    for k in range(families):
        names, index = np.unique(animals[k], return_inverse=True)
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
        for place, rows in enumerate((of[k] & among[k], among[k])):
            counts = np.bincount(index, weights=rows) / len(rows)
            sums[place] += counts.sum()
            draws[place] += picks[:, k] * (times @ counts)
    if not sums[1]:
        return Interval(float("nan"), float("nan"), float("nan"))
    sound = draws[1] > 0
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws[0][sound] / draws[1][sound], [tail, 1 - tail])
    return Interval(float(sums[0] / sums[1]), float(low), float(high))
