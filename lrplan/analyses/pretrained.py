"""Starting from trained weights in place of random ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lrplan.analyses import (
    REVIEWS,
    Analysis,
    Classifier,
    Effort,
    Label,
    Measure,
    Observables,
    Result,
    Rules,
    ShuffleLabels,
    SplitCount,
    analyses,
)
from lrplan.analyses._fits import UNTESTED, run_fits
from lrplan.analyses._scoring import accuracy_dataset
from lrplan.analyses._scoring import scored as score
from lrplan.analyses._study import classifier_names, open_study
from lrplan.cohort.conditions import training_start
from lrplan.errors import DataError

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    classifier: Classifier = "random_forest",
    label: Label = "rule",
    splits: SplitCount = 10,
    rules: Rules = None,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Train on organisms that started from one kind of weights, and test on each kind.

    An animal has learned before the experiment begins. Every test is on organisms that were not
    trained on. Options as for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, trained, tested): the starts, as the setting ``start`` of a
        recipe's training names them; ``random`` where it names none.

    Raises
    ------
    DataError
        If all organisms started alike.
    """
    [kind] = classifier_names([classifier], ())
    study = open_study(
        cohort,
        rng=rng,
        measure=measure,
        label=label,
        shuffle_labels=shuffle_labels,
        rules=rules,
        observables=observables,
        effort=effort,
    )
    data = study.any
    start = training_start(cohort, data.populations)
    starts = [str(s) for s in np.unique(start)]
    if len(starts) < 2:
        raise DataError(
            f"all organisms of the cohort {cohort.name!r} started from {starts[0]} weights; this "
            "analysis needs organisms of which some have another training.start in their recipe "
            "(see docs/simulate.md)"
        )
    truth = data.labels[label]
    for s in starts:
        of_kind = [
            len(np.unique(data.organisms[(start == s) & (truth == k)])) for k in np.unique(truth)
        ]
        if min(of_kind) < 4:
            raise DataError(
                f"the cohort {cohort.name!r} has {min(of_kind)} organisms of the {label} "
                f"{str(np.unique(truth)[int(np.argmin(of_kind))])!r} that started from {s} "
                "weights; at least 4 of each are needed"
            )
    sets, groups = study.splits(splits)
    fits = [
        replace(fit, train=fit.train & (start == trained))
        for d in study.data.values()
        for trained in starts
        for fit in study.fits(kind, d.features(), sets, groups)
    ]
    labels = iter(run_fits(fits, effort=study.effort))
    scores = {}
    for m in study.measures:
        for trained in starts:
            predicted = np.stack([next(labels)[0] for _ in sets.test])
            for tested in starts:
                part = np.where(start == tested, predicted, UNTESTED)
                scores[m, trained, tested] = score(part, sets, study.scorer)
    return study.result(
        "pretrained",
        accuracy_dataset(
            scores,
            {"measure": study.measures, "trained": starts, "tested": starts},
            chance=study.scorer.chance,
        ),
        options={
            "classifier": kind,
            "splits": splits,
        },
        estimates={key: s.estimate for key, s in scores.items()},
    )


analyses.add(
    "pretrained",
    Analysis(
        name="pretrained",
        summary="can rules be told apart in organisms that have learned before",
        cites=REVIEWS,
        needs="observables; organisms with two different starts of training",
        run=run,
        plot="plot_pretrained",
    ),
)
