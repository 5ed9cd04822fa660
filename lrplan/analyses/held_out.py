"""Whole families, architectures, curricula, tasks, learning rates and regularisations held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np

from lrplan.analyses import (
    NAMES,
    PAPER,
    REVIEWS,
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
    analyses,
)
from lrplan.analyses._fits import UNTESTED
from lrplan.analyses._scoring import Scored, accuracy_dataset
from lrplan.analyses._study import classifier_names, open_study, words
from lrplan.classifiers.splits import Splits
from lrplan.cohort.conditions import conditions
from lrplan.errors import DataError
from lrplan.randomness import Streams
from lrplan.tell.intervals import Estimate

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

CONDITIONS = ("family", "architecture", "curriculum", "task", "learning_rate", "regularisation")
MOST_CASES = 10
Conditions = Annotated[
    str | Sequence[str] | None,
    Option(
        f"What is held out: {', '.join(CONDITIONS)}. Several with commas.",
        NAMES,
        unset="each of which the cohort has two",
    ),
]


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    classifier: Classifier = "random_forest",
    condition: Conditions = None,
    label: Label = "rule",
    rules: Rules = None,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Train without a whole condition and test on it, as figure 2(b) of the paper.

    Holding out half of a cohort costs accuracy by itself, since less is left to train on.
    ``known`` is therefore the accuracy with as many random folds of organisms held out in place of
    the conditions, and ``cost`` is the difference between the two, paired by organism. More than
    ten values are held out in ten groups.

    Parameters
    ----------
    condition : str or sequence of str, optional
        ``family`` of architectures (a brain is one), ``architecture``, ``curriculum`` (batch size
        x data seed), ``task``, ``learning_rate`` (its rank within rule, architecture and task, or
        third where there are many) or ``regularisation`` (weight decay); by default each of which
        the cohort has at least two.
    cohort, rng, measure, classifier, label, rules, shuffle_labels, observables, effort
        As for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy``, ``known`` and ``cost`` with intervals over (measure, condition); over
        (measure, case) ``case_accuracy`` for each value held out.

    Raises
    ------
    DataError
        If a condition that was asked for, or every one, has a single value.
    """
    [kind] = classifier_names([classifier], ())
    asked = words(condition, CONDITIONS, "condition", CONDITIONS)
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
    data = study.any
    values = conditions(cohort, data.populations)
    single = [c for c in asked if len(np.unique(values[c])) < 2]
    if single and (condition is not None or len(single) == len(asked)):
        raise DataError(
            f"the cohort {cohort.name!r} has one {single[0].replace('_', ' ')} "
            f"({values[single[0]][0]}); at least 2 are needed to hold one out"
        )
    warnings = [f"the cohort has one {c.replace('_', ' ')}; none was held out" for c in single]
    used = [c for c in asked if c not in single]
    scores: dict[tuple[str, str], Scored] = {}
    known: dict[tuple[str, str], Estimate] = {}
    cases: list[tuple[str, str]] = []
    by_case: dict[tuple[str, str], Estimate] = {}
    case_cost: dict[tuple[str, str], Estimate] = {}
    for c in used:
        names, fold = _cases(values[c], study.streams)
        random = _dealt_anew(fold, data.y, data.organisms, study.streams)
        sets, control = Splits.of_folds(fold), Splits.of_folds(random)
        items = {(m, c): (kind, d.features()) for m, d in study.data.items()}
        found, predicted = study.score(items, sets)
        controlled, seen = study.score(items, control)
        known |= {key: s.estimate for key, s in controlled.items()}
        for i, name in enumerate(names):
            case = f"{c}: {name}"
            cases.append((c, case))
            if any((p[i] == UNTESTED).all() for p in predicted.values()):
                warnings.append(f"{case} cannot be held out: too little of a {label} is left")
                found = {key: Scored.missing() for key in found}
                known |= {key: Estimate.missing() for key in found}
        for i, name in enumerate(names):
            once = np.zeros(1, dtype=int)
            for m in study.measures:
                alone = study.scorer.accuracy(predicted[m, c][i : i + 1], once)
                same = np.where(fold == i, seen[m, c].max(axis=0, keepdims=True), UNTESTED)
                by_case[m, f"{c}: {name}"] = alone
                case_cost[m, f"{c}: {name}"] = study.scorer.accuracy(same, once) - alone
        scores |= found
    dataset = accuracy_dataset(
        scores, {"measure": study.measures, "condition": used}, chance=study.scorer.chance
    )
    cost = {key: known[key] - scores[key].estimate for key in scores}
    for name, what, text in (
        ("known", known, "accuracy with random organisms held out, as many"),
        ("cost", cost, "accuracy lost by holding out the condition"),
    ):
        for part in ("mean", "low", "high"):
            grid = [[getattr(what[m, c].interval, part) for c in used] for m in study.measures]
            dataset[name if part == "mean" else f"{name}_{part}"] = (
                ("measure", "condition"),
                grid,
                {"long_name": text, "units": "1"},
            )
    dataset = dataset.assign_coords(
        case=[case for _, case in cases], case_condition=("case", [c for c, _ in cases])
    )
    for part in ("mean", "low", "high"):
        dataset["case_accuracy" if part == "mean" else f"case_{part}"] = (
            ("measure", "case"),
            [
                [getattr(by_case[m, case].interval, part) for _, case in cases]
                for m in study.measures
            ],
            {"long_name": "accuracy on one condition that was held out", "units": "1"},
        )
    estimates: dict[tuple[str, ...], Estimate] = {
        ("accuracy", *key): s.estimate for key, s in scores.items()
    }
    estimates |= {("known", *key): e for key, e in known.items()}
    estimates |= {("cost", *key): e for key, e in cost.items()}
    estimates |= {("case", *key): e for key, e in by_case.items()}
    estimates |= {("case cost", *key): e for key, e in case_cost.items()}
    return study.result(
        "held_out",
        dataset,
        options={
            "classifier": kind,
            "condition": used,
        },
        estimates=estimates,
        warnings=warnings,
    )


def _dealt_anew(
    fold: np.ndarray, y: np.ndarray, organisms: np.ndarray, streams: Streams
) -> np.ndarray:
    """Return folds of random organisms, of each label as many in each as before.

    So what a condition costs is not what smaller training sets cost.
    """
    _, first, index = np.unique(organisms, return_index=True, return_inverse=True)
    dealt = fold[first]
    rng = streams.rng("folds of the control")
    for label in np.unique(y):
        members = np.flatnonzero(y[first] == label)
        dealt[members] = rng.permutation(dealt[members])
    return dealt[index]


def _cases(values: np.ndarray, streams: Streams) -> tuple[list[str], np.ndarray]:
    """Return what is held out together: each value, or ten groups of whole values."""
    names, fold = np.unique(values, return_inverse=True)
    if len(names) <= MOST_CASES:
        return [str(n) for n in names], fold
    group = streams.rng("groups of values").permutation(len(names)) % MOST_CASES
    return [f"group {i + 1}" for i in range(MOST_CASES)], group[fold]


analyses.add(
    "held_out",
    Analysis(
        name="held_out",
        summary="what does a condition cost that was never trained on",
        cites=f"{PAPER}, figure 2(b); {REVIEWS}",
        needs="observables; two of a condition (families, architectures, tasks, rates, ...)",
        run=run,
        plot="plot_held_out",
    ),
)
