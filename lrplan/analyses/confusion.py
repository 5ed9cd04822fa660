"""Which rules are taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from lrplan.analyses import (
    PAPER,
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
from lrplan.analyses._fits import UNTESTED
from lrplan.analyses._study import LEAK, SPLITS, classifier_names, open_study, words
from lrplan.tell.intervals import Estimate

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
    """Return the confusion matrix for each measure, with intervals.

    Options as for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``share`` over (measure, true, predicted): of the recordings of a true label, how many
        are taken for which; each row sums to 1.
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
    sets, groups = study.splits(splits, kept)
    items = {m: (kind, d.features()) for m, d in study.data.items()}
    scores, predicted = study.score(items, sets, groups)
    kinds = [str(k) for k in study.scorer.kinds]
    shape = (len(study.measures), len(kinds), len(kinds))
    share, low, high = (np.full(shape, np.nan) for _ in range(3))
    estimates: dict[tuple[str, ...], Estimate] = {}
    for i, m in enumerate(study.measures):
        for b, taken in enumerate(kinds):
            said = taken_for(predicted[m], sets.rounds, b)
            for a, true in enumerate(kinds):
                found = study.scorer.bootstrap.estimate(said, rules=(a,))
                estimates[m, true, taken] = found
                share[i, a, b], low[i, a, b], high[i, a, b] = (
                    found.interval.mean,
                    found.interval.low,
                    found.interval.high,
                )
    dims = ("measure", "true", "predicted")
    dataset = xr.Dataset(
        {
            "share": (dims, share, {"long_name": "share of a true label's recordings"}),
            "low": (dims, low, {"long_name": "lower end of the 95% interval"}),
            "high": (dims, high, {"long_name": "upper end of the 95% interval"}),
            "accuracy": ("measure", [scores[m].estimate.mean for m in study.measures]),
            "chance": study.scorer.chance,
        },
        coords={"measure": study.measures, "true": kinds, "predicted": kinds},
    )
    return study.result(
        "confusion",
        dataset,
        options={
            "classifier": kind,
            "split": kept,
            "splits": splits,
        },
        estimates=estimates,
        main="share",
        warnings=[LEAK] * (kept == "layer"),
    )


def taken_for(predicted: np.ndarray, rounds: np.ndarray, place: int) -> np.ndarray:
    """Return whether recordings were taken for one label (round, recording); NaN: untested."""
    out = np.full((int(rounds.max()) + 1, predicted.shape[1]), np.nan)
    for labels, i in zip(predicted, rounds, strict=True):
        tested = labels != UNTESTED
        out[i, tested] = labels[tested] == place
    return out


analyses.add(
    "confusion",
    Analysis(
        name="confusion",
        summary="which labels are taken for which",
        cites=f"{PAPER}; {REVIEWS}",
        needs="observables; 4 organisms of each label",
        run=run,
        plot="plot_confusion_by_measure",
    ),
)
