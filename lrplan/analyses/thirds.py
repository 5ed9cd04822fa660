"""Trained on one third of a trajectory, tested on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lrplan.analyses import (
    PAPER,
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
from lrplan.analyses._fits import run_fits
from lrplan.analyses._scoring import accuracy_dataset, scored
from lrplan.analyses._study import classifier_names, open_study
from lrplan.errors import DataError

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

THIRDS = ("early", "middle", "late")


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
    """Train on a consecutive third of training and test on each, as figure 4(b) of the paper.

    Organisms that are tested were not trained on. Checkpoints that make no whole third are left
    out at the end. Options as for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, trained, tested).
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
    length = study.any.sessions // 3
    if length < 1:
        raise DataError(
            f"the cohort {cohort.name!r} has {study.any.sessions} checkpoints; at least 3 are "
            "needed for thirds"
        )
    sets, groups = study.splits(splits)
    fits = []
    for data in study.data.values():
        parts = tuple(data.at(range(i * length, (i + 1) * length)).features() for i in range(3))
        for part in parts:
            fits += study.fits(kind, part, sets, groups, tested_on=parts)
    labels = iter(run_fits(fits, effort=study.effort))
    scores = {}
    for m in study.measures:
        for trained in THIRDS:
            each = [next(labels) for _ in sets.test]
            for k, tested in enumerate(THIRDS):
                predicted = np.stack([p[k] for p in each])
                scores[m, trained, tested] = scored(predicted, sets, study.scorer)
    return study.result(
        "thirds",
        accuracy_dataset(
            scores,
            {"measure": study.measures, "trained": THIRDS, "tested": THIRDS},
            chance=study.scorer.chance,
        ),
        options={
            "classifier": kind,
            "splits": splits,
            "checkpoints_per_third": length,
        },
        estimates={key: s.estimate for key, s in scores.items()},
    )


analyses.add(
    "thirds",
    Analysis(
        name="thirds",
        summary="does what is learnt from one third of training hold in another",
        cites=f"{PAPER}, figure 4(b)",
        needs="observables at 3 checkpoints; 4 organisms of each label",
        run=run,
        plot="plot_thirds",
    ),
)
