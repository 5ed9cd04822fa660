"""Rules of equal performance: is it only how well an organism does its task that tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np

from lrplan.analyses import (
    NAMES,
    NUMBER,
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
    SplitCount,
    analyses,
)
from lrplan.analyses._scoring import Scored, accuracy_dataset
from lrplan.analyses._study import check_labels, classifier_names, open_study, words
from lrplan.classifiers.splits import Splits
from lrplan.cohort.conditions import performance
from lrplan.errors import DataError, UsageError
from lrplan.measure.trajectories import Features, Trajectories

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

MATCHES = ("none", "organisms", "checkpoints", "lowest")
LEVELS = 5
LOWEST = 0.2
ALONE = "performance"
Matches = Annotated[
    str | Sequence[str],
    Option(f"What is matched: {', '.join(MATCHES)}. Several with commas.", NAMES),
]
Tolerance = Annotated[
    float,
    Option("How far equal performances lie apart at most, from 0 to 1.", NUMBER, metavar="SHARE"),
]
Architectures = Annotated[
    Sequence[str] | None,
    Option("Only organisms of these architectures. Several with commas.", NAMES, unset="all"),
]


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    classifier: Classifier = "random_forest",
    match: Matches = MATCHES,
    tolerance: Tolerance = 0.02,
    rules: Rules = None,
    architectures: Architectures = None,
    label: Label = "rule",
    splits: SplitCount = 10,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Tell apart organisms that do their task equally well.

    Whatever is matched is matched within each architecture and task. The measure ``performance``
    stands beside the others: it tells labels from the performance at the same moments, and
    nothing else. Where it is at chance, the matching has worked.

    Parameters
    ----------
    match : str or sequence of str
        ``none``: as they are. ``organisms``: sets of one organism of each label whose final
        performances lie within `tolerance`; whole trajectories. ``checkpoints``: each organism is
        seen at the moments at which it reached the same 5 levels of performance, up to the lowest
        common one; they are quantiles of the performances seen, from 20% on. ``lowest``: only at
        the lowest common one, the lowest over labels of the median best performance. Organisms
        that miss a level by more than `tolerance` are left out. By default all four.
    tolerance : float, default 0.02
        In the task's accuracy, from 0 to 1.
    rules, architectures : sequence of str, optional
        Only these.
    cohort, rng, measure, classifier, label, splits, shuffle_labels, observables, effort
        As for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, match), and over match the number of ``organisms`` left; NaN
        where a label has fewer than 4.
    """
    [kind] = classifier_names([classifier], ())
    matches = words(match, MATCHES, "match", MATCHES)
    if not 0 <= tolerance <= 1:
        raise UsageError(f"tolerance is {tolerance:g}; expected an accuracy from 0 to 1")
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
    if architectures is not None:
        known = sorted(set(data.labels["architecture"]))
        wanted = words(architectures, (), "architecture", known)
        study = study.take(np.isin(data.labels["architecture"], wanted))
        check_labels(study.any, cohort, label)
        data = study.any
    kinds = np.unique(data.y)
    reached = performance(cohort, data.populations)
    stratum = np.char.add(np.char.add(data.labels["architecture"], " on "), data.labels["task"])
    scores: dict[tuple[str, str], Scored] = {}
    left = []
    warnings = []
    for how in matches:
        rows, sessions, together = _matched(
            how, reached, data.y, data.organisms, stratum, tolerance
        )
        _, first = np.unique(data.organisms[rows], return_index=True)
        counts = [int((data.y[rows][first] == k).sum()) for k in kinds]
        left.append(len(first))
        if min(counts) < 4:
            warnings.append(
                f"match {how}: {min(counts)} organisms of {str(kinds[int(np.argmin(counts))])!r} "
                f"are left within {tolerance:g} of the others' performance; 4 are needed"
            )
            continue
        part = study.take(rows)
        at = np.arange(len(rows))[:, None], sessions
        items = {(m, how): (kind, _seen(d, d.values[at])) for m, d in part.data.items()}
        alone = Trajectories.of(
            reached[rows][at][..., None], ["performance"], part.any.labels, positioned=False
        )
        items[ALONE, how] = (kind, alone.features())
        possible = part.possible_splits(splits)
        if possible < splits:
            warnings.append(f"match {how}: {possible} splits, since few organisms are left")
        sets, groups = part.splits(possible)
        if together is not None:
            # An organism whose equals of the other rules are in training would be taken for one
            # of them, and the accuracy be below chance. So sets are tested whole.
            rng = study.streams.rng("splits")
            alike = np.zeros(len(together))
            sets = Splits.balanced(alike, together, rng=rng, splits=possible)
        scores |= part.score(items, sets, groups)[0]
    if not scores:
        raise DataError(f"no match leaves enough organisms in {cohort.name!r}: {warnings[0]}")
    dataset = accuracy_dataset(
        scores, {"measure": [*study.measures, ALONE], "match": matches}, chance=1 / len(kinds)
    )
    dataset["organisms"] = ("match", left, {"long_name": "organisms left", "units": "1"})
    return study.result(
        "equal_performance",
        dataset,
        options={
            "classifier": kind,
            "match": matches,
            "tolerance": tolerance,
            "architectures": None if architectures is None else list(architectures),
            "splits": splits,
        },
        estimates={key: s.estimate for key, s in scores.items()},
        warnings=warnings,
    )


def _seen(data: Trajectories, values: np.ndarray) -> Features:
    """Return the features of recordings that are each seen at checkpoints of their own."""
    return Trajectories.of(values, data.observables, data.labels).features()


def _matched(
    how: str,
    reached: np.ndarray,
    y: np.ndarray,
    organisms: np.ndarray,
    stratum: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return which recordings are left, at which checkpoints each is seen, and what is matched.

    Parameters
    ----------
    reached : array (recording, checkpoint)
        Performance.

    Returns
    -------
    rows : array of int
        Recordings.
    sessions : array (row, session) of int
        Checkpoints.
    together : array (row,) of str, or None
        The set of equals that each belongs to, if organisms are matched.
    """
    every = np.tile(np.arange(reached.shape[1]), (len(y), 1))
    if how == "none":
        return np.arange(len(y)), every, None
    _, first, index = np.unique(organisms, return_index=True, return_inverse=True)
    if how == "organisms":
        member = np.full(len(first), "", dtype=object)
        for s in np.unique(stratum):
            of = np.flatnonzero(stratum[first] == s)
            sets = _sets(reached[first[of], -1], y[first[of]], np.unique(y), tolerance)
            for i, equals in enumerate(sets):
                member[of[equals]] = f"{s}, {i}"
        rows = np.flatnonzero(member[index] != "")
        return rows, every[rows], member[index][rows].astype(str)
    levels = LEVELS if how == "checkpoints" else 1
    sessions = np.full((len(y), levels), -1)
    for s in np.unique(stratum):
        rows = np.flatnonzero(stratum == s)
        own = [reached[rows][y[rows] == k] for k in np.unique(y[rows])]
        top = min(float(np.median(p.max(axis=1))) for p in own)
        # Levels at which organisms were seen: they may learn most between two checkpoints.
        seen = reached[rows][reached[rows] <= top]
        wanted = np.quantile(seen, np.linspace(LOWEST, 1, levels)) if levels > 1 else [top]
        off = np.abs(reached[rows][:, :, None] - wanted)
        # The first of equally near checkpoints: when the level was reached.
        nearest = off.argmin(axis=1)
        near = np.take_along_axis(off, nearest[:, None], axis=1)[:, 0] <= tolerance
        sessions[rows] = np.where(near.all(axis=1, keepdims=True), nearest, -1)
    rows = np.flatnonzero((sessions >= 0).all(axis=1))
    return rows, sessions[rows], None


def _sets(final: np.ndarray, y: np.ndarray, kinds: np.ndarray, tolerance: float) -> list[list[int]]:
    """Return sets of organisms, one of each kind, whose performances lie close together.

    The closest set is taken out first, then the closest of those left, until none lies within
    `tolerance`.
    """
    left = {k: [int(i) for i in np.flatnonzero(y == k)] for k in kinds}
    out: list[list[int]] = []
    while all(left.values()):
        best: tuple[float, list[int]] | None = None
        for lowest in (i for members in left.values() for i in members):
            # The smallest set that begins at this performance.
            above = {
                k: [i for i in members if final[i] >= final[lowest]] for k, members in left.items()
            }
            above[y[lowest]] = [lowest]
            if not all(above.values()):
                continue
            found = [min(members, key=lambda i: (final[i], i)) for members in above.values()]
            spread = float(max(final[found]) - final[lowest])
            if best is None or spread < best[0]:
                best = spread, found
        if best is None or best[0] > tolerance:
            break
        out.append(best[1])
        for i in best[1]:
            left[y[i]].remove(i)
    return out


analyses.add(
    "equal_performance",
    Analysis(
        name="equal_performance",
        summary="can rules be told apart whose organisms do their task equally well",
        cites=f"{PAPER}, figure S2(a); {REVIEWS}",
        needs="observables; performance at all checkpoints",
        run=run,
        plot="plot_equal_performance",
    ),
)
