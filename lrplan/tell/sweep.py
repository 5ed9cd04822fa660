"""Sweep: forecasts of many designs at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.arguments import generator
from lrplan.classifiers import seeded
from lrplan.cohort import as_cohort
from lrplan.errors import UsageError
from lrplan.measure.design import USUAL_NOISE, Design, Schedule
from lrplan.measure.observe import Observed, TooFewSeen, observe_designs
from lrplan.measure.trajectories import Trajectories
from lrplan.measure.virtual import check_held, draw_key, lacking_contrasts, usable
from lrplan.randomness import Streams
from lrplan.tell.auc import auc_estimate
from lrplan.tell.combine import Probabilities
from lrplan.tell.held_out import Condition, Findings
from lrplan.tell.intervals import Bootstrap, Interval
from lrplan.tell.unseen import (
    Unseen,
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


KNOWN = ("accuracy", "low", "high", "auc", "auc_low", "auc_high")
FAMILY = tuple(f"family{rest}" for rest in ("", "_low", "_high", "_auc", "_auc_low", "_auc_high"))
"""Names of figures within known conditions, and on families that were held out."""


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
    held_out: bool = True,
    classifier: Calibrated | None = None,
) -> xr.Dataset:
    """Forecast the accuracy for every combination of units, noise and schedule.

    The cohort is recorded once (once per measure and repeat) for all combinations, and each
    combination is what `record` gives with the same `rng`. By default accuracy comes from one
    forest per combination that is bagged by organism. It differs from `forecast`, which tests five
    forests that were trained on four fifths of the organisms each and whose settings were chosen
    there, by far less than the interval. For each family that is held out there is one more.

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
    held_out : bool, default True
        Whether to hold out families of architectures, too: the headline.
    classifier : Calibrated, optional
        Unseen in five folds for each combination: then each is what `forecast` with the same
        `rng` and classifier finds, at the price of as many forecasts.

    Returns
    -------
    xarray.Dataset
        ``accuracy``, ``low`` and ``high`` over ([measure,] units, noise[, schedule]), and
        ``chance``; ``auc``, ``auc_low`` and ``auc_high``, the area under the curve; the same on
        families that were held out, one after the other, as ``family``, ``family_low``,
        ``family_high``, ``family_auc``, ``family_auc_low`` and ``family_auc_high`` (NaN where none
        could be; none of these without `held_out`). Schedules are named; ``sessions`` is their
        number of sessions. The attribute ``families`` says which families were held out, or why
        none or not all were;
        ``not_finite`` names observables that were left out, for all recordings of a combination;
        ``recorded_whole`` says where populations hold fewer units than asked; ``assumed`` what the
        technique takes for granted, ``takes_noise`` what noise may be asked of it; ``left_out``
        counts organisms that diverged, did not learn, or lack an area or reference.

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
    designs = [_of_all(d, planned) for d in designs]
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
            held_out=held_out,
            classifier=classifier,
        )
        for d in designs
    ]
    dims = ("measure", "units", "noise", "schedule")
    names = (*KNOWN, *FAMILY) if held_out else KNOWN
    sessions = [len(s.checkpoints(cohort.checkpoints)) for s in planned]
    out = xr.Dataset(
        {name: (dims, np.stack([each.figures[name] for each in found])) for name in names},
        coords={
            "measure": ["+".join(d.measures) for d in designs],
            "units": counts,
            "noise": levels,
            "schedule": [_schedule_name(s, n) for s, n in zip(planned, sessions, strict=True)],
            "sessions": ("schedule", sessions),
        },
    )
    out["chance"] = 1 / found[0].rules
    out.attrs["not_finite"] = ", ".join(sorted({name for each in found for name in each.lost}))
    if held_out:
        out.attrs["families"] = "; ".join(dict.fromkeys(w for each in found for w in each.families))
    out.attrs["recorded_whole"] = "; ".join(whole)
    technique = design.make_modality()
    out.attrs["assumed"] = "; ".join(technique.assumptions())
    out.attrs["takes_noise"] = technique.takes_noise
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


@dataclass(frozen=True)
class _Swept:
    """What was found of all combinations of one measure.

    Parameters
    ----------
    figures : dict of str to array (units, noise, schedule)
        By the names of `KNOWN` and `FAMILY`.
    rules : int
        How many are told apart.
    lost : set of str
        Observables that were not finite in some combination.
    families : list of str
        What to know of the families that were held out.
    """

    figures: dict[str, np.ndarray]
    rules: int
    lost: set[str]
    families: list[str]


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
    held_out: bool,
    classifier: Calibrated | None,
) -> _Swept:
    """Return the figures of all combinations, in which every one meets the same folds and trees."""
    populations = usable(cohort, design, None)
    shape = (len(units), len(noise), len(schedules))
    cells = list(np.ndindex(shape))
    known: list[list[Probabilities]] = [[] for _ in cells]
    unseen: list[Probabilities | None] = [None for _ in cells]
    families: Condition | None = None
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
        if held_out and families is None:
            families = Condition.of(some, "family", some.organisms)
        # Held-out conditions are drawn once.
        whole = families if repeat == 0 and families is not None and families.groups else None
        judge = _Judge(observed, some.y, whole, cohort.name, streams, repeat, classifier, lost)
        # Tests in folds bring threads of their own.
        with ThreadPoolExecutor(threads() if classifier is None else 1) as pool:
            for place, (p, on_families) in enumerate(pool.map(judge, cells)):
                known[place].append(p)
                unseen[place] = unseen[place] or on_families
        # Forgotten before the next is recorded.
        del observed, judge
    figures = {name: np.full(shape, np.nan) for name in (*KNOWN, *FAMILY)}
    bootstrap = Bootstrap(some.y, some.organisms, rng=streams.rng("bootstrap"))
    for cell, rounds, on_families in zip(cells, known, unseen, strict=True):
        right = np.stack([_right(p) for p in rounds])
        found = [bootstrap.balanced(right), auc_estimate(rounds, bootstrap)[0].interval]
        _put(figures, KNOWN, cell, found)
        if families is not None and on_families is not None:
            told = Findings.of("family", on_families, families.values, families.groups, streams)
            _put(figures, FAMILY, cell, [told.accuracy, told.auc])
    said = [] if families is None else [_held_out(families), *families.warnings]
    return _Swept(figures, len(np.unique(some.y)), lost, [w for w in said if w])


def _held_out(families: Condition) -> str:
    return f"held out: {', '.join(families.groups)}" if families.groups else ""


def _put(
    figures: dict[str, np.ndarray],
    names: Sequence[str],
    cell: tuple[int, ...],
    found: Sequence[Interval | None],
) -> None:
    values = [v for i in found if i is not None for v in (i.mean, i.low, i.high)]
    for name, value in zip(names, values, strict=True):
        figures[name][cell] = value


def _right(p: Probabilities) -> np.ndarray:
    """Return whether each recording's rule was found; NaN where it was not tested."""
    return np.where(np.isnan(p.values).any(axis=1), np.nan, p.right)


@dataclass(frozen=True)
class _Judge:
    """Tells the rules of one combination after the other.

    Parameters
    ----------
    observed : Observed
        All combinations.
    told : array (recording,)
        The label that is told.
    families : Condition or None
        What is held out, too.
    cohort : str
        Its name, for messages.
    streams, repeat, classifier
        As in `sweep`.
    lost : set of str
        Collects observables that were not finite.
    """

    observed: Observed
    told: np.ndarray
    families: Condition | None
    cohort: str
    streams: Streams
    repeat: int
    classifier: Calibrated | None
    lost: set[str]

    def __call__(self, cell: tuple[int, ...]) -> tuple[Probabilities, Probabilities | None]:
        """Return what is said within known conditions, and of families that were not seen."""
        t, dropped = self.observed.trajectories(*cell).finite(self.cohort)
        self.lost.update(dropped)
        t = t.telling(self.told)
        return self._in_folds(t) if self.classifier is not None else self._by_bagging(t)

    def _in_folds(self, t: Trajectories) -> tuple[Probabilities, Probabilities | None]:
        tests = [within_known(t, t.organisms, self.streams, self.repeat)]
        if self.families is not None:
            tests.append(Unseen(t, self.families.splits(), (self.families.name,)))
        known, *unseen = cross_predict(
            tests, t.organisms, streams=self.streams, classifier=self.classifier
        )
        return known, unseen[0] if unseen else None

    def _by_bagging(self, t: Trajectories) -> tuple[Probabilities, Probabilities | None]:
        features, kinds = t.features(), np.unique(t.y)

        def fitted(rows: np.ndarray, *purpose: str | int) -> Calibrated:
            model = seeded(default_classifier(features), self.streams.seed("bagging", *purpose))
            return model.fit(features.values[rows], t.y[rows], groups=t.organisms[rows])

        everyone = fitted(np.ones(len(t), dtype=bool), self.repeat)
        known = Probabilities.of(everyone.out_of_fold_, kinds, t.labels)
        if self.families is None:
            return known, None
        found = np.full(known.values.shape, np.nan)
        for group in self.families.groups:
            rows = self.families.values == group
            model = fitted(~rows, self.families.name, group)
            found[rows] = model.predict_proba(features.values[rows])
        return known, Probabilities.of(found, kinds, t.labels)


def _of_all(design: Design, schedules: Sequence[Schedule]) -> Design:
    """Return a design that takes what all schedules can give, so that they compare."""
    if design.observables is not None:
        return design
    fewest = min(schedules, key=lambda s: math.inf if s.sessions is None else s.sessions)
    return design.with_(observables=design.with_(schedule=fewest).taken)


def accuracy_by_units(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    rng: np.random.Generator | int,
    classifier: Calibrated | None = None,
) -> xr.Dataset:
    """Return a `sweep` over units around the design's, at its noise.

    Where the design takes all units, over parts of what is stored. Numbers of which the technique
    sees too few are left out.
    """
    cohort = as_cohort(cohort)
    check_design(design)
    most = min(int(cohort.stored_units(m).min()) for m in design.measures)
    centre = most if design.all_units else design.unit_count
    units = _around(centre, (0.03, 0.1, 0.3, 1), least=2, most=most)
    design = design.with_(observables=design.taken)
    noise = [design.noise_level]
    start = copy.deepcopy(rng)
    while True:
        try:
            return sweep(cohort, design, units=units, noise=noise, rng=rng, classifier=classifier)
        except TooFewSeen:
            units, rng = units[1:], copy.deepcopy(start)
            if not units or units[0] > centre:
                raise


def accuracy_by_noise(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    rng: np.random.Generator | int,
    classifier: Calibrated | None = None,
) -> xr.Dataset:
    """Return a `sweep` over noise around the design's, at its units.

    Where the design takes all units, at as many as are stored of every population. A modality whose
    noise follows from its settings has none to sweep over, and is refused.
    """
    cohort = as_cohort(cohort)
    check_design(design)
    most = min(int(cohort.stored_units(m).min()) for m in design.measures)
    units = most if design.all_units else design.unit_count
    centre = design.noise_level or USUAL_NOISE
    least = set() if design.make_modality().takes_noise == "positive" else {0.0}
    noise = sorted(least | {design.noise_level} | {centre * f for f in (0.3, 3, 10, 30)})
    design = design.with_(observables=design.taken)
    return sweep(cohort, design, units=[units], noise=noise, rng=rng, classifier=classifier)


def _around(centre: int, factors: Iterable[float], *, least: int, most: int) -> list[int]:
    values = {min(max(least, round(centre * f)), max(most, centre)) for f in factors}
    return sorted(values | {centre} | ({most} if most > centre else set()))
