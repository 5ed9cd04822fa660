"""Sweep: forecasts of many designs at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from lrplan.classifiers.bagging import out_of_bag_votes
from lrplan.classifiers.splits import organism_folds
from lrplan.errors import UsageError
from lrplan.measure.design import Design, Schedule
from lrplan.measure.examples import FOLDS, Examples, assemble, check_rules, shuffled_rules
from lrplan.measure.features import Features, Observed, observe
from lrplan.measure.virtual import check_held, draw_key, usable
from lrplan.tell.forecast import cross_predict, recorded_whole, streams
from lrplan.tell.intervals import Bootstrap
from lrplan.threads import threads

if TYPE_CHECKING:
    from lrplan.classifiers.rule_classifier import RuleClassifier
    from lrplan.cohort.store import Cohort


def sweep(
    cohort: Cohort,
    design: Design,
    *,
    units: Sequence[int],
    noise: Sequence[float],
    rng: np.random.Generator,
    schedules: Sequence[Schedule] | None = None,
    measure: Sequence[str] | None = None,
    shuffle_labels: bool = False,
    classifier: RuleClassifier | None = None,
) -> xr.Dataset:
    """Forecast the accuracy for every combination of units, noise and schedule.

    The cohort is recorded once (once per measure and repeat) for all combinations, and each
    combination is what `record` gives with the same `rng`. By default accuracy comes from one
    forest per combination that is bagged by organism. It differs from `forecast`, which tests five
    forests that were trained on four fifths of the organisms
    each and whose settings were chosen there, by far less than the interval.

    Parameters
    ----------
    cohort, design
        As for `forecast`; the design gives all but units, noise, and schedule and measure where
        these are listed.
    units : sequence of int
        Recorded per population.
    noise : sequence of float
        In units of the signal's standard deviation.
    rng : numpy.random.Generator
        Each combination gets the same stream, so that they differ by the design alone.
    schedules : sequence of Schedule, optional
        By default the design's own, and no such dimension.
    measure : sequence of str, optional
        Measures (or several joined by commas), one after the other; by default the design's own,
        and no such dimension.
    shuffle_labels : bool, default False
        Whether organisms swap rules at random: the accuracy must then be chance.
    classifier : RuleClassifier, optional
        Tested in five folds for each combination: then each is what `forecast` with the same
        `rng` and classifier finds, at the price of as many forecasts.

    Returns
    -------
    xarray.Dataset
        ``accuracy``, ``low`` and ``high`` over ([measure,] units, noise[, schedule]), and
        ``chance``. Schedules are named; ``sessions`` is their number of sessions. The attribute
        ``not_finite`` names observables that were left out, for all recordings of a combination;
        ``recorded_whole`` says where populations hold fewer units than asked.

    Raises
    ------
    UsageError
        If a list is empty, or a combination asks for more than the cohort holds.
    DataError
        If the cohort has too few rules or organisms.
    """
    for name, given in (
        ("units", units),
        ("noise", noise),
        ("schedules", schedules),
        ("measure", measure),
    ):
        if given is not None and not len(given):
            raise UsageError(f"{name} is empty; name at least one")
    listed = [design.schedule] if schedules is None else list(schedules)
    designs = [design] if measure is None else [design.with_(measure=m) for m in measure]
    whole: dict[str, None] = {}
    for u, n, d in product(units, noise, designs):
        # A design that cannot be is refused before any work.
        asked = d.with_(units=u, noise=n)
        populations = usable(cohort, asked, None)
        check_held(cohort, asked, populations)
        whole |= dict.fromkeys(recorded_whole(cohort, asked, populations))
    found = [
        _sweep_measure(
            cohort,
            d.with_(units=max(units), noise=max(noise)),
            units=list(units),
            noise=list(noise),
            schedules=listed,
            rng=deepcopy(rng),
            shuffle_labels=shuffle_labels,
            classifier=classifier,
        )
        for d in designs
    ]
    dims = ("measure", "units", "noise", "schedule")
    figures = np.stack([each for each, _, _ in found])
    sessions = [len(s.checkpoints(cohort.checkpoints)) for s in listed]
    out = xr.Dataset(
        {name: (dims, figures[..., k]) for k, name in enumerate(("accuracy", "low", "high"))},
        coords={
            "measure": ["+".join(d.measures) for d in designs],
            "units": list(units),
            "noise": list(noise),
            "schedule": [_schedule_name(s, n) for s, n in zip(listed, sessions, strict=True)],
            "sessions": ("schedule", sessions),
        },
    )
    out["chance"] = 1 / found[0][1]
    lost = sorted({name for _, _, dropped in found for name in dropped})
    out.attrs["not_finite"] = ", ".join(lost)
    out.attrs["recorded_whole"] = "; ".join(whole)
    if schedules is None:
        out = out.isel(schedule=0, drop=True)
    return out.isel(measure=0, drop=True) if measure is None else out


def _schedule_name(schedule: Schedule, sessions: int) -> str:
    """Return a schedule in words that tell it from others."""
    words = f"{sessions} sessions"
    if schedule.spacing is not None:
        words += f", {schedule.spacing} apart"
    if schedule.start:
        words += f", from {schedule.start}"
    return words


def _sweep_measure(
    cohort: Cohort,
    design: Design,
    *,
    units: list[int],
    noise: list[float],
    schedules: list[Schedule],
    rng: np.random.Generator,
    shuffle_labels: bool,
    classifier: RuleClassifier | None,
) -> tuple[np.ndarray, int, set[str]]:
    """Return mean, low and high for (units, noise, schedule), the number of rules, what is lost."""
    seed, repeats = streams(rng)
    chosen = usable(cohort, design, None)
    labels = {k: v.astype(str) for k, v in cohort.labels(chosen).items()}
    check_rules(cohort, labels, FOLDS)
    shape = (len(units), len(noise), len(schedules))
    cells = list(np.ndindex(shape))
    rules = shuffled_rules(labels, seed) if shuffle_labels else labels["rule"]
    right = np.empty((len(cells), len(repeats), len(chosen)))
    lost: set[str] = set()

    def finite(features: Features) -> Examples:
        examples, dropped = assemble(features, chosen, labels, rules).finite(cohort.name)
        lost.update(dropped)
        return examples

    for repeat, stream in enumerate(repeats):
        # In a function of its own, so that one repeat is forgotten before the next is recorded.
        right[:, repeat] = _right(
            observe(
                cohort,
                design,
                key=draw_key(stream),
                populations=chosen,
                units=units,
                noise=noise,
                schedules=schedules,
            ),
            finite,
            cells,
            seed=seed + repeat,
            classifier=classifier,
        )
    figures = np.empty((*shape, 3))
    for cell, values in zip(cells, right, strict=True):
        bootstrap = Bootstrap(rules, labels["organism"], rng=np.random.default_rng(seed + 1))
        found = bootstrap.balanced(values)
        figures[cell] = found.mean, found.low, found.high
    return figures, len(np.unique(rules)), lost


def _right(
    observed: Observed,
    examples: Callable[[Features], Examples],
    cells: Sequence[tuple[int, ...]],
    *,
    seed: int,
    classifier: RuleClassifier | None,
) -> np.ndarray:
    """Return whether each recording's rule was found, (cell, recording).

    Every combination meets the same folds, or organisms and trees.
    """

    def judge(cell: tuple[int, ...]) -> np.ndarray:
        e = examples(observed.features(*cell))
        if classifier is None:
            p = out_of_bag_votes(e.values, e.rules, e.organisms, seed=seed)
        else:
            fold = organism_folds(e.rules, e.organisms, FOLDS, np.random.default_rng(seed))
            [p] = cross_predict([(e, fold)], e.organisms, seed=seed, classifier=classifier)
        return np.asarray(np.unique(e.rules)[p.argmax(axis=1)] == e.rules)

    # Tests in folds bring threads of their own.
    with ThreadPoolExecutor(threads() if classifier is None else 1) as pool:
        return np.stack(list(pool.map(judge, cells)))


def accuracy_by_units(
    cohort: Cohort,
    design: Design,
    *,
    rng: np.random.Generator,
    classifier: RuleClassifier | None = None,
) -> xr.Dataset:
    """Return a `sweep` over units around the design's, at its noise.

    Where the design takes all units, over parts of what is stored.
    """
    most = min(int(cohort.stored_units(m).min()) for m in design.measures)
    centre = most if design.all_units else design.unit_count
    units = _around(centre, (0.03, 0.1, 0.3, 1), least=1, most=most)
    return sweep(cohort, design, units=units, noise=[design.noise], rng=rng, classifier=classifier)


def accuracy_by_noise(
    cohort: Cohort,
    design: Design,
    *,
    rng: np.random.Generator,
    classifier: RuleClassifier | None = None,
) -> xr.Dataset:
    """Return a `sweep` over noise around the design's, at its units.

    Where the design takes all units, at as many as are stored of every population.
    """
    most = min(int(cohort.stored_units(m).min()) for m in design.measures)
    units = most if design.all_units else design.unit_count
    centre = design.noise or 0.1
    noise = sorted({0.0, design.noise} | {centre * f for f in (0.3, 3, 10, 30)})
    return sweep(cohort, design, units=[units], noise=noise, rng=rng, classifier=classifier)


def _around(centre: int, factors: Iterable[float], *, least: int, most: int) -> list[int]:
    values = {min(max(least, round(centre * f)), max(most, centre)) for f in factors}
    return sorted(values | {centre} | ({most} if most > centre else set()))
