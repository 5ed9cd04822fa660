"""The optimizer alone, whatever the credit assignment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lrplan.analyses import (
    REVIEWS,
    Analysis,
    Classifier,
    Effort,
    Measure,
    Observables,
    Result,
    Rules,
    ShuffleLabels,
    SplitCount,
    analyses,
)
from lrplan.analyses._labels import tell_label

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    classifier: Classifier = "random_forest",
    splits: SplitCount = 10,
    rules: Rules = None,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Tell the optimizer, and also among organisms of each credit assignment.

    Among all organisms a credit assignment that comes with one optimizer only would give it away;
    among those of one credit assignment it cannot.

    Options as for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, among), and ``chance`` over among.
    """
    return tell_label(
        "optimizer",
        cohort,
        rng=rng,
        label="optimizer",
        within="credit",
        measure=measure,
        classifier=classifier,
        splits=splits,
        shuffle_labels=shuffle_labels,
        rules=rules,
        observables=observables,
        effort=effort,
    )


analyses.add(
    "optimizer",
    Analysis(
        name="optimizer",
        summary="can the optimizer be told, also at the same credit assignment",
        cites=REVIEWS,
        needs="observables; organisms of two optimizers",
        run=run,
        plot="plot_label",
    ),
)
