"""Recordings: what an experimenter holds, virtual or real, and how a virtual one is made."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.design import Design
from lrplan.errors import DataError, UsageError
from lrplan.modalities import modalities
from lrplan.spec import keyed_rng
from lrplan.threads import threads

if TYPE_CHECKING:
    from lrplan.cohort import Cohort

BLOCK = 16
DIMS = {
    "activity": ("population", "session", "stimulus", "unit"),
    "weights": ("population", "session", "synapse"),
    "paired": ("population", "session", "paired_stimulus", "post", "pre"),
}


@dataclass(frozen=True)
class Recording:
    """Responses of one or many populations over sessions.

    A virtual recording of a cohort holds many populations; a real one holds one. Both take the
    same road to features.

    Parameters
    ----------
    data : xarray.Dataset
        Some of the variables ``activity`` (population, session, stimulus, unit), ``weights``
        (population, session, synapse) and ``paired`` (population, session, paired_stimulus,
        post, pre), in any unit that stays the same over sessions. A real recording has also
        ``activity_sem``, the standard error of each response over its trials, and pads units
        that a session lacks with NaN. Virtual recordings carry the coordinates ``organism``,
        ``rule``, ``architecture``, ``task``, ``setting`` and ``position`` over populations.
    source : str
        Where it comes from: a cohort's name or file names.
    kind : {"virtual", "spikes", "dff"}
        What was recorded.
    tracked : bool
        Whether units are the same in all sessions.
    ingest : dict
        What the reader chose, dropped and doubted.
    """

    data: xr.Dataset
    source: str
    kind: str = "virtual"
    tracked: bool = True
    ingest: dict[str, Any] = field(default_factory=dict)

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        return int(self.data.sizes["session"])

    @property
    def units_per_session(self) -> list[int]:
        """Recorded units in each session of the first population."""
        seen = np.isfinite(self.data["activity"].values[0]).all(axis=1)
        return [int(n) for n in seen.sum(axis=-1)]

    def equalised(self, units: int, *, rng: np.random.Generator) -> Recording:
        """Return a copy with exactly `units` units in every session.

        Units are those present in all sessions where the recording is tracked, and a random
        choice in each session otherwise.
        """
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
        for name in ("activity", "activity_sem"):
            if name in self.data:
                full = self.data[name].values
                taken[name] = (
                    DIMS["activity"],
                    np.take_along_axis(full, chosen[:, :, None, :], axis=-1),
                )
        data = self.data.drop_vars(list(taken)).drop_dims("unit", errors="ignore").assign(taken)
        return Recording(data, self.source, self.kind, self.tracked, self.ingest)

    def with_shuffled_sessions(self, rng: np.random.Generator) -> Recording:
        """Return a copy whose sessions stand in random order, the same for all populations."""
        order = rng.permutation(self.sessions)
        data = self.data.isel(session=order)
        return Recording(data, self.source, self.kind, self.tracked, self.ingest)


def record(
    cohort: Cohort,
    design: Design,
    *,
    rng: np.random.Generator,
    populations: Sequence[int] | np.ndarray | None = None,
) -> Recording:
    """Record a cohort as a lab would.

    Parameters
    ----------
    cohort : Cohort
        Where the organisms come from.
    design : Design
        How they are recorded.
    rng : numpy.random.Generator
        Source of the choice of units and of the noise. One number is drawn from it; all else is
        keyed by organism, so that an organism's recording does not depend on which others are
        recorded with it.
    populations : sequence of int, optional
        Which populations; by default those at the design's position, of organisms that did not
        diverge.

    Returns
    -------
    Recording
        One population each, with labels as coordinates.

    Raises
    ------
    UsageError
        If the design asks for more units in most populations, or more sessions or stimuli, than
        the cohort holds.
    """
    key = int(rng.integers(2**63))
    chosen = cohort.usable_populations(design.position) if populations is None else populations
    chosen = np.asarray(chosen, dtype=int)
    if not len(chosen):
        raise DataError(f"the cohort {cohort.name!r} has no population to record")
    if "activity" in design.measures and (design.stimuli or 0) > cohort.stimuli:
        raise UsageError(
            f"the design shows {design.stimuli} stimuli, but the cohort {cohort.name!r} holds "
            f"{cohort.stimuli}; use at most --stimuli {cohort.stimuli}"
        )
    coords = cohort.labels(chosen)
    variables: dict[str, Any] = {}
    for measure in design.measures:
        held = cohort.stored_units(measure)[chosen]
        if (held < design.units).mean() > 0.5:
            most = int(np.median(held))
            raise UsageError(
                f"the design asks for {design.units} units, but the cohort {cohort.name!r} holds "
                f"{most} per population for the measure {measure!r}; use at most --units {most}"
            )
        variables[measure] = (DIMS[measure], _record_measure(cohort, design, measure, chosen, key))
    return Recording(
        xr.Dataset(variables, coords={k: ("population", v) for k, v in coords.items()}),
        source=cohort.name,
        tracked=design.tracked,
    )


def _record_measure(
    cohort: Cohort, design: Design, measure: str, chosen: np.ndarray, key: int
) -> np.ndarray:
    """Return one measure of the chosen populations, padded with NaN where one holds fewer."""
    checkpoints = design.schedule.checkpoints(cohort.checkpoints)
    modality = modalities.get(design.modality)
    labels = cohort.labels(chosen)
    held = cohort.stored_units(measure)[chosen]

    def one(full: np.ndarray, place: int) -> np.ndarray:
        rng = keyed_rng(key, labels["organism"][place], labels["layer"][place], measure)
        signal = _choose(full, design, measure, int(held[place]), rng)
        sd = design.noise
        if design.noise_reference == "relative":
            sd *= float(np.nanstd(full[0], dtype=np.float64))
        return modality.measure(signal, noise_sd=sd, rng=rng)

    def block(start: int) -> list[np.ndarray]:
        full = cohort.read(measure, chosen[start : start + BLOCK], checkpoints)
        return [one(population, start + i) for i, population in enumerate(full)]

    with ThreadPoolExecutor(threads()) as pool:
        recorded = [r for some in pool.map(block, range(0, len(chosen), BLOCK)) for r in some]
    # Populations that hold fewer units than the largest are padded.
    shape = tuple(max(sizes) for sizes in zip(*(r.shape for r in recorded), strict=True))
    out = np.empty((len(recorded), *shape), dtype=np.float32)
    for row, values in zip(out, recorded, strict=True):
        if values.shape != shape:
            row[...] = np.nan
        row[tuple(map(slice, values.shape))] = values
    return out


def _choose(
    full: np.ndarray, design: Design, measure: str, held: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose stimuli and units of one population (session, ..., unit)."""
    sessions = full.shape[0]
    if measure != "weights" and design.stimuli is not None:
        full = full[:, np.sort(rng.permutation(full.shape[1])[: design.stimuli])]
    if measure == "paired":
        # A population smaller than the stored block is padded with NaN.
        whole = np.isfinite(full[0, 0])
        post, pre = int(whole.any(axis=1).sum()), int(whole.any(axis=0).sum())
        n_post = min(max(1, int(np.sqrt(design.units))), post)
        n_pre = min(max(1, design.units // n_post), pre)
        rows = draw_units(post, n_post, sessions, design.tracked, rng)
        columns = draw_units(pre, n_pre, sessions, design.tracked, rng)
        return np.stack([full[s][:, rows[s][:, None], columns[s]] for s in range(sessions)])
    units = draw_units(held, min(design.units, held), sessions, design.tracked, rng)
    if design.tracked:
        return full[..., units[0]]
    return np.stack([full[s][..., units[s]] for s in range(sessions)])


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
