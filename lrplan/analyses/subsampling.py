"""Fewer samples of a trajectory, closer together or farther apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from lrplan.analyses import (
    PAPER,
    WHOLES,
    Analysis,
    Classifier,
    Effort,
    Label,
    Measure,
    Observables,
    Option,
    Result,
    Rules,
    ShuffleLabels,
    SplitCount,
    analyses,
)
from lrplan.analyses._fits import Fit, run_fits
from lrplan.analyses._scoring import accuracy_dataset, scored
from lrplan.analyses._study import classifier_names, open_study
from lrplan.arguments import positive_int
from lrplan.errors import UsageError

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

Samples = Annotated[
    Sequence[int] | None,
    Option("How many sessions. Several with commas.", WHOLES, "N", unset="from 2 to all"),
]
Periods = Annotated[
    Sequence[int] | None,
    Option(
        "Checkpoints from one session to the next. Several with commas.",
        WHOLES,
        "K",
        unset="from 1 to half of all",
    ),
]


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    classifier: Classifier = "random_forest",
    samples: Samples = None,
    period: Periods = None,
    label: Label = "rule",
    splits: SplitCount = 10,
    rules: Rules = None,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Sample trajectories a number of times at a fixed period, as figure 4(a) of the paper.

    Where the samples start is drawn anew for each split, and is the same for all organisms and
    measures.

    Parameters
    ----------
    samples : sequence of int, optional
        How many sessions; by default from 2 to all checkpoints.
    period : sequence of int, optional
        Checkpoints from one to the next; by default from 1 to half of the checkpoints.
    cohort, rng, measure, classifier, label, splits, rules, shuffle_labels, observables, effort
        As for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, samples, period); NaN where the samples do not fit.
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
    available = study.any.sessions
    counts = _numbers(samples, "samples", default_samples(available))
    periods = _numbers(period, "period", default_periods(available))
    designs = [(n, p) for n in counts for p in periods if (n - 1) * p < available]
    if not designs:
        raise UsageError(
            f"{min(counts)} samples {min(periods)} checkpoints apart do not fit into the cohort's "
            f"{available} checkpoints; ask for fewer samples or a smaller period"
        )
    sets, groups = study.splits(splits)
    # One place for each split, so that designs differ as little as they can in where they look.
    place = study.streams.rng("where samples start").random(len(sets.test))
    fits: list[Fit] = []
    for data in study.data.values():
        for n, p in designs:
            start = np.floor(place * (available - (n - 1) * p)).astype(int)
            parts = {s: data.at(s + p * np.arange(n)).features() for s in np.unique(start)}
            every = study.fits(kind, parts[start[0]], sets, groups)
            fits += [replace(f, features=parts[s]) for s, f in zip(start, every, strict=True)]
    labels = iter(run_fits(fits, effort=study.effort))
    scores = {
        (m, n, p): scored(np.stack([next(labels)[0] for _ in sets.test]), sets, study.scorer)
        for m in study.measures
        for n, p in designs
    }
    return study.result(
        "subsampling",
        accuracy_dataset(
            scores,
            {"measure": study.measures, "samples": counts, "period": periods},
            chance=study.scorer.chance,
        ),
        options={
            "classifier": kind,
            "splits": splits,
        },
        estimates={(m, str(n), str(p)): s.estimate for (m, n, p), s in scores.items()},
    )


def default_samples(available: int) -> list[int]:
    """Return 2, 3, 5 and roughly half of the checkpoints, and all of them."""
    return sorted({n for n in (2, 3, 5, (available + 1) // 2, available) if 2 <= n <= available})


def default_periods(available: int) -> list[int]:
    """Return 1, 2, 5 and half of the checkpoints."""
    return sorted({p for p in (1, 2, 5, (available - 1) // 2) if 1 <= p < available}) or [1]


def _numbers(value: Sequence[int] | None, what: str, default: list[int]) -> list[int]:
    if value is None:
        return default
    numbers = sorted({positive_int(v, what) for v in value})
    if not numbers:
        raise UsageError(f"{what} is empty; expected at least one whole number")
    return numbers


analyses.add(
    "subsampling",
    Analysis(
        name="subsampling",
        summary="how often and how far apart must a trajectory be sampled",
        cites=f"{PAPER}, figure 4(a)",
        needs="observables at 2 checkpoints; 4 organisms of each label",
        run=run,
        plot="plot_subsampling",
    ),
)
