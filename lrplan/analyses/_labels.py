"""One label told alone: among all organisms, and among those alike in another label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lrplan.analyses import Result
from lrplan.analyses._scoring import Scored, accuracy_dataset
from lrplan.analyses._study import check_labels, classifier_names, open_study
from lrplan.errors import DataError

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort


def tell_label(
    analysis: str,
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    label: str,
    within: str,
    measure: str | Sequence[str] | None,
    classifier: str,
    splits: int,
    rules: Sequence[str] | None,
    shuffle_labels: bool,
    observables: str | Sequence[str],
    effort: str,
) -> Result:
    """Tell one label, alone and within each value of another.

    Parameters
    ----------
    analysis : str
        Name of the result.
    label : str
        What is told.
    within : str
        Another label. Among organisms that are alike in it a classifier cannot use it. Values
        with fewer than two labels, or fewer than 4 organisms of one, are left out.
    cohort, rng, measure, classifier, splits, rules, shuffle_labels, observables, effort
        As for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, among), among being ``all`` or a value of `within`, and
        ``chance`` over among.
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
    scores: dict[tuple[str, str], Scored] = {}
    chance = []
    warnings = []
    among = []
    values = study.any.labels[within]
    for value in (None, *np.unique(values)):
        name = "all" if value is None else f"{within} {value}"
        part = study if value is None else study.take(values == value)
        if value is not None:
            if len(np.unique(part.any.labels[label])) < 2:
                continue
            try:
                check_labels(part.any, cohort, label)
            except DataError as error:
                warnings.append(f"among {name}: {error}")
                continue
        possible = splits if value is None else part.possible_splits(splits)
        if possible < splits:
            warnings.append(f"among {name}: {possible} splits, since organisms are few")
        sets, groups = part.splits(possible)
        items = {(m, name): (kind, d.features()) for m, d in part.data.items()}
        scores |= part.score(items, sets, groups)[0]
        chance.append(part.scorer.chance)
        among.append(name)
    return study.result(
        analysis,
        accuracy_dataset(
            scores, {"measure": study.measures, "among": among}, chance=("among", chance)
        ),
        options={
            "classifier": kind,
            "splits": splits,
        },
        estimates={key: s.estimate for key, s in scores.items()},
        warnings=warnings,
    )
