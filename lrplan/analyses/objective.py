"""The objective: supervised, self-supervised or reinforcement."""

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
    """Tell the objective, whatever the rule, and among organisms of each rule.

    An objective often comes with tasks of its own; see which in ``lrplan cohort info``.

    Options as for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, among), and ``chance`` over among.
    """
    return tell_label(
        "objective",
        cohort,
        rng=rng,
        label="objective",
        within="rule",
        measure=measure,
        classifier=classifier,
        splits=splits,
        shuffle_labels=shuffle_labels,
        rules=rules,
        observables=observables,
        effort=effort,
    )


analyses.add(
    "objective",
    Analysis(
        name="objective",
        summary="can supervised, self-supervised and reinforcement learning be told apart",
        cites=REVIEWS,
        needs="observables; organisms of two objectives",
        run=run,
        plot="plot_label",
    ),
)
