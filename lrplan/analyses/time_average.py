"""Trajectories averaged over time: is the scale of an observable enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lrplan.analyses import (
    PAPER,
    Analysis,
    Classifiers,
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
from lrplan.analyses._scoring import accuracy_dataset
from lrplan.analyses._study import classifier_names, open_study
from lrplan.tell.intervals import Estimate

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

CLASSIFIERS = ("random_forest", "linear_svm")
FORMS = ("trajectory", "average")


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    classifier: Classifiers = CLASSIFIERS,
    label: Label = "rule",
    splits: SplitCount = 10,
    rules: Rules = None,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Compare whole trajectories with their average over time, as figure S2(b) of the paper.

    Options as for `lrplan.analyses.separation.run`; by default the random forest and the linear
    SVM.

    Returns
    -------
    Result
        ``accuracy`` over (measure, classifier, form), form being ``trajectory`` or ``average``;
        ``loss`` over (measure, classifier) is their difference, paired by organism.
    """
    kinds = classifier_names(classifier, CLASSIFIERS)
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
    sets, groups = study.splits(splits)
    items = {}
    for m, d in study.data.items():
        mean = d.over_time().features()
        for c in kinds:
            items[m, c, "trajectory"] = (c, d.features())
            items[m, c, "average"] = (c, mean)
    scores, _ = study.score(items, sets, groups)
    dataset = accuracy_dataset(
        scores,
        {"measure": study.measures, "classifier": kinds, "form": FORMS},
        chance=study.scorer.chance,
    )
    loss = {
        (m, c): scores[m, c, "trajectory"].estimate - scores[m, c, "average"].estimate
        for m in study.measures
        for c in kinds
    }
    for part in ("mean", "low", "high"):
        dataset["loss" if part == "mean" else f"loss_{part}"] = (
            ("measure", "classifier"),
            [[getattr(loss[m, c].interval, part) for c in kinds] for m in study.measures],
            {"long_name": "accuracy lost by averaging over time", "units": "1"},
        )
    estimates: dict[tuple[str, ...], Estimate] = {k: s.estimate for k, s in scores.items()}
    estimates |= {("loss", *key): e for key, e in loss.items()}
    return study.result(
        "time_average",
        dataset,
        options={
            "classifier": kinds,
            "splits": splits,
        },
        estimates=estimates,
    )


analyses.add(
    "time_average",
    Analysis(
        name="time_average",
        summary="what is lost when trajectories are averaged over time",
        cites=f"{PAPER}, figure S2(b)",
        needs="observables; 4 organisms of each label",
        run=run,
        plot="plot_time_average",
    ),
)
