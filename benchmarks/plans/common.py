"""What the parts of `planning.py` share: effort, classifiers, predictions, intervals, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lrplan.classifiers import seeded
from lrplan.classifiers.calibrated import Calibrated
from lrplan.classifiers.calibrated_trees import TREES, calibrated_trees
from lrplan.classifiers.splits import count_groups
from lrplan.cohort.store import Cohort
from lrplan.measure.design import Design
from lrplan.measure.trajectories import Features, Trajectories
from lrplan.randomness import Streams
from lrplan.tell.auc import auc_estimate
from lrplan.tell.combine import Probabilities
from lrplan.tell.intervals import Bootstrap, Estimate, Interval
from lrplan.terms import POSITIONS
from lrplan.threads import threads

PAPER_SET, STANDARD_SET = "nayebi2020", "standard-2"
SETS = {
    PAPER_SET: (PAPER_SET,),
    STANDARD_SET: (STANDARD_SET,),
    "both": (PAPER_SET, STANDARD_SET),
}
THREE = POSITIONS

Split = tuple[np.ndarray, np.ndarray]
"""Which recordings are trained on, and which tested, each an array (recording,) of bool."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much is computed: all of it, or what shows that it runs.

    Parameters
    ----------
    draws : int
        Of a number of organisms.
    choices : int
        The most that are taken of the ways to choose so many families.
    smallest : int
        Organisms at which the curve begins.
    trees : int
        Of a classifier.
    """

    draws: int = 3
    choices: int = 6
    smallest: int = 100
    trees: int = TREES

    @property
    def quick(self) -> bool:
        """Whether this is a trial."""
        return self.trees != TREES

    def classifier(self, *, sessions: int, static: int) -> Calibrated:
        """Return the classifier of forecasts and verdicts; of fewer trees in a trial."""
        return calibrated_trees(sessions=sessions, static=static, trees=self.trees)

    def of_design(self, design: Design, cohort: Cohort) -> Calibrated | None:
        """Return what `forecast` is given for a design: nothing, unless this is a trial."""
        if not self.quick:
            return None
        positioned = design.recorded_areas is None and design.position != "unknown"
        sessions = len(design.schedule.checkpoints(cohort.checkpoints))
        return self.classifier(sessions=sessions, static=len(POSITIONS) if positioned else 0)


FULL = Effort()
QUICK = Effort(draws=1, choices=1, smallest=30, trees=10)


@dataclass(frozen=True)
class Work:
    """What the tables are of.

    Parameters
    ----------
    cohort : Cohort
        Whose organisms are planned on.
    design : Design
        The default one, as far as the cohort can give it.
    effort : Effort
        How much is computed.
    seed : int
        Of everything random.
    say : callable
        Takes the lines of the report.
    """

    cohort: Cohort
    design: Design
    effort: Effort
    seed: int
    say: Say

    @property
    def streams(self) -> Streams:
        """Random numbers for every purpose."""
        return Streams(self.seed)

    def fit(self, given: Features, y: np.ndarray, groups: np.ndarray, *purpose: str) -> Calibrated:
        """Fit the classifier of verdicts."""
        base = self.effort.classifier(sessions=given.sessions, static=given.static)
        model = seeded(base, self.streams.seed("classifier", *purpose))
        return model.fit(given.values, y, groups=groups)

    def predict(
        self, t: Trajectories, rounds: Sequence[Sequence[Split]], *purpose: str
    ) -> list[Probabilities]:
        """Predict what is tested in each round, by classifiers that saw the training rows alone.

        Rows that a round does not test are NaN, and so are those for which training lacks two
        organisms of a label. What is tested in two splits of a round must not overlap.
        """
        given, y, organisms, kinds = t.features(), t.y, t.organisms, np.unique(t.y)
        base = self.effort.classifier(sessions=given.sessions, static=given.static)

        def one(task: tuple[int, int, Split]) -> np.ndarray:
            place, fold, (train, test) = task
            if count_groups(y[train], organisms[train], kinds).min() < 2:
                return np.full((test.sum(), len(kinds)), np.nan)
            model = seeded(base, self.streams.seed("classifier", *purpose, place, fold))
            model.fit(given.values[train], y[train], groups=organisms[train])
            return model.predict_proba(given.values[test])

        tasks = [(i, j, split) for i, each in enumerate(rounds) for j, split in enumerate(each)]
        values = np.full((len(rounds), len(t), len(kinds)), np.nan)
        folds = np.full((len(rounds), len(t)), -1)
        with ThreadPoolExecutor(threads()) as pool:
            for (place, fold, (_, test)), p in zip(tasks, pool.map(one, tasks), strict=True):
                values[place, test], folds[place, test] = p, fold
        return [
            Probabilities.of(v, kinds, t.labels | {"fold": f})
            for v, f in zip(values, folds, strict=True)
        ]


def judged(rounds: Sequence[Probabilities], rng: np.random.Generator) -> tuple[Estimate, Estimate]:
    """Return balanced accuracy and area under the curve over rounds, resampling organisms.

    Only recordings that some round tested count.
    """
    tested = np.stack([np.isfinite(p.values).all(axis=1) for p in rounds])
    some = np.asarray(tested.any(axis=0))
    if not some.any():
        return Estimate.missing(), Estimate.missing()
    rounds = [p.take(some) for p in rounds]
    bootstrap = Bootstrap(rounds[0].told, rounds[0].animals, rng=rng)
    right = [np.where(t[some], p.right, np.nan) for p, t in zip(rounds, tested, strict=True)]
    return bootstrap.estimate(np.stack(right)), auc_estimate(rounds, bootstrap)[0]


def groups_of(names: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return the value of each name that is asked for, from what all names have."""
    known = dict(zip(names, values, strict=True))
    return np.array([known[name] for name in asked])


def in_order(labels: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return organisms in a random order whose every beginning keeps the shares of families.

    And of rules within families, so that fewer organisms are not others as well.

    Parameters
    ----------
    labels : mapping of str to array (recording,)
        With ``organism``, ``family`` and ``rule``.
    rng : numpy.random.Generator
        Source of the order.
    """
    names, first = np.unique(labels["organism"].astype(str), return_index=True)
    cells = np.stack([labels[n][first].astype(str) for n in ("family", "rule")])
    index = np.unique(cells, axis=1, return_inverse=True)[1].ravel()
    place = np.zeros(len(names))
    for cell in range(index.max() + 1):
        own = rng.permutation(np.flatnonzero(index == cell))
        place[own] = (np.arange(len(own)) + rng.random()) / len(own)
    return np.asarray(names[np.argsort(place)])


def told(interval: Interval) -> str:
    """Return an interval as a cell of a table."""
    if not np.isfinite(interval.mean):
        return "-"
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def both(accuracy: Estimate, auc: Estimate) -> str:
    """Return accuracy and area under the curve as one cell."""
    if not np.isfinite(accuracy.mean):
        return "-"
    return f"{told(accuracy.interval)}; {told(auc.interval)}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, with an empty line behind it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
