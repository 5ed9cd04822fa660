"""Virtual recordings: organisms of a cohort, recorded as a lab would record animals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.arguments import generator, positive_int
from lrplan.cohort import as_cohort
from lrplan.cohort.references import LEARNING, PASSIVE
from lrplan.errors import DataError, UsageError
from lrplan.measure.contrasts import (
    lacking,
    lacking_references,
    places_of_areas,
    refuse_few,
    refuse_few_references,
)
from lrplan.measure.design import Design
from lrplan.measure.modalities import Course
from lrplan.measure.noise import signal_sd
from lrplan.measure.recording import DIMS, Recording, padded
from lrplan.randomness import keyed_rng
from lrplan.threads import in_threads

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort


def record(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    rng: np.random.Generator | int,
    populations: Sequence[int] | np.ndarray | None = None,
    trials: int | None = None,
) -> Recording:
    """Record a cohort as a lab would.

    Parameters
    ----------
    cohort : Cohort, str or Path
        Where the organisms come from, or the name or path of it.
    design : Design
        How they are recorded.
    rng : numpy.random.Generator or int
        Source of the choice of units and of the noise, or a seed. One number is drawn from it;
        all else is keyed by organism, so that an organism's recording does not depend on which
        others are recorded with it. Nor does it depend on the rest of the design: fewer units are
        the first of more, and noise of any size and sessions of any schedule come from the same
        numbers.
    populations : sequence of int, optional
        Which populations; by default those at the design's position, of organisms that did not
        diverge and that learned, or of which it is unknown. Where the design names areas, those
        among them that lie there, of organisms that have all areas.
    trials : int, optional
        How many of each stimulus in each session are made and kept. Without it responses are
        made at once, with the law of means over trials, and their standard errors are those that
        the noise has (``activity_sem``, ``weights_sem``, ``paired_sem``).

    Returns
    -------
    Recording
        One population each, with labels as coordinates; an organism is an animal, its layer an
        area. Held in memory as a whole; observables of cohorts larger than memory come from
        `lrplan.measure.observe.observe_cohort`.

    Raises
    ------
    UsageError
        If the design asks for more units in most populations, or more sessions or stimuli, than
        the cohort holds.
    """
    if not isinstance(design, Design):
        raise UsageError(f"design is {design!r}; expected a Design, such as Design(units=300)")
    if trials is not None:
        trials = positive_int(trials, "trials")
        if "activity" not in design.measures:
            raise UsageError(
                f"trials is {trials}, but the design measures {', '.join(design.measures)}; only "
                "activity has trials"
            )
    cohort = as_cohort(cohort)
    key = draw_key(generator(rng))
    chosen, _ = with_references(cohort, design, usable(cohort, design, populations))
    check_held(cohort, design, chosen)
    sessions = design.schedule.checkpoints(cohort.checkpoints)
    coords = cohort.labels(chosen)
    variables: dict[str, Any] = {}
    for measure in design.measures:
        samples = Samples(cohort, design, measure, chosen, key)
        kept = trials if measure == "activity" else None

        def one(
            place: int, samples: Samples = samples, kept: int | None = kept
        ) -> tuple[np.ndarray, ...]:
            if kept is None:
                [(measured, variance)] = samples.measured_with_variance(
                    place, design.unit_count, [design.noise_level], sessions
                )
                made = [measured, np.sqrt(np.broadcast_to(variance, measured.shape))]
            else:
                made = [
                    samples.trials(place, design.unit_count, design.noise_level, kept, sessions)
                ]
            return tuple(samples.cut(m, design.unit_count, place) for m in made)

        names = (measure, f"{measure}_sem") if kept is None else ("trials",)
        recorded = in_threads(one, range(len(chosen)))
        for name, held in zip(names, zip(*recorded, strict=True), strict=True):
            variables[name] = (DIMS[name], padded(held))
    coords |= whose(cohort, chosen)
    return Recording(
        xr.Dataset(variables, coords={k: ("population", v) for k, v in coords.items()}),
        source=cohort.name,
        tracked=design.tracked,
    )


def whose(cohort: Cohort, populations: np.ndarray) -> dict[str, np.ndarray]:
    """Return animal, area and condition of populations, each an array (population,).

    An organism under passive exposure is the animal whose preparation it is, so that both are one
    animal under two conditions.
    """
    table = cohort.population_table
    organism = table["organism"].values[populations]
    return {
        "animal": cohort.preparations[organism],
        "area": table["layer"].values[populations],
        "condition": np.where(cohort.passive[organism], PASSIVE, LEARNING).astype(object),
    }


def draw_key(rng: np.random.Generator) -> int:
    """Draw the one number by which everything random about a recording is keyed."""
    return int(rng.integers(2**63))


def usable(
    cohort: Cohort, design: Design, populations: Sequence[int] | np.ndarray | None
) -> np.ndarray:
    """Return the populations to record: those named, or all that are fit for the design."""
    position = design.position if design.recorded_areas is None else None
    chosen = cohort.usable_populations(position) if populations is None else populations
    try:
        chosen = np.asarray(chosen).reshape(-1)
    except ValueError:
        chosen = np.array([None])
    if chosen.size and (
        chosen.dtype.kind not in "iu"
        or chosen.min() < 0
        or chosen.max() >= len(cohort.population_table["organism"])
    ):
        raise UsageError(
            f"populations is {populations!r}; expected places among the cohort's "
            f"{len(cohort.population_table['organism'])} populations, counted from 0"
        )
    if not len(chosen):
        where = "" if position is None else f" at the position {position!r}"
        fates = cohort.fate_counts()
        if fates["diverged"] == sum(fates.values()):
            why = ": all its organisms diverged in training"
        elif not len(cohort.usable_populations()):
            why = f": {'; '.join(cohort.left_out())}"
        else:
            why = where
        raise DataError(f"the cohort {cohort.name!r} has no population to record{why}")
    reference, areas = design.recorded_reference, design.recorded_areas
    if reference is not None:
        found = cohort.reference_populations(reference)[chosen]
        refuse_few_references(found, reference, cohort.name)
        chosen = chosen[found >= 0]
    if areas is None:
        return chosen
    places = _places(cohort, chosen, areas)
    refuse_few(places, areas, cohort.name)
    return chosen[places[(places >= 0).all(axis=1)].ravel()]


def with_references(
    cohort: Cohort, design: Design, populations: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Add the populations that those of a design are taken relative to.

    Parameters
    ----------
    cohort, design
        What is recorded, and how.
    populations : array (population,) of int
        As `usable` returns them.

    Returns
    -------
    everything : array of int
        All populations to be recorded, those given first.
    references : array (population,) of int or None
        Which of all is the reference of each; None where the design records none.
    """
    if design.recorded_reference is None:
        return populations, None
    found = cohort.reference_populations(design.recorded_reference)[populations]
    added, places = np.unique(found, return_inverse=True)
    return np.concatenate([populations, added]), len(populations) + places


def lacking_contrasts(cohort: Cohort, design: Design) -> list[str]:
    """Say how many a design leaves out because they lack one of its areas or its reference."""
    reference, areas = design.recorded_reference, design.recorded_areas
    chosen = cohort.usable_populations(design.position if areas is None else None)
    out = []
    if reference is not None:
        found = cohort.reference_populations(reference)[chosen]
        out += lacking_references(found, reference)
        chosen = chosen[found >= 0]
    return out if areas is None else out + lacking(_places(cohort, chosen, areas), areas)


def _places(cohort: Cohort, populations: np.ndarray, areas: Sequence[str]) -> np.ndarray:
    """Return the places (organism, area) among populations, as `places_of_areas` does."""
    table = cohort.population_table
    organisms, positions = (table[n].values[populations] for n in ("organism", "layer_position"))
    return places_of_areas(organisms, positions, areas)[0]


def check_held(cohort: Cohort, design: Design, chosen: np.ndarray) -> None:
    """Raise `UsageError` if a design asks for more units or stimuli than a cohort holds."""
    for measure in design.measures:
        held = cohort.stored_units(measure)[chosen]
        if (held < design.unit_count).mean() > 0.5:
            most = int(np.median(held))
            raise UsageError(
                f"the design asks for {design.units} units, but the cohort {cohort.name!r} holds "
                f"{most} per population for the measure {measure!r}; use at most --units {most}"
            )
    if "activity" in design.measures and (design.stimuli or 0) > cohort.stimuli:
        raise UsageError(
            f"the design shows {design.stimuli} stimuli, but the cohort {cohort.name!r} holds "
            f"{cohort.stimuli}; use at most --stimuli {cohort.stimuli}"
        )


class Samples:
    """What is stored of one measure of some populations, in the order in which it is recorded.

    Units are put into an order of their own, drawn once per population (once per checkpoint, if
    units are not tracked). Recording n units takes the first n, so that one pass serves designs
    of any number of units.

    Parameters
    ----------
    cohort : Cohort
        Where they are stored.
    design : Design
        Modality, noise reference, tracking and stimuli; not units, noise and schedule.
    measure : {"activity", "weights", "paired"}
        Which measure.
    populations : array of int
        Which populations.
    key : int
        Keys everything random, with organism and layer.
    """

    def __init__(
        self, cohort: Cohort, design: Design, measure: str, populations: np.ndarray, key: int
    ) -> None:
        self._cohort = cohort
        self._design = design
        self.measure = measure
        self._populations = populations
        self._key = key
        self._modality = design.make_modality()
        self._checkpoints = range(cohort.checkpoints)
        self._sides = cohort.stored_sides(measure)[populations]
        labels = cohort.labels(populations)
        self._organisms, self._layers = labels["organism"], labels["layer"]

    def _rng(self, place: int, stream: str) -> np.random.Generator:
        organism, layer = self._organisms[place], self._layers[place]
        return keyed_rng(self._key, organism, layer, self.measure, stream)

    def measured(
        self, place: int, units: int, noise: Sequence[float], sessions: Sequence[int]
    ) -> Iterator[np.ndarray]:
        """Measure one population, once for each level of noise.

        Parameters
        ----------
        place : int
            Which of the populations.
        units : int
            The most that will be `cut`.
        noise : sequence of float
            As in a Design.
        sessions : sequence of int
            Their checkpoints, in order. Relative noise refers to the first.

        Yields
        ------
        array (session, ..., unit) or (session, stimulus, post, pre)
            Of float32. Units stand in the order in which they are recorded.
        """
        for values, shape, _ in self._noisy(place, units, noise, sessions):
            yield self._held(values.reshape(shape), place, sessions)

    def measured_with_variance(
        self, place: int, units: int, noise: Sequence[float], sessions: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Measure one population as `measured` does, and say how large the noise is.

        Yields
        ------
        measured, variance : array (session, ..., unit) or (session, stimulus, post, pre)
            The second is that of the noise in each value of the first. It has axes of 1 where the
            technique gives all values the same.
        """
        for values, shape, known in self._noisy(place, units, noise, sessions):
            variance = self._modality.variance(values, **known)
            if variance.size == 1:
                variance = variance.reshape((1,) * len(shape))
            else:
                variance = np.broadcast_to(variance, values.shape).reshape(shape)
                variance = self._held(variance, place, sessions)
            yield self._held(values.reshape(shape), place, sessions), variance

    def _noisy(
        self, place: int, units: int, noise: Sequence[float], sessions: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, tuple[int, ...], dict[str, Any]]]:
        """Yield, for each level, what is measured, its shape, and what the modality knew."""
        signal, first, sd, shape = self._noiseless(place, units, sessions)
        levels = [sd * n for n in noise]
        course = self._course(place, first, sessions)
        made = self._modality.means(
            signal, noise_sd=levels, course=course, rng=self._rng(place, "noise")
        )
        for level, values in zip(levels, made, strict=True):
            yield values, shape, {"noise_sd": level, "course": course}

    def trials(
        self, place: int, units: int, noise: float, trials: int, sessions: Sequence[int]
    ) -> np.ndarray:
        """Measure the activity of one population trial by trial.

        Returns
        -------
        array (session, stimulus, trial, unit)
            Of float32; `noise` is that of the mean over `trials`. All else as in `measured`.
        """
        signal, first, sd, _ = self._noiseless(place, units, sessions)
        made = self._modality.trials(
            signal,
            trials=trials,
            noise_sd=sd * noise,
            course=self._course(place, first, sessions),
            rng=self._rng(place, "noise"),
        )
        return self._held(made, place, sessions)

    def _course(self, place: int, first: np.ndarray, sessions: Sequence[int]) -> Course:
        """Return when the checkpoints are, counted from the first session."""
        after = [checkpoint - sessions[0] for checkpoint in self._checkpoints]
        key = draw_key(self._rng(place, "constants"))
        return Course(first, tracked=self._design.tracked, checkpoints=after, key=key)

    def _noiseless(
        self, place: int, units: int, sessions: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, float, tuple[int, ...]]:
        """Return what a modality takes, and the shape of what it gives.

        Returns
        -------
        signal : array (checkpoint, ..., line)
            Units, synapses or pairs, along one axis, in the order in which they are recorded;
            pairs as (post, pre) where the modality asks for it. All
            checkpoints, so that a session does not depend on the others.
        first : array (..., line)
            All that is stored of the first session.
        sd : float
            To what noise refers.
        shape : tuple of int
            Of the signal with pairs as post by pre.
        """
        everything = self._cohort.read(
            self.measure, self._populations[place : place + 1], self._checkpoints
        )[0]
        for axis, side in zip(range(-len(self._sides[place]), 0), self._sides[place], strict=True):
            if side < everything.shape[axis]:
                everything = everything.take(range(side), axis=axis)
        self._check_stored(everything, place, sessions)
        first = everything[sessions[0]]
        signal = self._ordered(everything, place, units)
        sd = signal_sd(first, self._design.noise_reference)
        if not self._modality.pairs_in_line:
            return signal, first, sd, signal.shape
        lines = len(everything.shape) - len(self._sides[place])
        flat = signal.reshape(*signal.shape[:lines], -1)
        return flat, first.reshape(*everything.shape[1:lines], -1), sd, signal.shape

    def _held(self, measured: np.ndarray, place: int, sessions: Sequence[int]) -> np.ndarray:
        """Return the sessions that are held, with the stimuli that are shown in them."""
        shown = self._shown(measured.shape[1], place)
        if list(sessions) != list(self._checkpoints):
            measured = measured[list(sessions)]
        return measured if shown is None else measured[:, shown]

    def cut(self, measured: np.ndarray, units: int, place: int) -> np.ndarray:
        """Return the first `units` of what was measured; fewer where the population holds fewer."""
        if self.measure == "paired":
            post, pre = self._sides[place]
            n_post = min(max(1, int(np.sqrt(units))), post)
            return measured[..., :n_post, : min(max(1, units // n_post), pre)]
        return measured[..., :units]

    def _ordered(self, everything: np.ndarray, place: int, units: int) -> np.ndarray:
        """Put units into the order in which they are recorded, (checkpoint, ..., unit)."""
        rng = self._rng(place, "units")
        tracked = self._design.tracked
        orders = [
            draw_units(int(side), int(side), len(everything), tracked, rng)
            for side in self._sides[place]
        ]
        if self.measure == "paired":
            rows, columns = orders
            if tracked:
                return everything[..., rows[0][:, None], columns[0]]
            return np.stack(
                [e[:, r[:, None], c] for e, r, c in zip(everything, rows, columns, strict=True)]
            )
        [order] = orders
        if tracked:
            return everything.take(order[0][:units], axis=-1)
        return np.stack(
            [e.take(o[:units], axis=-1) for e, o in zip(everything, order, strict=True)]
        )

    def _shown(self, stored: int, place: int) -> np.ndarray | None:
        """Return which stimuli are shown; None: all."""
        stimuli = self._design.stimuli
        if self.measure == "weights" or stimuli is None or stimuli >= stored:
            return None
        return np.sort(self._rng(place, "stimuli").permutation(stored)[:stimuli])

    def _check_stored(self, everything: np.ndarray, place: int, sessions: Sequence[int]) -> None:
        """Raise `DataError` where a session of a population holds nothing at all."""
        empty = np.isnan(everything.reshape(len(everything), -1)).all(axis=1)
        for checkpoint in sessions:
            if empty[checkpoint]:
                raise DataError(
                    f"the cohort {self._cohort.name!r} stores no {self.measure} of organism "
                    f"{self._organisms[place]}, layer {self._layers[place]}, at checkpoint "
                    f"{checkpoint}; organisms that did not diverge must have the same checkpoints, "
                    "or the schedule must leave out those that some lack"
                )


def draw_units(
    held: int, units: int, sessions: int, tracked: bool, rng: np.random.Generator
) -> list[np.ndarray]:
    """Draw units without replacement, once for all sessions or once for each.

    Returns
    -------
    list of array
        The places of the units recorded in each session.
    """
    if tracked:
        return [rng.permutation(held)[:units]] * sessions
    return [rng.permutation(held)[:units] for _ in range(sessions)]
