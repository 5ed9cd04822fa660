"""Which observables a classifier relies on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from lrplan.analyses import (
    PAPER,
    REVIEWS,
    WHOLE,
    Analysis,
    Classifier,
    Effort,
    Label,
    Observables,
    Option,
    Result,
    Rules,
    ShuffleLabels,
    SplitCount,
    analyses,
)
from lrplan.analyses._fits import Fit, run_fits
from lrplan.analyses._study import classifier_names, open_study, parts_of
from lrplan.arguments import positive_int
from lrplan.measure.observables import chosen, measures_with
from lrplan.randomness import keyed_rng
from lrplan.tell.intervals import Estimate, jackknife

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

POSITION = "position"
OneMeasure = Annotated[
    str, Option("activity, weights or paired, or some of them joined by +, or 'all' joined.")
]
Permutations = Annotated[
    int, Option("How often each observable is permuted for each split.", WHOLE, metavar="N")
]


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: OneMeasure = "all",
    classifier: Classifier = "random_forest",
    label: Label = "rule",
    splits: SplitCount = 10,
    permutations: Permutations = 5,
    rules: Rules = None,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Rank observables by two kinds of importance, one classifier having all of them.

    ``gini`` is the paper's: how much impurity the splits of a random forest on an observable
    take away in the training set, summed over sessions. ``importance`` is by permutation: the
    balanced accuracy that is lost on test organisms when a whole observable, in all sessions
    together, is swapped between recordings (Breiman 2001). Observables that carry the same
    information share it, in both.

    Parameters
    ----------
    measure : str, default "all"
        One, or several joined by ``+``.
    permutations : int, default 5
        How often each observable is permuted for each split.
    cohort, rng, classifier, label, splits, rules, shuffle_labels, observables, effort
        As for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        Over observable, the layer position being one: ``importance`` with its interval, ``gini``
        with its interval from a delete-a-quarter jackknife over the splits' training organisms
        (NaN for a classifier without), ``gini_by_split`` over (split, observable); ``accuracy``
        with nothing permuted.
    """
    [kind] = classifier_names([classifier], ())
    permutations = positive_int(permutations, "permutations")
    study = open_study(
        cohort,
        rng=rng,
        measure=[measure],
        label=label,
        shuffle_labels=shuffle_labels,
        rules=rules,
        observables=observables,
        effort=effort,
    )
    [data] = study.data.values()
    features = data.features()
    names = [*data.observables, POSITION]
    columns = _columns(len(data.observables), features.sessions, features.static)
    sets, groups = study.splits(splits)
    rounds = int(sets.rounds.max()) + 1
    truth = study.scorer.truth

    def use(model: Any, fit: Fit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return Gini importance, what is right, and what is right after each permutation."""
        X, rows = features.values, np.flatnonzero(fit.test)
        wanted = study.scorer.kinds[truth[rows]]
        right = (model.predict(X[rows]) == wanted).astype(float)
        generator = keyed_rng(fit.seed, "permutations")
        after = np.empty((len(names), len(rows)))
        for i, own in enumerate(columns):
            changed = np.tile(X[rows], (permutations, 1))
            for p in range(permutations):
                block = slice(p * len(rows), (p + 1) * len(rows))
                changed[block, own] = X[generator.permutation(rows)][:, own]
            after[i] = (model.predict(changed).reshape(permutations, -1) == wanted).mean(axis=0)
        return _gini(model, columns), right, after

    found = run_fits(study.fits(kind, features, sets, groups), effort=effort, use=use)
    right = np.full((rounds, len(truth)), np.nan)
    after = np.full((len(names), rounds, len(truth)), np.nan)
    for i, (_, before, each) in enumerate(found):
        right[sets.rounds[i], sets.test[i]] = before
        after[:, sets.rounds[i], sets.test[i]] = each
    whole = study.scorer.bootstrap.estimate(right)
    lost: dict[tuple[str, ...], Estimate] = {
        (name,): whole - study.scorer.bootstrap.estimate(values)
        for name, values in zip(names, after, strict=True)
    }
    gini = np.stack([g for g, _, _ in found])
    measures = {
        family.observables[i].name: family.measure
        for family, places in chosen(
            data.observables, measures_with(data.observables, parts_of(measure))
        )
        for i in places
    }
    intervals = [e.interval for e in lost.values()]
    of_gini = [jackknife(each) for each in gini.T]
    dataset = xr.Dataset(
        {
            "importance": (
                "observable",
                [i.mean for i in intervals],
                {"long_name": "balanced accuracy lost by permuting it on test organisms"},
            ),
            "low": ("observable", [i.low for i in intervals]),
            "high": ("observable", [i.high for i in intervals]),
            "gini": (
                "observable",
                [i.mean for i in of_gini],
                {"long_name": "Gini importance, summed over sessions"},
            ),
            "gini_low": ("observable", [i.low for i in of_gini]),
            "gini_high": ("observable", [i.high for i in of_gini]),
            "gini_by_split": (("split", "observable"), gini),
            "accuracy": whole.interval.mean,
            "accuracy_low": whole.interval.low,
            "accuracy_high": whole.interval.high,
            "accuracy_chance": study.scorer.chance,
            "chance": ((), 0.0, {"long_name": "importance of what tells nothing"}),
        },
        coords={
            "observable": names,
            "measure": ("observable", [measures.get(n, POSITION) for n in names]),
        },
    )
    return study.result(
        "importance",
        dataset,
        options={
            "classifier": kind,
            "splits": splits,
            "permutations": permutations,
        },
        estimates=lost | {("accuracy",): whole},
        main="importance",
    )


def _columns(observables: int, sessions: int, static: int) -> list[np.ndarray]:
    """Return the columns of each observable in all sessions, and last of the position."""
    moving = observables * sessions
    return [
        *(np.arange(i, moving, observables) for i in range(observables)),
        np.arange(moving, moving + static),
    ]


def _gini(model: Any, columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return the Gini importance of each group of columns; NaN for what has none."""
    importance = getattr(model, "feature_importances_", None)
    if importance is None:
        return np.full(len(columns), np.nan)
    return np.array([importance[own].sum() for own in columns])


analyses.add(
    "importance",
    Analysis(
        name="importance",
        summary="which observables a classifier relies on, by Gini and by permutation",
        cites=f"{PAPER}, figure 3; {REVIEWS}",
        needs="observables; 4 organisms of each label",
        run=run,
        plot="plot_importance",
    ),
)
