"""From recordings to trajectories: one road for all of them.

Real recordings and virtual ones that are held in memory come by `observe`; cohorts that are
recorded population by population under one design by `observe_cohort`, and under many by
`observe_designs`; observables that a cohort stores ready-made by `observe_cohort` with all units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.arguments import generator
from lrplan.cohort import as_cohort
from lrplan.errors import DataError, UsageError
from lrplan.measure.contrasts import against, together
from lrplan.measure.design import SCALINGS, Design, Schedule
from lrplan.measure.kept import keep
from lrplan.measure.observables import (
    LEAST_STIMULI,
    Family,
    chosen,
    default_set,
    words_of,
)
from lrplan.measure.recording import Recording
from lrplan.measure.trajectories import Trajectories
from lrplan.measure.virtual import (
    Samples,
    check_held,
    draw_key,
    usable,
    whose,
    with_references,
)
from lrplan.registry import nearest
from lrplan.terms import MEASURES, UNIT_DIMS
from lrplan.threads import in_threads

if TYPE_CHECKING:
    from lrplan.cohort import Cohort


UNITS_SEEN = "units_seen"
"""The label that says how many units are left of a recording whose technique misses some."""
TOGETHER_VALUES, TOGETHER_MOST = 160_000, 16
"""How many values, and of how many populations at most, are taken together."""


class TooFewSeen(DataError):
    """Of the units that a technique is given it sees fewer than the observables need."""


@dataclass(frozen=True)
class _Chosen:
    """A family of a measure, and which of its observables are taken."""

    measure: str
    family: Family
    places: list[int]

    @property
    def names(self) -> list[str]:
        return [self.family.observables[i].name for i in self.places]

    def compute(self, values: np.ndarray, variance: np.ndarray | None) -> np.ndarray:
        """Return (..., session, observable) of values (..., session, ..., unit) and their noise."""
        found = self.family.compute(*self._told(values, variance))
        return np.asarray(found)[..., self.places]

    def compute_choices(
        self,
        values: np.ndarray,
        variance: np.ndarray | None,
        choices: Sequence[Sequence[int]],
        prepared: dict[Any, Any],
    ) -> Iterator[np.ndarray]:
        """Yield the same of values (level, session, ..., unit) for several choices of sessions.

        Each begins with the first. `prepared` holds what families share of these values; the first
        that needs it puts it there.
        """
        family = self.family
        whole, summarise = family.compute, family.summarise
        told = self._told(values, variance)
        if family.prepare is not None and family.of_prepared is not None:
            if family.prepare not in prepared:
                prepared[family.prepare] = family.prepare(*told)
            told = (prepared[family.prepare],)
            whole = summarise = family.of_prepared
        if summarise is not None and family.of_summary is not None:
            summary = summarise(*told)
            for places in choices:
                yield np.asarray(family.of_summary(summary, places))[..., self.places]
            return
        for places in choices:
            if len(places) == values.shape[1]:
                yield np.asarray(whole(*told))[..., self.places]
            else:
                at = list(places)
                own = variance
                if variance is not None and variance.shape[1] > 1:
                    own = variance[:, at]
                yield self.compute(values[:, at], own)

    def scale(self, first: np.ndarray, variance: np.ndarray | None) -> np.ndarray:
        """Return the scale (...) of a first session's values (..., unit) and their noise."""
        return np.asarray(self.family.scale(*self._told(first, variance)), dtype=np.float64)

    def _told(self, values: np.ndarray, variance: np.ndarray | None) -> tuple[Any, ...]:
        return (values, variance) if self.family.needs.noise else (values,)

    def scaled(
        self, observed: np.ndarray, scale: np.ndarray | None, first: int | None = None
    ) -> np.ndarray:
        """Divide observables (..., session, observable) by the first session's scale (...).

        Each by the power of the scale that its own unit is of. Statistics of single sessions are
        given as their change from the first, in which the error of having sampled these units
        cancels; those of a whole trajectory speak of change already.

        Parameters
        ----------
        observed : array (..., session, observable)
            As `compute` returns them.
        scale : array (...) or None
            None leaves raw observables as they are.
        first : int, optional
            Give all observables as their change from the mean of so many sessions.
        """
        if scale is not None:
            degree = np.array([self.family.observables[i].degree for i in self.places], np.float32)
            # A population that is silent at first has no scale of its own.
            scale = np.where(scale > 0, scale, 1.0)
            observed = observed / (scale[..., None, None] ** degree)
            if first is None and not self.family.needs.trajectory:
                first = 1
        return observed if first is None else _from_first(observed, first)

    def lacking(
        self, *, tracked: bool, sessions: int, units: int, stimuli: int, noise: bool = True
    ) -> str | None:
        """Say what a recording lacks of what the family needs, or return None."""
        seen = None if self.measure == "weights" else stimuli
        return self.family.needs.lacking(
            tracked=tracked, sessions=sessions, units=units, stimuli=seen, noise=noise
        )


def _from_first(observed: np.ndarray, sessions: int) -> np.ndarray:
    """Return the mean of the first sessions, and in the others what differs from it."""
    mean = observed[..., :sessions, :].mean(axis=-2, keepdims=True)
    return np.concatenate([mean, observed[..., 1:, :] - mean], axis=-2)


def _choose(observables: Any, measures: Sequence[str]) -> list[_Chosen]:
    return [_Chosen(f.measure, f, i) for f, i in chosen(words_of(observables), measures)]


def _check(asked: Sequence[_Chosen], lacking: Callable[[_Chosen], str | None]) -> None:
    """Raise `UsageError` if a family lacks something; of a measure, say which ones do not."""
    found = [lacking(a) for a in asked]
    for a, words in zip(asked, found, strict=True):
        if not words:
            continue
        fit = [
            b.family.name
            for b, w in zip(asked, found, strict=True)
            if b.measure == a.measure and not w
        ]
        raise UsageError(
            f"the observables {', '.join(a.names[:3])}{', ...' if len(a.names) > 3 else ''} "
            f"({a.family.name}) need {words}; record it so, or choose other observables, such as "
            "standard-1" + (f"; of those asked, {', '.join(fit)} can be had" if fit else "")
        )


def observe(
    recording: Recording,
    *,
    observables: str | Sequence[str] | None = None,
    scaling: str = "relative",
    positioned: bool = True,
) -> Trajectories:
    """Take the observables of a recording, virtual or real.

    Parameters
    ----------
    recording : Recording
        With any of the measures.
    observables : str or sequence of str, optional
        As in a Design. By default those of a design that would give such a recording; where
        nothing is known of its noise, those that do not need it.
    scaling : {"relative", "raw"}
        As in a Design.
    positioned : bool, default True
        Whether the layer's position, early, middle or deep, is a feature.

    Returns
    -------
    Trajectories
        One recording for each population, in their order.

    Notes
    -----
    Observables that need the noise take the squared standard errors of responses
    (``activity_sem``, or that of the other measures). A response of one trial has none, and gets
    the mean of its session, or of all sessions where its session has none.

    Raises
    ------
    UsageError
        If the recording holds nothing that was asked, or lacks what an observable needs.
    """
    if not isinstance(recording, Recording):
        raise UsageError(f"recording is {recording!r}; expected a Recording")
    if scaling not in SCALINGS:
        raise UsageError(f"unknown scaling {scaling!r}; {nearest(str(scaling), SCALINGS)}")
    held = [m for m in MEASURES if m in recording.data]
    if not held:
        raise UsageError("the recording holds none of activity, weights and paired")
    asked = _choose(_default(recording) if observables is None else observables, held)
    if positioned and "position" not in recording.data.coords:
        raise UsageError("the position of the recording is unknown; leave it out or name it")
    whole = {m: recording.data[m].values for m in held}
    errors = {m: _errors(recording, m) for m in held}
    count = len(next(iter(whole.values())))

    def one(place: int) -> np.ndarray:
        given = {
            m: _without_padding(whole[m][place], errors[m][place], len(UNIT_DIMS[m]), recording)
            for m in dict.fromkeys(a.measure for a in asked)
        }

        def lacking(a: _Chosen) -> str | None:
            values, variance = given[a.measure]
            return a.lacking(
                tracked=recording.tracked,
                sessions=recording.sessions,
                units=int(np.prod(values.shape[-len(UNIT_DIMS[a.measure]) :])),
                stimuli=values.shape[1],
                noise=variance is not None,
            )

        _check(asked, lacking)
        parts = []
        for a in asked:
            values, variance = given[a.measure]
            observed = a.compute(values, variance)
            if scaling == "relative":
                first = None if variance is None else variance[0]
                observed = a.scaled(observed, a.scale(values[0], first))
            parts.append(observed)
        return np.concatenate(parts, axis=-1)

    values = np.stack(in_threads(one, range(count)))
    labels = {
        str(name): c.values
        for name, c in recording.data.coords.items()
        if c.dims == ("population",)
    }
    names = [n for a in asked for n in a.names]
    return Trajectories.of(values, names, labels, positioned=positioned)


def knows_noise(recording: Recording) -> bool:
    """Return whether each population has standard errors, of some values at least."""
    return all(
        errors is not None and bool(np.isfinite(errors).any())
        for measure in MEASURES
        if measure in recording.data
        for errors in _errors(recording, measure)
    )


def _default(recording: Recording) -> str:
    """Return the set that suits what a recording holds."""
    return default_set(
        tracked=recording.tracked,
        sessions=recording.sessions,
        stimuli=int(recording.data.sizes.get("stimulus", LEAST_STIMULI)),
        stored=not knows_noise(recording),
    )


def _errors(recording: Recording, measure: str) -> Sequence[np.ndarray | None]:
    """Return the standard errors (session, ..., unit) of each population, or None for each."""
    name = f"{measure}_sem"
    if name in recording.data:
        return list(recording.data[name].values)
    return [None] * recording.data.sizes["population"]


def _variance(errors: np.ndarray | None) -> np.ndarray | None:
    """Return the variance of noise from standard errors (session, ..., unit), None if unknown."""
    if errors is None or not np.isfinite(errors).any():
        return None
    squares = np.square(errors)
    lines = squares.reshape(len(squares), -1)
    known = np.isfinite(lines)
    total, count = np.where(known, lines, 0).sum(axis=1, dtype=np.float64), known.sum(axis=1)
    mean = np.where(count > 0, total / np.maximum(count, 1), total.sum() / count.sum())
    return np.where(known, lines, mean[:, None]).reshape(squares.shape).astype(squares.dtype)


def _without_padding(
    values: np.ndarray, errors: np.ndarray | None, axes: int, recording: Recording
) -> tuple[np.ndarray, np.ndarray | None]:
    """Leave out units that are missing, of tracked ones those that some session lacks.

    Parameters
    ----------
    values : array (session, ..., unit[, unit])
        NaN where a unit was not recorded.
    errors : array of the same shape, optional
        Their standard errors.

    Returns
    -------
    values, variance : array (session, ..., unit[, unit])
        Of the units left; the second, that of noise, is None where nothing is known of it.

    Raises
    ------
    DataError
        If sessions have different units which are not tracked.
    """
    lines = values.reshape(len(values), -1, *values.shape[-axes:])
    seen = np.isfinite(lines).any(axis=1)  # session, unit[, unit]
    if seen.all():
        return values, _variance(errors)
    if not recording.tracked and (seen != seen[:1]).any():
        raise DataError(
            f"{recording.source} has other units missing in each session, and they are not "
            "tracked; take as many of each, as recording.equalised(units, rng=...)"
        )
    kept_units = seen.all(axis=0)
    for axis in range(axes):
        others = tuple(a for a in range(axes) if a != axis)
        kept = np.flatnonzero(kept_units.any(axis=others))
        values = values.take(kept, axis=axis - axes)
        errors = None if errors is None else errors.take(kept, axis=axis - axes)
    return values, _variance(errors)


class Observed:
    """Observables of recorded populations, under one or many designs.

    Made by `observe_designs`. Designs differ in units, noise and schedule; the trajectories of each
    are those of a recording under that design alone.
    """

    def __init__(
        self,
        cohort: Cohort,
        design: Design,
        populations: np.ndarray,
        units: Sequence[int],
        noise: Sequence[float],
        schedules: Sequence[Sequence[int]],
        references: np.ndarray | None = None,
    ) -> None:
        self._design = design
        self._labels = known(cohort, populations)
        self._references = references
        self._asked = _choose(design.taken, design.measures)
        self.units, self.noise, self.schedules = list(units), list(noise), list(schedules)
        # Noise refers to the first session, so schedules with the same first share a pass. Where
        # units may be missing each has its own: it takes those that are seen in its sessions.
        firsts = [s[0] for s in self.schedules]
        self._misses = design.make_modality().misses
        self._groups = [
            i if self._misses else firsts.index(first) for i, first in enumerate(firsts)
        ]
        self._checkpoints = {
            group: sorted({c for i in self._of_group(group) for c in self.schedules[i]})
            for group in dict.fromkeys(self._groups)
        }
        shape = (len(units), len(noise), len(populations))
        self._units_seen = {
            group: np.zeros((len(units), len(populations)), dtype=np.int64)
            for group in (self._checkpoints if self._misses else ())
        }
        self._values: dict[tuple[int | str, ...], np.ndarray] = {}
        self._scales: dict[tuple[int, str], np.ndarray] = {}
        for a in self._asked:
            for group, seen in self._checkpoints.items():
                self._scales[group, a.family.name] = np.ones(shape)
                for key, places in self._passes(a, group, seen):
                    size = (*shape, len(places), len(a.places))
                    self._values[key] = np.empty(size, dtype=np.float32)

    def _of_group(self, group: int) -> list[int]:
        """Return which schedules share a pass."""
        return [i for i, own in enumerate(self._groups) if own == group]

    def _passes(
        self, a: _Chosen, group: int, seen: list[int]
    ) -> Iterator[tuple[tuple[int | str, ...], list[int]]]:
        """Yield where values are kept, and of which places among the checkpoints seen.

        A statistic of a session serves all schedules; one of a trajectory is of each anew.
        """
        if not a.family.needs.trajectory:
            yield (group, a.family.name), list(range(len(seen)))
            return
        for i in self._of_group(group):
            yield (group, a.family.name, i), [seen.index(c) for c in self.schedules[i]]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What `fill` fills, by names."""
        values = {f"values {' '.join(map(str, k))}": v for k, v in self._values.items()}
        values |= {f"scale {a} {b}": v for (a, b), v in self._scales.items()}
        return values | {f"units seen {group}": v for group, v in self._units_seen.items()}

    def check(self, cohort: Cohort) -> None:
        """Raise `UsageError` if one of the designs lacks what an observable needs."""

        def lacking(a: _Chosen) -> str | None:
            shown = 1
            if a.measure != "weights":
                shown = cohort.pair_stimuli if a.measure == "paired" else cohort.stimuli
                shown = min(shown, self._design.stimuli or shown)
            held = cohort.stored_units(a.measure)[self._labels["population"]]
            return a.lacking(
                tracked=self._design.tracked,
                sessions=min(map(len, self.schedules)),
                units=min(*self.units, int(held.min())),
                stimuli=shown,
            )

        _check(self._asked, lacking)
        _check_baseline(self._design, min(map(len, self.schedules)))

    def batches(self, cohort: Cohort, measure: str, order: np.ndarray) -> list[np.ndarray]:
        """Return populations in groups to `fill` at once, of as many values as caches hold."""
        shown = 1
        if measure != "weights":
            shown = cohort.pair_stimuli if measure == "paired" else cohort.stimuli
        values = max(self.units) * len(self.noise) * cohort.checkpoints * shown
        size = max(1, min(TOGETHER_MOST, TOGETHER_VALUES // values))
        return [order[i : i + size] for i in range(0, len(order), size)]

    def fill(self, samples: Samples, measure: str, places: Sequence[int] | np.ndarray) -> None:
        """Measure populations under all designs and take their observables.

        Those of one shape are taken together: most steps are about so few numbers that calling them
        costs more than they do.
        """
        asked = [a for a in self._asked if a.measure == measure]
        told = any(a.family.needs.noise for a in asked)
        least = max(a.family.needs.units for a in asked)
        for group, seen in self._checkpoints.items():
            measured = [self._measured(samples, int(place), seen, told) for place in places]
            for u, units in enumerate(self.units):
                own = [
                    self._seen(samples, int(place), units, least, *both)
                    for place, both in zip(places, measured, strict=True)
                ]
                if self._misses:
                    self._units_seen[group][u, places] = [v.shape[-1] for v, _ in own]
                for alike, values, noise in _alike(places, own):
                    self._take(asked, group, seen, u, alike, values, noise)

    def _seen(
        self,
        samples: Samples,
        place: int,
        units: int,
        least: int,
        values: np.ndarray,
        variance: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what is recorded of a population with so many units, without those missed.

        Raises
        ------
        TooFewSeen
            If fewer are left than the observables need.
        """
        values = samples.cut(values, units, place)
        variance = None if variance is None else samples.cut(variance, units, place)
        if not self._misses:
            return values, variance
        axes = len(UNIT_DIMS[samples.measure])
        values, variance = _without_missed(values, variance, axes, tracked=self._design.tracked)
        left = int(np.prod(values.shape[-axes:]))
        if left < least:
            when = "in every session" if self._design.tracked else "in some session"
            raise TooFewSeen(
                f"of {units} units of organism {self._labels['organism'][place]}, layer "
                f"{self._labels['layer'][place]}, only {left} are seen {when}, and the observables "
                f"need {least}; record more --units, in fewer --sessions or fewer days (`lrplan "
                "list modalities` shows the settings)"
            )
        return values, variance

    def _measured(
        self, samples: Samples, place: int, seen: list[int], told: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a population's values (level, session, ..., unit), and the variance of noise."""
        given = (place, max(self.units), self.noise, seen)
        if not told:
            return _stacked(list(samples.measured(*given))), None
        values, noise = zip(*samples.measured_with_variance(*given), strict=True)
        return _stacked(values), _stacked(noise)

    def _take(
        self,
        asked: Sequence[_Chosen],
        group: int,
        seen: list[int],
        u: int,
        places: list[int],
        values: np.ndarray,
        variance: np.ndarray | None,
    ) -> None:
        """Keep observables of values (population * level, session, ..., unit)."""
        own = None if variance is None else variance[:, 0]
        prepared: dict[Any, Any] = {}
        scales: dict[Any, np.ndarray] = {}

        def by_level(found: np.ndarray) -> np.ndarray:
            return found.reshape(len(places), len(self.noise), *found.shape[1:]).swapaxes(0, 1)

        for a in asked:
            keys, choices = zip(*self._passes(a, group, seen), strict=True)
            found = a.compute_choices(values, variance, choices, prepared)
            for key, observed in zip(keys, found, strict=True):
                self._values[key][u][:, places] = by_level(observed)
            if self._design.scaling == "relative":
                if a.family.scale not in scales:
                    scales[a.family.scale] = by_level(a.scale(values[:, 0], own))
                self._scales[group, a.family.name][u][:, places] = scales[a.family.scale]

    def trajectories(self, units: int = 0, noise: int = 0, schedule: int = 0) -> Trajectories:
        """Return the trajectories under one of the designs, by its places in the lists."""
        sessions = self.schedules[schedule]
        group = self._groups[schedule]
        kept = np.searchsorted(self._checkpoints[group], sessions)
        observed = []
        for a in self._asked:
            if a.family.needs.trajectory:
                values = self._values[group, a.family.name, schedule][units, noise]
            else:
                values = self._values[group, a.family.name][units, noise][:, kept]
            scale = None
            if self._design.scaling == "relative":
                scale = self._scales[group, a.family.name][units, noise]
            observed.append(a.scaled(values, scale, _baseline(self._design)))
        labels = self._labels
        if self._misses:
            labels = labels | {UNITS_SEEN: self._units_seen[group][units]}
        return _laid_out(observed, self._asked, labels, self._design, self._references)


def _stacked(levels: Sequence[np.ndarray]) -> np.ndarray:
    """Stack levels of noise, one without a copy."""
    return levels[0][None] if len(levels) == 1 else np.stack(levels)


def _without_missed(
    values: np.ndarray, variance: np.ndarray | None, axes: int, *, tracked: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Leave out units that a technique did not see.

    Parameters
    ----------
    values : array (level, session, ..., unit[, unit])
        NaN where a unit was not seen.
    variance : array, optional
        That of the noise, of a shape that broadcasts to it.
    axes : int
        How many of the last axes are units.
    tracked : bool
        Whether units are the same in all sessions: then those are left that are seen in each.
        Otherwise as many of each session as in the session with fewest, the first ones.
    """
    lines = np.isfinite(values).all(axis=0)
    lines = lines.reshape(len(lines), -1, *lines.shape[-axes:]).all(axis=1)  # session, unit[, unit]
    if lines.all():
        return values, variance
    if tracked or axes > 1:
        throughout = lines.all(axis=0)
        for axis in range(axes):
            others = tuple(a for a in range(axes) if a != axis)
            kept = np.flatnonzero(throughout.any(axis=others))
            values = values.take(kept, axis=axis - axes)
            if variance is not None and variance.shape[axis - axes] > 1:
                variance = variance.take(kept, axis=axis - axes)
        return values, variance
    fewest = int(lines.sum(axis=1).min())
    order = np.argsort(~lines, axis=1, kind="stable")[:, :fewest]
    order = order.reshape(1, len(order), *(1,) * (values.ndim - 3), fewest)
    values = np.take_along_axis(values, order, axis=-1)
    if variance is not None and variance.shape[-1] > 1:
        variance = np.take_along_axis(variance, order, axis=-1)
    return values, variance


def _alike(
    places: Sequence[int] | np.ndarray, measured: Sequence[tuple[np.ndarray, np.ndarray | None]]
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray | None]]:
    """Yield the places of populations of one shape, and their values and variances joined."""
    groups: dict[tuple[int, ...], list[tuple[int, np.ndarray, np.ndarray | None]]] = {}
    for place, (own, variance) in zip(map(int, places), measured, strict=True):
        groups.setdefault(own.shape, []).append((place, own, variance))
    for group in groups.values():
        known = [variance for _, _, variance in group if variance is not None]
        yield (
            [place for place, _, _ in group],
            np.concatenate([own for _, own, _ in group]),
            np.concatenate(known) if known else None,
        )


def observe_designs(
    cohort: Cohort,
    design: Design,
    *,
    key: int,
    populations: np.ndarray,
    units: Sequence[int] | None = None,
    noise: Sequence[float] | None = None,
    schedules: Sequence[Schedule] | None = None,
    fewer: bool = False,
) -> Observed:
    """Record populations one after the other and keep their observables only.

    One pass over what is stored serves all designs, and memory holds a few populations at a
    time, however large the cohort is.

    Parameters
    ----------
    cohort, design
        What is recorded, and how.
    key : int
        Keys all randomness, as in `lrplan.record`.
    populations : array of int
        Which, as `lrplan.measure.virtual.usable` returns them; those of reference are added.
    units, noise, schedules : sequence, optional
        Designs to serve; by default the design's own.
    fewer : bool, default False
        Whether most populations may hold fewer units and be recorded whole.

    Returns
    -------
    Observed
        For each combination of units, noise and schedule.

    Raises
    ------
    UsageError
        If a design asks for more than the cohort holds, or for observables that it cannot give.
    """
    units = [design.unit_count] if units is None else list(units)
    noise = [design.noise_level] if noise is None else list(noise)
    schedules = [design.schedule] if schedules is None else list(schedules)
    asked = populations
    populations, references = with_references(cohort, design, populations)
    check_held(cohort, design.with_(units=min(units) if fewer else max(units)), populations)
    sessions = [s.checkpoints(cohort.checkpoints) for s in schedules]
    observed = Observed(cohort, design, populations, units, noise, sessions, references)
    observed.check(cohort)
    # In the order on disk, so that each chunk is decoded once.
    order = np.argsort(populations, kind="stable")

    def fill() -> None:
        for measure in design.measures:
            samples = Samples(cohort, design, measure, populations, key)
            batches = observed.batches(cohort, measure, order)
            in_threads(partial(observed.fill, samples, measure), batches)

    what: dict[str, Sequence[Any]] = {"units": units, "noise": noise, "sessions": sessions}
    keep(observed, fill, cohort=cohort, design=design, asked=asked, key=key, **what)
    return observed


def observe_cohort(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    rng: np.random.Generator | int,
    populations: Sequence[int] | np.ndarray | None = None,
) -> Trajectories:
    """Record a cohort under a design and take the observables.

    One recording per population, or, where the design names areas, per organism that has them all.
    Memory holds a few populations at a time, so the cohort may be larger than it.

    Parameters
    ----------
    cohort, design
        What is recorded, and how. With ``units="all"`` the cohort's stored observables are
        taken as they are, and `rng` is not used.
    rng : numpy.random.Generator or int
        Source of units and noise.
    populations : array of int, optional
        Which; by default all usable ones. Where the design names areas, those among them that lie
        there, of organisms that have all.

    Raises
    ------
    UsageError
        If the design asks for more than the cohort holds, or for observables that it cannot give.
    """
    cohort = as_cohort(cohort)
    if not isinstance(design, Design):
        raise UsageError(f"design is {design!r}; expected a Design, such as Design(units=300)")
    rows = usable(cohort, design, populations)
    if design.all_units:
        return _stored(cohort, design, rows)
    key = draw_key(generator(rng))
    return observe_designs(cohort, design, key=key, populations=rows).trajectories()


def known(cohort: Cohort, populations: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a cohort knows of populations, as the labels of trajectories."""
    labels = {k: v.astype(str) for k, v in cohort.labels(populations).items()}
    also = {k: v.astype(str) for k, v in whose(cohort, populations).items()}
    return labels | also | {"population": populations}


def _stored(cohort: Cohort, design: Design, populations: np.ndarray) -> Trajectories:
    """Return the observables that a cohort stores: of all units, without noise.

    Raises
    ------
    DataError
        If the cohort lacks an observable, or, for `relative` scaling, the sizes of layers or
        finite first observables.
    UsageError
        If a family has no scale that can be had from its observables.
    """
    checkpoints = design.schedule.checkpoints(cohort.checkpoints)
    _check_baseline(design, len(checkpoints))
    everything, references = with_references(cohort, design, populations)
    asked = _choose(design.taken, design.measures)
    for a in asked:
        if a.family.needs.trajectory or a.family.needs.noise:
            raise UsageError(
                f"the observables {a.names[0]}, ... ({a.family.name}) are taken of single units, "
                "which units 'all' does not hold; name a number of units"
            )
    observed = []
    for a in asked:
        # The scale takes all observables of the family, though few be asked for.
        own = [o.name for o in a.family.observables]
        every = cohort.stored_observables(
            own if design.scaling == "relative" else a.names, everything, checkpoints
        )
        scale = None
        if design.scaling == "relative":
            scale = _stored_scale(cohort, a.family, every, everything)
            every = every[..., a.places]
        observed.append(a.scaled(every, scale, _baseline(design)))
    return _laid_out(observed, asked, known(cohort, everything), design, references)


def _baseline(design: Design) -> int | None:
    """Return how many of the first sessions all observables are taken relative to, if any."""
    return design.reference_sessions if design.reference == "first" else None


def _check_baseline(design: Design, sessions: int) -> None:
    """Raise `UsageError` if no session is left besides those of reference."""
    first = _baseline(design)
    if first is not None and first >= sessions:
        raise UsageError(
            f"the reference is the first {first} sessions, but the schedule has {sessions}; use "
            "more --sessions or fewer --reference-sessions"
        )


def _laid_out(
    observed: Sequence[np.ndarray],
    asked: Sequence[_Chosen],
    labels: dict[str, np.ndarray],
    design: Design,
    references: np.ndarray | None,
) -> Trajectories:
    """Put families' observables (population, session, observable) into the rows of a design."""
    made = Trajectories.of(
        np.concatenate(observed, axis=2),
        [n for a in asked for n in a.names],
        labels,
        positioned=design.position != "unknown",
    )
    if references is not None:
        made = against(made, references, str(design.recorded_reference), design.contrasts)
    if design.recorded_areas is None:
        return made
    areas = [a for a in design.recorded_areas if a != design.reference_area]
    return together(made, areas, design.contrasts, reference=design.reference_area)


def _stored_scale(
    cohort: Cohort, family: Family, values: np.ndarray, populations: np.ndarray
) -> np.ndarray:
    """Return the scale of the first session from observables of whole layers."""
    instead = "use --scaling raw"
    if family.scale_of_stored is None:
        raise UsageError(
            f"the family {family.name!r} cannot be scaled from stored observables; {instead}"
        )
    table = cohort.population_table
    outputs, inputs = (table[n].values[populations].astype(float) for n in ("units", "inputs"))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.asarray(family.scale_of_stored(values[:, 0].astype(float), outputs, inputs))
    unknown = int((~np.isfinite(scale)).sum())
    if unknown:
        raise DataError(
            f"{unknown} of {len(scale)} populations of the cohort {cohort.name!r} have no finite "
            f"scale for {family.name!r} in the first session; {instead}"
        )
    return scale
