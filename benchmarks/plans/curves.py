"""Part 2: accuracy against the number of organisms and of families in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lrplan.classifiers.splits import Splits
from lrplan.measure.observe import observe_cohort
from lrplan.measure.trajectories import Trajectories
from lrplan.tell.combine import Probabilities
from lrplan.tell.held_out import Condition
from lrplan.tell.intervals import Estimate, mean_of_groups, pick_groups
from lrplan.tell.unseen import FOLDS
from plans.common import THREE, Split, Work, both, groups_of, in_order, judged, markdown

LABELS = ("rule", "credit", "optimizer")
ONE, LATE = "one area", "three areas, combined late"
FIRST = 3
CELL = "Cells: accuracy; area under the curve."


def recorded(work: Work) -> dict[str, Trajectories]:
    """Record the cohort under each design; what needs no pass of its own is taken of the first."""

    def observed(**options: object) -> Trajectories:
        made = observe_cohort(work.cohort, work.design.with_(**options), rng=work.seed)
        return made.finite(work.cohort.name)[0]

    one = observed()
    out = {
        ONE: one,
        "three areas and contrasts": observed(areas=THREE),
        "three areas, no contrasts": observed(areas=THREE, contrasts="none"),
        "three areas, contrasts only": observed(areas=THREE, contrasts="only"),
        # Of one session it adds nothing to relative scaling but constants.
        f"reference first, of {FIRST} sessions": observed(
            reference="first", reference_sessions=FIRST
        ),
        "deep area alone": one.take(one.label("position") == "deep"),
        "deep area, reference area:early": observed(position="deep", reference="area:early"),
    }
    if work.cohort.passive.any():
        for kind in ("passive", "control"):
            own = observed(reference=kind)
            out[f"one area, of those that have {kind}"] = one.take(
                np.isin(one.populations, own.populations)
            )
            out[f"reference {kind}"] = own
    return out


def curves(work: Work) -> None:
    """Print the curves over organisms and over families, for each label."""
    designs = recorded(work)
    if not work.cohort.passive.any():
        work.say(f"{work.cohort.name} has no passive organisms: no reference passive or control.\n")
    for label in LABELS:
        told = {name: t.telling(label) for name, t in designs.items()}
        chance = f"chance {1 / len(np.unique(told[ONE].y)):.2f}"
        _print(work, f"{label}, over organisms; {chance}", told, _over_organisms)
        _print(work, f"{label}, over families in training; {chance}", told, _over_families)


@dataclass(frozen=True)
class Question:
    """What is tested at one place of a curve.

    Parameters
    ----------
    condition, place : str
        Which curve, and where on it.
    rounds : sequence of sequence of Split
        Other choices of organisms or families.
    by_family : bool
        Whether families are judged each by itself, and then count alike.
    """

    condition: str
    place: str
    rounds: Sequence[Sequence[Split]]
    by_family: bool = True


def _print(
    work: Work,
    title: str,
    designs: dict[str, Trajectories],
    curve: Callable[[Work, Trajectories, Condition], Iterator[Question]],
) -> None:
    """Print one table for each condition: designs down, places of the curve across."""
    cells: dict[str, dict[str, dict[str, str]]] = {}
    for name, t in designs.items():
        families = Condition.of(t, "family", t.organisms)
        for question in curve(work, t, families):
            rounds = work.predict(t, question.rounds, "curve")
            rows = {name: rounds}
            if name == ONE:
                rows[LATE] = [p.by_animal(areas=len(THREE)) for p in rounds]
            for row, told in rows.items():
                found = _judge(work, told, t, families.groups if question.by_family else ())
                row = f"{row} ({len(np.unique(told[0].animals))})"
                places = cells.setdefault(question.condition, {}).setdefault(row, {})
                places[question.place] = both(*found)
    for condition, found_of in cells.items():
        places_of = list(dict.fromkeys(p for each in found_of.values() for p in each))
        lines = [[row, *(each.get(p, "-") for p in places_of)] for row, each in found_of.items()]
        work.say(f"### {title}: {condition}\n\n{CELL}\n")
        work.say(markdown(["design (its organisms)", *places_of], lines))


def _judge(
    work: Work, rounds: Sequence[Probabilities], t: Trajectories, groups: Sequence[str]
) -> tuple[Estimate, Estimate]:
    """Return accuracy and area over rounds, the mean over families where some are named."""
    if not groups:
        return judged(rounds, work.streams.rng("bootstrap"))
    family = groups_of(t.label("animal"), t.label("family"), rounds[0].animals)
    found = [
        judged([p.take(family == g) for p in rounds], work.streams.rng("bootstrap", g))
        for g in groups
    ]
    picks = pick_groups(len(groups), work.streams.rng("bootstrap", "families"))
    accuracy, auc = (mean_of_groups(each, picks) for each in zip(*found, strict=True))
    return accuracy, auc


def _over_organisms(work: Work, t: Trajectories, families: Condition) -> Iterator[Question]:
    """Train on more and more organisms; of a family that is held out all are tested."""
    every = len(np.unique(t.organisms))
    sizes = _doubled(work.effort.smallest, every)
    for n in [*sizes, every]:
        # Of many organisms few draws: they have most in common.
        draws = min(work.effort.draws, every // n)
        drawn = [
            np.isin(t.organisms, in_order(t.labels, work.streams.rng("organisms", draw))[:n])
            for draw in range(draws)
        ]
        place = f"{n} organisms" if n < every else "all"
        folds = [_folds(work, t, rows, draw) for draw, rows in enumerate(drawn)]
        yield Question("known conditions", place, folds, by_family=False)
        if families.groups:
            held_out = [[_split(families, g, rows) for g in families.groups] for rows in drawn]
            yield Question("held-out family", place, held_out)


def _over_families(work: Work, t: Trajectories, families: Condition) -> Iterator[Question]:
    """Train on more and more families, on all of their organisms or on equally many."""
    groups = families.groups
    if not groups:
        return
    order = in_order(t.labels, work.streams.rng("organisms of families"))
    least = min(len(np.unique(t.organisms[families.values == g])) for g in groups)

    def rows_of(choice: Sequence[str]) -> np.ndarray:
        return np.isin(families.values, choice)

    for k in range(1, len(groups) + 1):
        place = f"{k} {'families' if k > 1 else 'family'}"
        some = _choices(work, groups, k)
        folds = [_folds(work, t, rows_of(choice), i) for i, choice in enumerate(some)]
        yield Question("known conditions", place, folds, by_family=False)
        if k == len(groups):
            return
        # One round holds one choice of others for each family that is held out.
        others = [_choices(work, [o for o in groups if o != g], k) for g in groups]
        rounds = [[rows_of(c) for c in choice] for choice in zip(*others, strict=True)]
        yield Question("held-out family", place, [_each(families, r) for r in rounds])
        fewer = [[_first(t, order, rows, least) for rows in each] for each in rounds]
        title = f"held-out family, {least} organisms in training"
        yield Question(title, place, [_each(families, r) for r in fewer])


def _each(families: Condition, rows: Sequence[np.ndarray]) -> list[Split]:
    """Return a split for each family, which is trained on the rows beside it."""
    return [_split(families, g, r) for g, r in zip(families.groups, rows, strict=True)]


def _doubled(smallest: int, most: int) -> list[int]:
    """Return the number, its double and so on, below the most."""
    out = []
    while smallest < most:
        out.append(smallest)
        smallest *= 2
    return out


def _choices(work: Work, groups: Sequence[str], k: int) -> list[tuple[str, ...]]:
    """Return ways to choose so many families: all, or as many as there is time for."""
    every = list(combinations(groups, k))
    most = work.effort.choices
    if len(every) <= most:
        return every
    rng = work.streams.rng("families", *groups, k)
    return [every[i] for i in sorted(rng.permutation(len(every))[:most])]


def _folds(work: Work, t: Trajectories, drawn: np.ndarray, draw: int) -> list[Split]:
    """Return splits of a cross-validation over the organisms that were drawn."""
    rows = np.flatnonzero(drawn)
    rng = work.streams.rng("folds", draw)
    dealt = Splits.dealt(t.y[rows], t.organisms[rows], folds=FOLDS, rng=rng)
    out = []
    for each in dealt:
        test = np.zeros(len(t), dtype=bool)
        test[rows[each]] = True
        out.append((drawn & ~test, test))
    return out


def _split(families: Condition, group: str, drawn: np.ndarray) -> Split:
    test = families.values == group
    return drawn & ~test, test


def _first(t: Trajectories, order: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Return the rows of the first organisms in an order, of those in some rows."""
    own = order[np.isin(order, t.organisms[rows])]
    return np.isin(t.organisms, own[:n])
