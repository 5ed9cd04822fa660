"""Every pair of rules, by a classifier of its own."""

from __future__ import annotations

from itertools import combinations
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
    Split,
    SplitCount,
    analyses,
)
from lrplan.analyses._scoring import Scored, accuracy_dataset
from lrplan.analyses._study import LEAK, SPLITS, classifier_names, open_study, words

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    classifier: Classifier = "random_forest",
    split: Split = "organism",
    label: Label = "rule",
    splits: SplitCount = 10,
    rules: Rules = None,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Tell each pair of labels apart, by a classifier trained on these two alone.

    Options as for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, a, b); chance is 0.5. A pair whose ``low`` is not above it is
        not shown to be separable, and is named among the warnings.
    """
    [kind] = classifier_names([classifier], ())
    [kept] = words([split], (), "split", SPLITS)
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
    kinds = [str(k) for k in study.scorer.kinds]
    scores: dict[tuple[str, str, str], Scored] = {}
    for a, b in combinations(kinds, 2):
        two = study.take(np.isin(study.any.y, [a, b]))
        sets, groups = two.splits(splits, kept)
        items = {(m, a, b): (kind, d.features()) for m, d in two.data.items()}
        scores |= two.score(items, sets, groups)[0]
    warnings = [
        f"not shown to be separable by {m}: {a} and {b} ({s.estimate.interval})"
        for (m, a, b), s in scores.items()
        if s.estimate.interval.low <= 0.5
    ]
    return study.result(
        "pairs",
        accuracy_dataset(scores, {"measure": study.measures, "a": kinds, "b": kinds}, chance=0.5),
        options={
            "classifier": kind,
            "split": kept,
            "splits": splits,
        },
        estimates={key: s.estimate for key, s in scores.items()},
        warnings=warnings + [LEAK] * (kept == "layer"),
    )


analyses.add(
    "pairs",
    Analysis(
        name="pairs",
        summary="which pairs of labels can be told apart",
        cites=REVIEWS,
        needs="observables; 4 organisms of each label",
        run=run,
        plot="plot_pairs",
    ),
)
