"""Recordings: what an experimenter holds, virtual or real, and how a virtual one is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.arguments import generator, positive_int
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design
from lrplan.randomness import keyed_rng
from lrplan.registry import nearest
from lrplan.threads import threads

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

DIMS = {
    "activity": ("population", "session", "stimulus", "unit"),
    "activity_sem": ("population", "session", "stimulus", "unit"),
    "trials": ("population", "session", "stimulus", "trial", "unit"),
    "weights": ("population", "session", "synapse"),
    "paired": ("population", "session", "paired_stimulus", "post", "pre"),
}
KINDS = ("virtual", "spikes", "dff")
UNKNOWN = "unknown"
LEARNING = "learning"
_MATCHED = ("session", "stimulus", "paired_stimulus")


@dataclass(frozen=True, eq=False)
class Recording:
    """Responses of one or many populations over sessions.

    A population is one area of one animal under one condition. Virtual and real recordings take
    the same road to features.

    Parameters
    ----------
    data : xarray.Dataset
        Some of the variables ``trials`` (population, session, stimulus, trial, unit),
        ``activity`` (population, session, stimulus, unit), ``weights`` (population, session,
        synapse) and ``paired`` (population, session, paired_stimulus, post, pre), in any unit
        that stays the same over sessions. Dimensions go by their names and may stand in any
        order. Trials, units, synapses and pairs that some session or population lacks are padded
        with NaN. Where there are ``trials``, ``activity``, their mean, and ``activity_sem``, its
        standard error, are computed unless they are given.

        Coordinates over populations are ``animal`` (by default the ``organism``, else
        ``"unknown"``), ``area`` (by default the ``layer``, else ``"unknown"``) and ``condition``
        (by default ``"learning"``); virtual recordings have also ``organism``, ``rule``,
        ``architecture``, ``task``, ``setting``, ``layer`` and ``position``.
    source : str
        Where it comes from: a cohort's name or file names.
    kind : {"virtual", "spikes", "dff"}
        What was recorded.
    tracked : bool
        Whether units are the same in all sessions.
    ingest : dict
        What the reader chose, dropped and doubted.

    Raises
    ------
    UsageError
        If the data lack a dimension, have one too many, or hold no numbers.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from lrplan import Recording
    >>> rates = np.random.default_rng(0).random((1, 5, 8, 10, 60))
    >>> dims = ("population", "session", "stimulus", "trial", "unit")
    >>> recording = Recording(xr.Dataset({"trials": (dims, rates)}), "my lab", kind="spikes")
    >>> recording.data["activity"].shape
    (1, 5, 8, 60)
    """

    data: xr.Dataset
    source: str = "unnamed"
    kind: str = "virtual"
    tracked: bool = True
    ingest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown kind {self.kind!r}; {nearest(str(self.kind), KINDS)}")
        if not isinstance(self.tracked, bool | np.bool_):
            raise UsageError(f"tracked is {self.tracked!r}; expected True or False")
        for name, value, of in (("source", self.source, str), ("ingest", self.ingest, dict)):
            if not isinstance(value, of):
                raise UsageError(f"{name} is {value!r}; expected a {of.__name__}")
        object.__setattr__(self, "data", _with_areas(_with_means(_by_name(self.data))))

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        return int(self.data.sizes["session"])

    @property
    def units_per_session(self) -> list[int]:
        """Recorded units in each session of the first population."""
        seen = np.isfinite(self.data["activity"].values[0]).all(axis=1)
        return [int(n) for n in seen.sum(axis=-1)]

    def of(
        self,
        *,
        animal: str | Sequence[str] | None = None,
        area: str | Sequence[str] | None = None,
        condition: str | Sequence[str] | None = None,
    ) -> Recording:
        """Return the populations of some animals, areas or conditions.

        Raises
        ------
        UsageError
            If a name is not in the recording, or no population has all that is asked.

        Examples
        --------
        >>> import lrplan
        >>> cohort = lrplan.open_cohort("starter")
        >>> made = lrplan.record(cohort, lrplan.Design(units=9), rng=0, populations=range(6))
        >>> first = str(made.data["area"].values[0])
        >>> set(made.of(area=first).data["area"].values.tolist()) == {first}
        True
        """
        kept = np.ones(self.data.sizes["population"], dtype=bool)
        asked = {"animal": animal, "area": area, "condition": condition}
        for name, wanted in asked.items():
            if wanted is None:
                continue
            held = self.data[name].values
            known = sorted(set(held.tolist()))
            wanted = [wanted] if isinstance(wanted, str) else list(wanted)
            for one in wanted:
                if one not in known:
                    raise UsageError(f"no population has {name} {one!r}; {nearest(one, known)}")
            kept &= np.isin(held, wanted)
        if not kept.any():
            told = ", ".join(f"{k} {v!r}" for k, v in asked.items() if v is not None)
            raise UsageError(f"no population of {self.source} has {told} together")
        return replace(self, data=self.data.isel(population=kept))

    def equalised(self, units: int, *, rng: np.random.Generator | int) -> Recording:
        """Return a copy with exactly `units` units in every session.

        Units are those present in all sessions where the recording is tracked, and a random
        choice in each session otherwise.
        """
        units, rng = positive_int(units, "units"), generator(rng)
        if "activity" not in self.data:
            raise UsageError(f"{self.source} holds no activity, so it has no units to choose from")
        values = self.data["activity"].values
        seen = np.isfinite(values).all(axis=2)  # population, session, unit
        if self.tracked:
            seen = np.broadcast_to(seen.all(axis=1, keepdims=True), seen.shape)
        fewest = int(seen.sum(axis=-1).min())
        if fewest < units:
            raise DataError(
                f"{self.source} has {fewest} units in its smallest session; {units} were asked"
            )
        chosen = np.empty((*seen.shape[:2], units), dtype=int)
        for p in range(seen.shape[0]):
            for s in range(seen.shape[1]):
                if s == 0 or not self.tracked:
                    present = np.flatnonzero(seen[p, s])
                    drawn = np.sort(rng.permutation(present)[:units])
                chosen[p, s] = drawn
        taken: dict[str, Any] = {}
        for name in ("activity", "activity_sem", "trials"):
            if name in self.data:
                full = self.data[name].values
                places = chosen.reshape(*chosen.shape[:2], *(1,) * (full.ndim - 3), units)
                taken[name] = (DIMS[name], np.take_along_axis(full, places, axis=-1))
        data = self.data.drop_vars(list(taken)).drop_dims("unit", errors="ignore").assign(taken)
        return replace(self, data=data)

    def with_shuffled_sessions(self, rng: np.random.Generator | int) -> Recording:
        """Return a copy whose sessions stand in random order, the same for all populations."""
        order = generator(rng).permutation(self.sessions)
        return replace(self, data=self.data.isel(session=order))


def join(recordings: Sequence[Recording]) -> Recording:
    """Return one recording with the populations of several: areas, animals or conditions.

    Parameters
    ----------
    recordings : sequence of Recording
        Of one kind, with the same variables, as many sessions, and the same stimuli. Sessions
        are matched by their order, stimuli by their order and, where known, their names.

    Returns
    -------
    Recording
        Populations in the order given, padded with NaN to the most trials and units.

    Raises
    ------
    UsageError
        If they differ in what must be the same.

    Examples
    --------
    >>> import lrplan
    >>> cohort, design = lrplan.open_cohort("starter"), lrplan.Design(units=9)
    >>> one, two = (lrplan.record(cohort, design, rng=0, populations=[p]) for p in (0, 5))
    >>> lrplan.join([one, two]).data.sizes["population"]
    2
    """
    parts = list(recordings)
    if not parts or not all(isinstance(r, Recording) for r in parts):
        raise UsageError("recordings is not a sequence of at least one Recording")
    first = parts[0]
    for other in parts[1:]:
        for what, one, two in (
            ("kind", first.kind, other.kind),
            ("tracked", first.tracked, other.tracked),
            *((d, first.data.sizes.get(d), other.data.sizes.get(d)) for d in _MATCHED),
            ("stimuli", _names(first, "stimulus"), _names(other, "stimulus")),
            ("variables", _variables(first), _variables(other)),
        ):
            if one != two:
                raise UsageError(
                    f"{first.source} and {other.source} differ in {what} ({one} and {two}); "
                    "expected the same in all recordings that are joined"
                )
    variables: dict[str, Any] = {}
    for name in _variables(first):
        held = [population for r in parts for population in r.data[name].values]
        variables[name] = (DIMS[name], _padded(held))
    known = [c for c in first.data.coords if first.data[c].dims == ("population",)]
    coords: dict[Any, Any] = {
        c: ("population", np.concatenate([r.data[c].values for r in parts]))
        for c in known
        if all(c in r.data.coords for r in parts)
    }
    for dim in ("session", "stimulus"):
        if all(_names(r, dim) == _names(first, dim) is not None for r in parts):
            coords[dim] = first.data[dim].values
    data = xr.Dataset(variables, coords=coords)
    for name in variables:
        data[name].attrs.update(first.data[name].attrs)
    ingests = [r.ingest for r in parts if r.ingest]
    merged: dict[str, Any] = {
        what: [one for i in ingests for one in i.get(what, [])] for what in ("files", "warnings")
    }
    source = ", ".join(dict.fromkeys(r.source for r in parts))
    return replace(first, data=data, source=source, ingest=merged if ingests else {})


def _variables(recording: Recording) -> list[str]:
    return [name for name in DIMS if name in recording.data]


def _names(recording: Recording, dim: str) -> list[str] | None:
    return recording.data[dim].values.tolist() if dim in recording.data.coords else None


def mean_and_error(trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over trials and its standard error, in float64.

    Parameters
    ----------
    trials : array (..., trial, unit)
        NaN where a unit was not observed.

    Returns
    -------
    mean, sem : array (..., unit)
        NaN where there is no trial, or, for `sem`, only one.
    """
    good = np.isfinite(trials)
    count = good.sum(axis=-2)
    filled = np.where(good, trials, 0.0).astype(np.float64, copy=False)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=-2) / count
        spread = np.where(good, filled - mean[..., None, :], 0.0)
        sem = np.sqrt((spread**2).sum(axis=-2) / (count - 1) / count)
    sem[count < 2] = np.nan
    return mean, sem


def _by_name(data: Any) -> xr.Dataset:
    """Return data whose dimensions stand in the order of `DIMS`, or say what is wrong."""
    if not isinstance(data, xr.Dataset):
        raise UsageError(
            f"data is a {type(data).__name__}; expected an xarray.Dataset with some of "
            f"{', '.join(DIMS)}"
        )
    held = [name for name in DIMS if name in data]
    if not {"activity", "trials", "weights", "paired"} & set(held):
        raise UsageError(
            f"data holds {', '.join(map(str, data.data_vars)) or 'no variable'}; expected at least "
            "one of trials, activity, weights and paired"
        )
    turned = {}
    for name in held:
        dims, variable = DIMS[name], data[name]
        if set(variable.dims) != set(dims):
            raise UsageError(
                f"{name} has the dimensions ({', '.join(map(str, variable.dims))}); expected "
                f"({', '.join(dims)}), in any order"
            )
        if variable.dtype.kind not in "iuf":
            raise UsageError(f"{name} is of type {variable.dtype}; expected real numbers")
        if not variable.size:
            raise UsageError(f"{name} is empty: its sizes are {dict(variable.sizes)}")
        variable = variable.transpose(*dims)
        turned[name] = variable if variable.dtype.kind == "f" else variable.astype(np.float64)
    return data.assign(turned)


def _with_means(data: xr.Dataset) -> xr.Dataset:
    """Return data with the mean over trials and its standard error, where trials are known."""
    if "trials" not in data or "activity" in data:
        return data
    trials = data["trials"].values
    # One population at a time: float64 of all of them may not fit into memory.
    both = np.stack([mean_and_error(population) for population in trials], axis=1)
    return data.assign(
        {
            name: (DIMS[name], values.astype(trials.dtype, copy=False))
            for name, values in zip(("activity", "activity_sem"), both, strict=True)
        }
    )


def _with_areas(data: xr.Dataset) -> xr.Dataset:
    """Return data that say of each population its animal, area and condition."""
    count = data.sizes["population"]
    said = {}
    for name, other, default in (
        ("animal", "organism", UNKNOWN),
        ("area", "layer", UNKNOWN),
        ("condition", "condition", LEARNING),
    ):
        found = next((data[n].variable for n in (name, other) if n in data.coords), None)
        variable = xr.Variable((), default) if found is None else found
        if variable.dims not in ((), ("population",)):
            raise UsageError(
                f"the coordinate {name} has the dimensions {variable.dims}; expected one name for "
                f"each of {count} populations"
            )
        values = variable.values.astype(object)
        if not all(isinstance(v, str) and v for v in values.reshape(-1).tolist()):
            raise UsageError(f"the coordinate {name} holds {values.tolist()!r}; expected texts")
        said[name] = ("population", np.array(np.broadcast_to(values, count), dtype=object))
    return data.assign_coords(said)


def record(
    cohort: Cohort,
    design: Design,
    *,
    rng: np.random.Generator | int,
    populations: Sequence[int] | np.ndarray | None = None,
    trials: int | None = None,
) -> Recording:
    """Record a cohort as a lab would.

    Parameters
    ----------
    cohort : Cohort
        Where the organisms come from.
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
        diverge.
    trials : int, optional
        How many of each stimulus in each session are made and kept. Without it responses are
        made at once, with the law of means over trials.

    Returns
    -------
    Recording
        One population each, with labels as coordinates; an organism is an animal, its layer an
        area. Held in memory as a whole; features of
        cohorts larger than memory come from `lrplan.measure.features.observe`.

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
    key = draw_key(generator(rng))
    chosen = usable(cohort, design, populations)
    check_held(cohort, design, chosen)
    sessions = design.schedule.checkpoints(cohort.checkpoints)
    coords = cohort.labels(chosen)
    variables: dict[str, Any] = {}
    for measure in design.measures:
        samples = Samples(cohort, design, measure, chosen, key)
        kept = trials if measure == "activity" else None

        def one(place: int, samples: Samples = samples, kept: int | None = kept) -> np.ndarray:
            if kept is None:
                [measured] = samples.measured(place, design.unit_count, [design.noise], sessions)
            else:
                measured = samples.trials(place, design.unit_count, design.noise, kept, sessions)
            return samples.cut(measured, design.unit_count, place)

        with ThreadPoolExecutor(threads()) as pool:
            recorded = list(pool.map(one, range(len(chosen))))
        name = measure if kept is None else "trials"
        variables[name] = (DIMS[name], _padded(recorded))
    coords |= {"animal": coords["organism"], "area": coords["layer"]}
    return Recording(
        xr.Dataset(variables, coords={k: ("population", v) for k, v in coords.items()}),
        source=cohort.name,
        tracked=design.tracked,
    )


def draw_key(rng: np.random.Generator) -> int:
    """Draw the one number by which everything random about a recording is keyed."""
    return int(rng.integers(2**63))


def usable(
    cohort: Cohort, design: Design, populations: Sequence[int] | np.ndarray | None
) -> np.ndarray:
    """Return the populations to record: those named, or all that are fit for the design."""
    chosen = cohort.usable_populations(design.position) if populations is None else populations
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
        diverged = bool(cohort.organisms["diverged"].values.all())
        where = "" if design.position is None else f" at the position {design.position!r}"
        why = ": all its organisms diverged in training" if diverged else where
        raise DataError(f"the cohort {cohort.name!r} has no population to record{why}")
    return chosen


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
        self._measure = measure
        self._populations = populations
        self._key = key
        self._modality = design.make_modality()
        self._checkpoints = range(cohort.checkpoints)
        self._sides = cohort.stored_sides(measure)[populations]
        labels = cohort.labels(populations)
        self._organisms, self._layers = labels["organism"], labels["layer"]

    def _rng(self, place: int, stream: str) -> np.random.Generator:
        organism, layer = self._organisms[place], self._layers[place]
        return keyed_rng(self._key, organism, layer, self._measure, stream)

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
        signal, first, sd, shape = self._noiseless(place, units, sessions)
        for values in self._modality.means(
            signal,
            noise_sd=[sd * n for n in noise],
            first=first,
            rng=self._rng(place, "noise"),
        ):
            yield self._held(values.reshape(shape), place, sessions)

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
            first=first,
            rng=self._rng(place, "noise"),
        )
        return self._held(made, place, sessions)

    def _noiseless(
        self, place: int, units: int, sessions: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, float, tuple[int, ...]]:
        """Return what a modality takes, and the shape of what it gives.

        Returns
        -------
        signal : array (checkpoint, ..., line)
            Units, synapses or pairs, along one axis, in the order in which they are recorded. All
            checkpoints, so that a session does not depend on the others.
        first : array (..., line)
            All that is stored of the first session.
        sd : float
            To what noise refers.
        shape : tuple of int
            Of the signal with pairs as post by pre.
        """
        everything = self._cohort.read(
            self._measure, self._populations[place : place + 1], self._checkpoints
        )[0]
        for axis, side in zip(range(-len(self._sides[place]), 0), self._sides[place], strict=True):
            if side < everything.shape[axis]:
                everything = everything.take(range(side), axis=axis)
        self._check_stored(everything, place, sessions)
        first = everything[sessions[0]]
        signal = self._ordered(everything, place, units)
        sd = 1.0
        if self._design.noise_reference == "relative":
            sd = float(np.nanstd(first, dtype=np.float64))
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
        if self._measure == "paired":
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
        if self._measure == "paired":
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
        if self._measure == "weights" or stimuli is None or stimuli >= stored:
            return None
        return np.sort(self._rng(place, "stimuli").permutation(stored)[:stimuli])

    def _check_stored(self, everything: np.ndarray, place: int, sessions: Sequence[int]) -> None:
        """Raise `DataError` where a session of a population holds nothing at all."""
        empty = np.isnan(everything.reshape(len(everything), -1)).all(axis=1)
        for checkpoint in sessions:
            if empty[checkpoint]:
                raise DataError(
                    f"the cohort {self._cohort.name!r} stores no {self._measure} of organism "
                    f"{self._organisms[place]}, layer {self._layers[place]}, at checkpoint "
                    f"{checkpoint}; organisms that did not diverge must have the same checkpoints, "
                    "or the schedule must leave out those that some lack"
                )


def _padded(recorded: Sequence[np.ndarray]) -> np.ndarray:
    """Stack populations; those that hold fewer units than the largest are padded with NaN."""
    shape = tuple(max(sizes) for sizes in zip(*(r.shape for r in recorded), strict=True))
    out = np.empty((len(recorded), *shape), dtype=np.result_type(*recorded))
    for row, values in zip(out, recorded, strict=True):
        if values.shape != shape:
            row[...] = np.nan
        row[tuple(map(slice, values.shape))] = values
    return out


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
