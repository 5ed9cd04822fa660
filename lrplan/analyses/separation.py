"""Can rules be told apart: by each measure, by each classifier, split by organism or layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lrplan.analyses import (
    PAPER,
    Analysis,
    BothSplits,
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
from lrplan.analyses._scoring import Scored, accuracy_dataset
from lrplan.analyses._study import (
    LEAK,
    PAPER_CLASSIFIERS,
    SPLITS,
    classifier_names,
    open_study,
    words,
)

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    classifier: Classifiers = PAPER_CLASSIFIERS,
    split: BothSplits = "organism",
    label: Label = "rule",
    splits: SplitCount = 10,
    rules: Rules = None,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Tell labels apart on balanced 75%/25% splits, as figure 2(a) of the paper.

    Parameters
    ----------
    cohort : Cohort
        With observables.
    rng : numpy.random.Generator
        Source of splits, classifiers and resamples.
    measure : str or sequence of str, optional
        ``activity``, ``paired``, ``weights``, several joined by ``+``, or ``all`` joined; by
        default each that is stored.
    classifier : str or sequence of str
        By default the paper's three.
    split : {"organism", "layer"} or both
        What never stands on both sides; ``layer`` is the paper's and leaks.
    label : str, default "rule"
        What is to be told.
    splits : int, default 10
        How many.
    rules : sequence of str, optional
        Only organisms of these rules.
    shuffle_labels : bool, default False
        Whether organisms swap labels at random: the accuracy must then be chance.
    observables : {"paper", "all"} or sequence of str
        Which statistics.
    effort : {"quick", "paper"}
        How widely classifiers search for their settings.

    Returns
    -------
    Result
        ``accuracy`` over (measure, classifier, split).
    """
    kept = words(split, ("organism",), "split", SPLITS)
    classifiers = classifier_names(classifier, PAPER_CLASSIFIERS)
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
    scores: dict[tuple[str, str, str], Scored] = {}
    for s in kept:
        sets, groups = study.splits(splits, s)
        items = {(m, c, s): (c, d.features()) for m, d in study.data.items() for c in classifiers}
        scores |= study.score(items, sets, groups)[0]
    return study.result(
        "separation",
        accuracy_dataset(
            scores,
            {"measure": study.measures, "classifier": classifiers, "split": kept},
            chance=study.scorer.chance,
        ),
        options={
            "classifier": classifiers,
            "split": kept,
            "splits": splits,
        },
        estimates={tuple(key): s.estimate for key, s in scores.items()},
        warnings=[LEAK] * ("layer" in kept),
    )


analyses.add(
    "separation",
    Analysis(
        name="separation",
        summary="can the labels be told apart, by each measure and classifier",
        cites=f"{PAPER}, figure 2(a)",
        needs="observables; 4 organisms of each label",
        run=run,
        plot="plot_separation",
    ),
)
