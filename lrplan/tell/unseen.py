"""Tests on organisms, or whole conditions, that a classifier did not see."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lrplan.classifiers import seeded
from lrplan.classifiers.splits import Splits, count_groups
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design
from lrplan.measure.observe import UNITS_SEEN
from lrplan.measure.trajectories import Features, Trajectories
from lrplan.randomness import Streams
from lrplan.tell.combine import Probabilities
from lrplan.threads import threads

if TYPE_CHECKING:
    from lrplan.classifiers.calibrated import Calibrated
    from lrplan.cohort.store import Cohort

FOLDS = 5
"""Folds of a cross-validation over organisms, and so the least organisms of a rule."""
REPEATS = 2


def draw_streams(
    rng: np.random.Generator,
) -> tuple[Streams, list[np.random.Generator]]:
    """Draw the streams of a forecast, and the source of units and noise of each repeat.

    The sources are drawn and not keyed, so that a seed records what it has always recorded.
    """
    streams = Streams.draw(rng)
    return streams, [np.random.default_rng(int(s)) for s in rng.integers(2**63, size=REPEATS)]


def check_design(design: object) -> None:
    """Raise `UsageError` for what is no Design."""
    if not isinstance(design, Design):
        raise UsageError(f"design is {design!r}; expected a Design, such as Design(units=300)")


def default_classifier(features: Features) -> Calibrated:
    """Return the classifier of forecasts and verdicts for such features, not fitted yet."""
    from lrplan.classifiers.calibrated_trees import calibrated_trees

    return calibrated_trees(sessions=features.sessions, static=features.static)


def check_classifier(classifier: object) -> None:
    """Raise `UsageError` for what cannot be cloned and fitted."""
    if not all(hasattr(classifier, n) for n in ("get_params", "fit", "predict_proba")):
        raise UsageError(
            f"classifier is {classifier!r}; expected one as scikit-learn's, such as "
            "lrplan.classifiers.calibrated_trees.calibrated_trees(sessions=21, static=3)"
        )


def check_rules(trajectories: Trajectories, cohort: Cohort, least: int = FOLDS) -> None:
    """Refuse recordings of a cohort of too few rules, or of too few organisms of one.

    Raises
    ------
    DataError
        With the rule, how many organisms there are, and how many are needed.
    """
    _, first = np.unique(trajectories.organisms, return_index=True)
    kinds, counts = np.unique(trajectories.label("rule")[first], return_counts=True)
    why = "".join(f"; {w}" for w in cohort.left_out())
    if len(kinds) < 2:
        raise DataError(
            f"the cohort {cohort.name!r} has usable organisms of {len(kinds)} rule "
            f"({', '.join(kinds)}); at least 2 are needed to tell them apart{why}"
        )
    if counts.min() < least:
        few = str(kinds[counts.argmin()])
        raise DataError(
            f"the cohort {cohort.name!r} has {counts.min()} usable organisms of the rule {few!r}; "
            f"at least {least} of each are needed to test on organisms that were not seen{why}"
        )


def recorded_whole(cohort: Cohort, design: Design, populations: np.ndarray) -> list[str]:
    """Say of each measure in how many populations all units were recorded, for want of more."""
    out = []
    for measure in () if design.all_units else design.measures:
        held = cohort.stored_units(measure)[populations]
        short = int((held < design.unit_count).sum())
        if short:
            out.append(
                f"{short} of {len(held)} populations hold fewer than {design.units} units for "
                f"{measure} and were recorded whole"
            )
    return out


def technique_told(design: Design, trajectories: Trajectories) -> list[str]:
    """Say what the technique takes for granted, and how many units it sees of those asked for."""
    if design.all_units:
        return []
    out = design.make_modality().assumptions()
    seen = trajectories.labels.get(UNITS_SEEN)
    if seen is not None:
        low, middle, high = (round(v) for v in np.percentile(seen, [5, 50, 95]))
        when = "in every session" if design.tracked else "in each session"
        out.append(
            f"of {design.units} units {middle} are seen {when} (5 to 95% of recordings: {low} to "
            f"{high}); observables are of these"
        )
    return out


@dataclass(frozen=True)
class Unseen:
    """Recordings that are told by classifiers which did not see their group.

    Parameters
    ----------
    trajectories : Trajectories
        The recordings.
    splits : Splits
        One round, in which each is tested once.
    purpose : tuple of str or int
        Keys the classifiers.
    """

    trajectories: Trajectories
    splits: Splits
    purpose: tuple[str | int, ...]

    @property
    def folds(self) -> np.ndarray:
        """Which test set each recording is in, (recording,); -1 if it is in none."""
        return np.where(self.splits.test.any(axis=0), self.splits.test.argmax(axis=0), -1)


def within_known(
    trajectories: Trajectories, groups: np.ndarray, streams: Streams, repeat: int
) -> Unseen:
    """Return the test within known conditions: groups are dealt into folds."""
    folds = Splits.dealt(trajectories.y, groups, folds=FOLDS, rng=streams.rng("folds", repeat))
    return Unseen(trajectories, folds, ("known", repeat))


def cross_predict(
    tests: Sequence[Unseen],
    groups: np.ndarray,
    *,
    streams: Streams,
    classifier: Calibrated | None = None,
) -> list[Probabilities]:
    """Predict each recording by classifiers that did not see its fold.

    Parameters
    ----------
    tests : sequence of Unseen
        What is predicted.
    groups : array (recording,)
        What the classifier keeps together in its own cross-validation.
    streams : Streams
        Seeds the classifiers.
    classifier : Calibrated, optional
        What to clone and fit; by default `calibrated_trees` for the sessions of each test.

    Returns
    -------
    list of Probabilities
        For each test; missing where nothing is tested, or training lacks two groups of a rule.
    """
    features = [t.trajectories.features() for t in tests]

    def predict(task: tuple[int, np.ndarray]) -> np.ndarray:
        place, test = task
        y, train = tests[place].trajectories.y, ~test
        kinds = np.unique(y)
        # Choosing settings takes two of each rule.
        if count_groups(y[train], groups[train], kinds).min() < 2:
            return np.full((test.sum(), len(kinds)), np.nan)
        given = features[place]
        base = default_classifier(given) if classifier is None else classifier
        model = seeded(base, streams.seed("classifier", *tests[place].purpose))
        model.fit(given.values[train], y[train], groups=groups[train])
        return model.predict_proba(given.values[test])

    tasks = [(place, test) for place, t in enumerate(tests) for test in t.splits]
    out = [np.full((len(groups), len(np.unique(t.trajectories.y))), np.nan) for t in tests]
    with ThreadPoolExecutor(threads()) as pool:
        for (place, test), p in zip(tasks, pool.map(predict, tasks), strict=True):
            out[place][test] = p
    return [
        Probabilities.of(p, np.unique(t.trajectories.y), t.trajectories.labels | {"fold": t.folds})
        for p, t in zip(out, tests, strict=True)
    ]
