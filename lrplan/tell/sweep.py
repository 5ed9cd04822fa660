"""Sweep: forecasts of many designs at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.arguments import generator
from lrplan.classifiers import seeded
from lrplan.cohort import as_cohort
from lrplan.errors import UsageError
from lrplan.measure.design import Design, Schedule
from lrplan.measure.observe import Observed, observe_designs
from lrplan.measure.virtual import check_held, draw_key, lacking_contrasts, usable
from lrplan.randomness import Streams
from lrplan.tell.intervals import Bootstrap
from lrplan.tell.unseen import (
    check_classifier,
    check_design,
    check_rules,
    cross_predict,
    default_classifier,
    draw_streams,
    recorded_whole,
    within_known,
)
from lrplan.threads import threads

if TYPE_CHECKING:
    from lrplan.classifiers.calibrated import Calibrated
    from lrplan.cohort.store import Cohort


def sweep(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    units: int | Sequence[int],
    noise: float | Sequence[float],
    rng: np.random.Generator | int,
    schedules: Schedule | Sequence[Schedule] | None = None,
    measure: str | Sequence[str] | None = None,
    shuffle_labels: bool = False,
    classifier: Calibrated | None = None,
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
        As for `forecast`: a cohort, its name or path; the design gives all but units, noise,
        and schedule and measure where these are listed.
    units : int or sequence of int
        Recorded per population.
    noise : float or sequence of float
        In units of the signal's standard deviation.
    rng : numpy.random.Generator or int
        Each combination gets the same stream, so that they differ by the design alone.
    schedules : Schedule or sequence of Schedule, optional
        By default the design's own, and no such dimension.
    measure : str or sequence of str, optional
        Measures (or several joined by commas), one after the other; by default the design's own,
        and no such dimension.
    shuffle_labels : bool, default False
        Whether organisms swap rules at random: the accuracy must then be chance.
    classifier : Calibrated, optional
        Unseen in five folds for each combination: then each is what `forecast` with the same
        `rng` and classifier finds, at the price of as many forecasts.

    Returns
    -------
    xarray.Dataset
        ``accuracy``, ``low`` and ``high`` over ([measure,] units, noise[, schedule]), and
        ``chance``. Schedules are named; ``sessions`` is their number of sessions. The attribute
        ``not_finite`` names observables that were left out, for all recordings of a combination;
        ``recorded_whole`` says where populations hold fewer units than asked; ``left_out`` counts
        organisms that diverged, did not learn, or lack an area or reference.

    Raises
    ------
    UsageError
        If a list is empty, or a combination asks for more than the cohort holds.
    DataError
        If the cohort has too few rules or organisms, or a rule of which no organism learned.
    """
    cohort = as_cohort(cohort)
    check_design(design)
    if classifier is not None:
        check_classifier(classifier)
    counts, levels = _listed(units, "units"), _listed(noise, "noise")
    planned = [design.schedule] if schedules is None else _listed(schedules, "schedules")
    measures = None if measure is None else _listed(measure, "measure")
    designs = [design] if measures is None else [design.with_(measure=m) for m in measures]
    for s in planned:
        if not isinstance(s, Schedule):
            raise UsageError(f"schedules holds {s!r}; expected Schedules, as Schedule(sessions=5)")
    cohort.refuse_lost_rules()
    whole: dict[str, None] = {}
    for u, n, d in product(counts, levels, designs):
        # A design that cannot be is refused before any work.
        asked = d.with_(units=u, noise=n)
        populations = usable(cohort, asked, None)
        check_held(cohort, asked, populations)
        whole |= dict.fromkeys(recorded_whole(cohort, asked, populations))
    streams, recorders = draw_streams(generator(rng))
    keys = [draw_key(r) for r in recorders]
    found = [
        _sweep_measure(
            cohort,
            d.with_(units=max(counts), noise=max(levels)),
            units=counts,
            noise=levels,
            schedules=planned,
            keys=keys,
            streams=streams,
            shuffle_labels=shuffle_labels,
            classifier=classifier,
        )
        for d in designs
    ]
    dims = ("measure", "units", "noise", "schedule")
    figures = np.stack([each for each, _, _ in found])
    sessions = [len(s.checkpoints(cohort.checkpoints)) for s in planned]
    out = xr.Dataset(
        {name: (dims, figures[..., k]) for k, name in enumerate(("accuracy", "low", "high"))},
        coords={
            "measure": ["+".join(d.measures) for d in designs],
            "units": counts,
            "noise": levels,
            "schedule": [_schedule_name(s, n) for s, n in zip(planned, sessions, strict=True)],
            "sessions": ("schedule", sessions),
        },
    )
    out["chance"] = 1 / found[0][1]
    lost = sorted({name for _, _, dropped in found for name in dropped})
    out.attrs["not_finite"] = ", ".join(lost)
    out.attrs["recorded_whole"] = "; ".join(whole)
    out.attrs["left_out"] = "; ".join(lacking_contrasts(cohort, design) + cohort.fate_warnings())
    if schedules is None:
        out = out.isel(schedule=0, drop=True)
    return out.isel(measure=0, drop=True) if measure is None else out


def _listed(given: Any, name: str) -> list[Any]:
    """Return what was given as a list: one of a kind is a list of one."""
    if isinstance(given, str | Schedule) or not isinstance(given, Sequence | np.ndarray):
        return [given]
    listed = list(given)
    if not listed:
        raise UsageError(f"{name} is empty; name at least one")
    if any(a == b for a, b in combinations(listed, 2)):
        raise UsageError(f"{name} is {listed!r}; expected different ones")
    return listed


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
    keys: list[int],
    streams: Streams,
    shuffle_labels: bool,
    classifier: Calibrated | None,
) -> tuple[np.ndarray, int, set[str]]:
    """Return mean, low and high for (units, noise, schedule), the number of rules, what is lost."""
    populations = usable(cohort, design, None)
    shape = (len(units), len(noise), len(schedules))
    cells = list(np.ndindex(shape))
    found = []
    lost: set[str] = set()
    for repeat, key in enumerate(keys):
        observed = observe_designs(
            cohort,
            design,
            key=key,
            populations=populations,
            units=units,
            noise=noise,
            schedules=schedules,
        )
        some = observed.trajectories()
        check_rules(some, cohort)
        if shuffle_labels:
            some = some.telling("rule", shuffle=streams.rng("shuffled labels"))
        found.append(
            _right(observed, some.y, cells, lost, cohort.name, streams, repeat, classifier)
        )
        # Forgotten before the next is recorded.
        del observed
    figures = np.empty((*shape, 3))
    bootstrap = Bootstrap(some.y, some.organisms, rng=streams.rng("bootstrap"))
    for cell, right in zip(cells, np.stack(found, axis=1), strict=True):
        interval = bootstrap.balanced(right)
        figures[cell] = interval.mean, interval.low, interval.high
    return figures, len(np.unique(some.y)), lost


def _right(
    observed: Observed,
    told: np.ndarray,
    cells: Sequence[tuple[int, ...]],
    lost: set[str],
    cohort: str,
    streams: Streams,
    repeat: int,
    classifier: Calibrated | None,
) -> np.ndarray:
    """Return whether each recording's rule was found, (cell, recording).

    Every combination meets the same folds, or organisms and trees.
    """
    kinds = np.unique(told)

    def judge(cell: tuple[int, ...]) -> np.ndarray:
        t, dropped = observed.trajectories(*cell).finite(cohort)
        lost.update(dropped)
        if classifier is not None:
            tested = within_known(t.telling(told), t.organisms, streams, repeat)
            [p] = cross_predict([tested], t.organisms, streams=streams, classifier=classifier)
            return p.right
        features = t.features()
        model = seeded(default_classifier(features), streams.seed("bagging", repeat))
        model.fit(features.values, told, groups=t.organisms)
        return (kinds[model.out_of_fold_.argmax(axis=1)] == told).astype(float)

    # Tests in folds bring threads of their own.
    with ThreadPoolExecutor(threads() if classifier is None else 1) as pool:
        return np.stack(list(pool.map(judge, cells)))


def accuracy_by_units(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    rng: np.random.Generator | int,
    classifier: Calibrated | None = None,
) -> xr.Dataset:
    """Return a `sweep` over units around the design's, at its noise.

    Where the design takes all units, over parts of what is stored.
    """
    cohort = as_cohort(cohort)
    check_design(design)
    most = min(int(cohort.stored_units(m).min()) for m in design.measures)
    centre = most if design.all_units else design.unit_count
    units = _around(centre, (0.03, 0.1, 0.3, 1), least=1, most=most)
    return sweep(cohort, design, units=units, noise=[design.noise], rng=rng, classifier=classifier)


def accuracy_by_noise(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    rng: np.random.Generator | int,
    classifier: Calibrated | None = None,
) -> xr.Dataset:
    """Return a `sweep` over noise around the design's, at its units.

    Where the design takes all units, at as many as are stored of every population.
    """
    cohort = as_cohort(cohort)
    check_design(design)
    most = min(int(cohort.stored_units(m).min()) for m in design.measures)
    units = most if design.all_units else design.unit_count
    centre = design.noise or 0.1
    noise = sorted({0.0, design.noise} | {centre * f for f in (0.3, 3, 10, 30)})
    return sweep(cohort, design, units=[units], noise=noise, rng=rng, classifier=classifier)


def _around(centre: int, factors: Iterable[float], *, least: int, most: int) -> list[int]:
    values = {min(max(least, round(centre * f)), max(most, centre)) for f in factors}
    return sorted(values | {centre} | ({most} if most > centre else set()))
