"""Credit assignment alone, whatever the optimizer."""

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
    """Tell the credit assignment, and also among organisms of each optimizer.

    Among all organisms an optimizer that comes with one credit assignment only would give it away;
    among those of one optimizer it cannot.

    Options as for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, among), and ``chance`` over among.
    """
    return tell_label(
        "credit",
        cohort,
        rng=rng,
        label="credit",
        within="optimizer",
        measure=measure,
        classifier=classifier,
        splits=splits,
        shuffle_labels=shuffle_labels,
        rules=rules,
        observables=observables,
        effort=effort,
    )


analyses.add(
    "credit",
    Analysis(
        name="credit",
        summary="can credit assignment be told, also at the same optimizer",
        cites=REVIEWS,
        needs="observables; organisms of two credit assignments",
        run=run,
        plot="plot_label",
    ),
)
