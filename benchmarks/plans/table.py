"""Part 1: what the default design tells, by what is held out and by what is taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

import lrplan
from lrplan.cohort.store import Cohort
from lrplan.errors import UsageError
from lrplan.measure.contrasts import together
from lrplan.measure.design import Design, Schedule
from lrplan.measure.observables import names_of
from lrplan.measure.observe import observe_cohort
from lrplan.measure.trajectories import Trajectories
from lrplan.tell.combine import Probabilities
from lrplan.tell.intervals import Estimate, Interval, mean_of_groups, pick_groups
from plans.common import SETS, THREE, Work, judged, markdown, told

NAMES = {
    "known": "known conditions",
    "animal": "known, three areas of an animal combined late",
    "family": "**held-out family**",
    "architecture": "held-out architecture",
    "task": "held-out task",
    "hyperparameters": "held-out hyperparameters",
}
WAYS = {"One area": {}, "Three areas in one row, with contrasts": {"areas": THREE}}


def forecasts(work: Work) -> None:
    """Print a table for one area and for three, as labelled and with labels shuffled."""
    chance = 1 / len(work.cohort.rules)
    for shuffled in (False, True):
        for way, options in WAYS.items():
            found = {}
            for name, observables in SETS.items():
                design = work.design.with_(observables=observables, **options)
                plan = lrplan.forecast(
                    work.cohort,
                    design,
                    rng=work.seed,
                    shuffle_labels=shuffled,
                    classifier=work.effort.of_design(design, work.cohort),
                )
                found[name] = plan.to_dataframe()
            title = f"{way}{', labels shuffled' if shuffled else ''}"
            work.say(f"### {title}; {plan.organisms} organisms, chance {chance:.2f}\n")
            work.say(_side_by_side(found))


def _side_by_side(found: dict[str, pd.DataFrame]) -> str:
    header = ["condition"]
    for name in found:
        header += [f"{name}: accuracy", "AUC"]
    rows = []
    for condition in next(iter(found.values())).index:
        cells = [NAMES.get(condition, condition)]
        for frame in found.values():
            at = frame.loc[condition] if condition in frame.index else None
            for names in (("accuracy", "low", "high"), ("auc", "auc_low", "auc_high")):
                values = [np.nan] * 3 if at is None else [float(at[n]) for n in names]
                cells.append(told(Interval(*values)))
        if set(cells[1:]) != {"-"}:
            rows.append(cells)
    return markdown(header, rows)


def outside(work: Work, other: Cohort, rules: Sequence[str]) -> None:
    """Print what classifiers that were trained on the cohort say of another cohort's families.

    Where both have a family, classifiers for it are trained on the others alone.
    """
    design = common_design(work, other)
    # One pass serves all sets.
    recorded = [
        observe_cohort(c, design.with_(observables=SETS["both"]), rng=work.seed)
        for c in (work.cohort, other)
    ]
    sound = [t.finite(c.name)[0] for t, c in zip(recorded, (work.cohort, other), strict=True)]
    names = [n for n in sound[0].observables if n in sound[1].observables]
    shared = sorted(set(sound[0].y) & set(sound[1].y))
    unknown = sorted(set(rules) - set(shared))
    if unknown:
        raise UsageError(
            f"--outside-rules names {unknown[0]!r}; both cohorts have {', '.join(shared)}"
        )
    rules = list(rules) or shared
    train, test = (t.take(np.isin(t.y, rules)).with_observables(names) for t in sound)
    sessions = train.sessions
    work.say(
        f"### Trained on {work.cohort.name} without a family, tested on that of {other.name}\n\n"
        f"Rules {', '.join(rules)}; {sessions} sessions, {design.units} units, {design.stimuli} "
        f"stimuli; {len(np.unique(train.organisms))} organisms train, "
        f"{len(np.unique(test.organisms))} are tested; chance {1 / len(rules):.2f}\n"
    )
    for shuffled in (False, True):
        learned = train
        if shuffled:
            learned = train.telling("rule", shuffle=work.streams.rng("shuffled outside"))
            work.say("Labels shuffled:\n")
        cells: dict[tuple[str, str], list[str]] = {}
        for asked in SETS.values():
            for row, found in _outside(work, learned, test, asked).items():
                cells.setdefault(row, []).extend(told(e.interval) for e in found)
        header = ["what is recorded", "family"]
        for name in SETS:
            header += [f"{name}: accuracy", "AUC"]
        work.say(markdown(header, [[*row, *each] for row, each in cells.items()]))


def common_design(work: Work, other: Cohort) -> Design:
    """Return the default design, as far as both cohorts can give it."""
    cohorts = (work.cohort, other)
    units = min(int(np.median(c.stored_units("activity"))) for c in cohorts)
    return work.design.with_(
        units=min(int(work.design.units), units),
        stimuli=min(c.stimuli for c in cohorts),
        schedule=Schedule(sessions=min(c.checkpoints for c in cohorts)),
    )


def _outside(
    work: Work, train: Trajectories, test: Trajectories, asked: Sequence[str]
) -> dict[tuple[str, str], tuple[Estimate, Estimate]]:
    """Return accuracy and area by what is recorded and family, of some sets of observables."""
    own = names_of(asked, work.design.measures)
    kept = [o for o in train.observables if o in own]
    alone = [t.with_observables(kept) for t in (train, test)]
    row = [together(t, THREE, "both") for t in alone]
    told_of = {
        str(f): _told_of(work, alone[0], alone[1], f) for f in np.unique(test.label("family"))
    }
    in_row = {str(f): _told_of(work, row[0], row[1], f) for f in np.unique(test.label("family"))}
    ways = {
        "one area": told_of,
        "three areas combined late": {f: p.by_animal(areas=len(THREE)) for f, p in told_of.items()},
        "three areas in one row": in_row,
    }
    return {
        (way, family): found
        for way, each in ways.items()
        for family, found in _by_family(work, each).items()
    }


def _told_of(work: Work, train: Trajectories, test: Trajectories, family: str) -> Probabilities:
    """Return what classifiers that never saw a family say of it."""
    train = train.take(train.label("family") != family)
    test = test.take(test.label("family") == family)
    model = work.fit(train.features(), train.y, train.organisms, "outside")
    return Probabilities.of(
        model.predict_proba(test.features().values), np.unique(train.y), test.labels
    )


def _by_family(
    work: Work, told_of: dict[str, Probabilities]
) -> dict[str, tuple[Estimate, Estimate]]:
    """Return accuracy and area in each family, and their mean where there are several."""
    found = {
        family: judged([p], work.streams.rng("bootstrap", "outside", family))
        for family, p in told_of.items()
    }
    names = list(found)
    if len(names) < 2:
        return found
    picks = pick_groups(len(names), work.streams.rng("bootstrap", "families outside"))
    accuracy, auc = zip(*found.values(), strict=True)
    return {"mean": (mean_of_groups(accuracy, picks), mean_of_groups(auc, picks))} | found
