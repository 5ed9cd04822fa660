"""Features: one vector per recorded population, from its observables over sessions."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design, Schedule
from lrplan.measure.observables import Family, families_of
from lrplan.measure.recording import Recording
from lrplan.measure.virtual import Samples, check_held
from lrplan.terms import POSITIONS
from lrplan.threads import threads

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

BLOCK = 16


@dataclass(frozen=True)
class Features:
    """One row per recorded population.

    Parameters
    ----------
    values : array (population, feature) of float32
        All observables of session 0, then all of session 1, ..., then the layer position if it
        is known.
    names : list of str
        ``act_raw_mean@3`` is an observable in session 3 (counted from 0); ``position_deep`` is a
        position.
    sessions : int
        Number of sessions.
    static : int
        How many features, the last ones, belong to no session.
    """

    values: np.ndarray
    names: list[str]
    sessions: int
    static: int


def features(
    recording: Recording, *, scaling: str = "relative", with_position: bool = True
) -> Features:
    """Turn a recording, virtual or real, into features.

    Parameters
    ----------
    recording : Recording
        With any of the measures.
    scaling : {"relative", "raw"}
        ``relative`` divides each observable by the first session's root mean square to the power
        of the observable's degree, since a firing rate and a network's activation share no unit,
        and gives later sessions as their change from the first, in which the error of sampling
        the same units cancels. ``raw`` is the paper's.
    with_position : bool, default True
        Whether early, middle and deep become three features (one-hot).

    Returns
    -------
    Features
        In the order of the recording's populations.
    """
    observed: list[np.ndarray] = []
    names: list[str] = []
    for measure in ("activity", "paired", "weights"):
        if measure not in recording.data:
            continue
        values = recording.data[measure].values
        for family in families_of(measure):
            observed.append(_observe(family, values, measure, scaling))
            names += [o.name for o in family.observables]
    if not observed:
        raise UsageError("the recording holds none of activity, weights and paired")
    position = None
    if with_position:
        if "position" not in recording.data.coords:
            raise UsageError("the position of the recording is unknown; leave it out or name it")
        position = recording.data["position"].values
    return _table(observed, names, position)


class Observed:
    """Observables of recorded populations, under one or many designs.

    Made by `observe`. Designs differ in units, noise and schedule; the features of each are those
    of a recording under that design alone.

    Parameters
    ----------
    design : Design
        All but units, noise and schedule.
    units : sequence of int
        Recorded per population.
    noise : sequence of float
        As in a Design.
    schedules : sequence of sequence of int
        The checkpoints of the sessions.
    position : array (population,) of str, optional
        Positions that become features.
    """

    def __init__(
        self,
        design: Design,
        units: Sequence[int],
        noise: Sequence[float],
        schedules: Sequence[Sequence[int]],
        position: np.ndarray | None,
        populations: int,
    ) -> None:
        self._design = design
        self._position = position
        self._families = [(m, f) for m in design.measures for f in families_of(m)]
        self.units, self.noise, self.schedules = list(units), list(noise), list(schedules)
        # Noise refers to the first session, so schedules with the same first share a pass.
        self._checkpoints = {
            first: sorted({c for s in schedules if s[0] == first for c in s})
            for first in sorted({s[0] for s in schedules})
        }
        shape = (len(units), len(noise), populations)
        self._values = {
            (first, f.name): np.empty((*shape, len(seen), len(f.observables)), dtype=np.float32)
            for first, seen in self._checkpoints.items()
            for _, f in self._families
        }
        self._scales = {key: np.ones(shape) for key in self._values}

    def fill(self, samples: Samples, measure: str, place: int) -> None:
        """Measure one population under all designs and take its observables."""
        families = [f for m, f in self._families if m == measure]
        for first, seen in self._checkpoints.items():
            levels = list(samples.measured(place, max(self.units), self.noise, seen))
            stacked = levels[0][None] if len(levels) == 1 else np.stack(levels)
            for u, units in enumerate(self.units):
                recorded = samples.cut(stacked, units, place)
                for family in families:
                    key = first, family.name
                    self._values[key][u, :, place] = family.compute(recorded)
                    if self._design.scaling == "relative":
                        self._scales[key][u, :, place] = family.scale(recorded[:, 0])

    def features(self, units: int = 0, noise: int = 0, schedule: int = 0) -> Features:
        """Return the features under one of the designs, by its places in the lists."""
        sessions = self.schedules[schedule]
        first = sessions[0]
        kept = np.searchsorted(self._checkpoints[first], sessions)
        observed, names = [], []
        for _, family in self._families:
            key = first, family.name
            values = self._values[key][units, noise][:, kept]
            if self._design.scaling == "relative":
                values = _relative(family, values, self._scales[key][units, noise])
            observed.append(values)
            names += [o.name for o in family.observables]
        return _table(observed, names, self._position)


def observe(
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
        Which.
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
        If a design asks for more than the cohort holds.
    """
    units = [design.unit_count] if units is None else list(units)
    noise = [design.noise] if noise is None else list(noise)
    schedules = [design.schedule] if schedules is None else list(schedules)
    check_held(cohort, design.with_(units=min(units) if fewer else max(units)), populations)
    sessions = [s.checkpoints(cohort.checkpoints) for s in schedules]
    position = None
    if design.position != "unknown":
        position = cohort.population_table["layer_position"].values[populations]
    observed = Observed(design, units, noise, sessions, position, len(populations))
    # In the order on disk, so that each chunk is decoded once.
    order = np.argsort(populations, kind="stable")
    for measure in design.measures:
        samples = Samples(cohort, design, measure, populations, key)
        with ThreadPoolExecutor(threads()) as pool:
            for _ in pool.map(lambda p, s=samples, m=measure: observed.fill(s, m, p), order):
                pass
    return observed


def stored_features(cohort: Cohort, design: Design, populations: np.ndarray) -> Features:
    """Return features from the observables that a cohort stores: all units, no noise.

    Parameters
    ----------
    cohort : Cohort
        With ``/observables``.
    design : Design
        With ``units="all"``.
    populations : array of int
        Whose.

    Raises
    ------
    DataError
        If the cohort lacks an observable, or, for `relative` scaling, the sizes of layers or
        finite first observables.
    UsageError
        If a family has no scale that can be had from its observables.
    """
    checkpoints = design.schedule.checkpoints(cohort.checkpoints)
    observed: list[np.ndarray] = []
    names: list[str] = []
    for measure in design.measures:
        for family in families_of(measure):
            own = [o.name for o in family.observables]
            values = cohort.stored_observables(own, populations, checkpoints)
            if design.scaling == "relative":
                values = _relative(
                    family, values, _stored_scale(cohort, family, values, populations)
                )
            observed.append(values)
            names += own
    position = None
    if design.position != "unknown":
        position = cohort.population_table["layer_position"].values[populations]
    return _table(observed, names, position)


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


def _table(
    observed: Sequence[np.ndarray], names: Sequence[str], position: np.ndarray | None
) -> Features:
    """Join observables (population, session, observable) and positions into vectors."""
    joined = np.concatenate(observed, axis=2)
    sessions = joined.shape[1]
    columns = [joined.reshape(len(joined), -1).astype(np.float32)]
    every = [f"{name}@{s}" for s in range(sessions) for name in names]
    if position is not None:
        columns.append((position[:, None] == np.array(POSITIONS)[None]).astype(np.float32))
        every += [f"position_{p}" for p in POSITIONS]
    return Features(
        np.concatenate(columns, axis=1), every, sessions, len(every) - sessions * len(names)
    )


def _relative(family: Family, observed: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Scale observables (population, session, observable) by the first session's scale."""
    degree = np.array([o.degree for o in family.observables], dtype=np.float32)
    # A population that is silent at first has no scale of its own.
    scale = np.where(scale > 0, scale, 1.0)
    observed = observed / (scale[:, None, None] ** degree)
    observed[:, 1:] -= observed[:, :1]
    return observed


def _observe(family: Family, values: np.ndarray, measure: str, scaling: str) -> np.ndarray:
    """Return scaled observables (population, session, observable)."""
    blocks = [values[i : i + BLOCK] for i in range(0, len(values), BLOCK)]

    def observe(block: np.ndarray) -> np.ndarray:
        out = np.empty((*block.shape[:2], len(family.observables)), dtype=np.float32)
        for rows, trimmed in _by_size(block, measure):
            observed = family.compute(trimmed)
            if scaling == "relative":
                scale = np.asarray(family.scale(trimmed[:, 0]), dtype=np.float64)
                observed = _relative(family, observed, scale)
            out[rows] = observed
        return out

    with ThreadPoolExecutor(threads()) as pool:
        return np.concatenate(list(pool.map(observe, blocks)))


def _by_size(block: np.ndarray, measure: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split a block into populations of equal recorded size, without the NaN that pads them."""
    padded = np.isnan(block[:, 0]) if measure == "weights" else np.isnan(block[:, 0, 0])
    if not padded.any():
        return [(np.arange(len(block)), block)]
    if measure == "paired":
        sizes = np.stack([(~padded).any(axis=2).sum(1), (~padded).any(axis=1).sum(1)], axis=1)
    else:
        sizes = (~padded).sum(axis=1)[:, None]
    out = []
    for size in np.unique(sizes, axis=0):
        rows = np.flatnonzero((sizes == size).all(axis=1))
        trimmed = block[rows]
        for axis, n in zip(range(-len(size), 0), size, strict=True):
            trimmed = np.take(trimmed, np.arange(n), axis=axis)
        out.append((rows, trimmed))
    return out
