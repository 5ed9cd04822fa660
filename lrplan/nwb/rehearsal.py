"""Rehearsal: write an organism's virtual recording as the NWB files that a lab would have."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.arguments import generator
from lrplan.cohort import as_cohort
from lrplan.cohort.learned import NOT_LEARNED
from lrplan.errors import UsageError
from lrplan.measure.design import RELATIVE, Design, Schedule
from lrplan.measure.noise import signal_sd
from lrplan.measure.virtual import draw_units
from lrplan.nwb.write import kind_and_modality, write_nwb
from lrplan.registry import nearest
from lrplan.terms import POSITIONS

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort


def find_population(cohort: Cohort, organism: str, layer: str) -> int:
    """Return the index of one population, by organism and by layer or position.

    Parameters
    ----------
    cohort : Cohort
        Where to look.
    organism : str
        Its id, or the start of it if only one begins so.
    layer : str
        A layer's name, or ``early``, ``middle`` or ``deep`` (the last stored layer there).

    Raises
    ------
    UsageError
        If there is none, or more than one organism.
    """
    for what, name in (("organism", organism), ("layer", layer)):
        if not isinstance(name, str):
            raise UsageError(f"{what} is {name!r}; expected its name")
    ids = cohort.organism_ids
    matches = [i for i in ids if i.startswith(organism)] if organism else []
    if len(matches) != 1:
        why = "fits several organisms" if matches else "is not in the cohort"
        raise UsageError(
            f"organism {organism!r} {why} {cohort.name!r}; `lrplan cohort organisms "
            f"{cohort.name}` lists them"
        )
    table = cohort.population_table
    of_organism = np.flatnonzero(table["organism"].values == ids.index(matches[0]))
    column = "layer_position" if layer in POSITIONS else "layer"
    found = [i for i in of_organism if table[column].values[i] == layer]
    if not found:
        known = [str(table["layer"].values[i]) for i in of_organism] + list(POSITIONS)
        raise UsageError(
            f"organism {matches[0]} has no stored layer {layer!r}; {nearest(layer, known)}"
        )
    return int(found[-1])


def record_nwb(
    cohort: Cohort | str | Path,
    *,
    organism: str,
    layer: str,
    out: Path | str,
    rng: np.random.Generator | int,
    units: int = 300,
    sessions: int | None = None,
    noise: float | None = None,
    noise_reference: str = RELATIVE,
    kind: str | None = None,
    modality: str | None = None,
    settings: Mapping[str, Any] | None = None,
    trials: int | None = None,
    tracked: bool = True,
) -> list[Path]:
    """Record one population of one organism to NWB files, one per session.

    Parameters
    ----------
    cohort : Cohort, str or Path
        Where the organism is.
    organism, layer : str
        Which, as for `find_population`.
    out : Path
        Directory that does not exist yet, or is empty.
    rng : numpy.random.Generator or int
        Source of units, noise, trial order and spikes, or a seed.
    units : int, default 300
        Recorded in each session.
    sessions : int, optional
        Evenly spread over training; by default one per checkpoint.
    noise : float, optional
        As in a Design: standard deviation of the mean over a stimulus's trials, as a fraction of
        the population's signal in the first session.
    noise_reference : {"relative", "within", "absolute"}, default "relative"
        Which signal, as in a Design.
    kind : {"spikes", "dff"}, optional
        Spike times or dF/F; by default what the modality is written as, else spikes.
    modality : str, optional
        The measurement model; by default ``counts`` (Poisson noise) for spikes and ``ideal``
        (Gaussian noise) for dF/F.
    settings : mapping of str to value, optional
        Settings of the modality that differ from its defaults.
    trials : int, optional
        Of each stimulus in each session; by default the modality's, or 10.
    tracked : bool, default True
        Whether the same units are recorded in all sessions.

    Returns
    -------
    list of Path
        The files, in the order of the sessions.

    Raises
    ------
    UsageError
        If the organism diverged, or the population holds fewer units than are asked.

    Warns
    -----
    UserWarning
        If the organism did not learn its task (`lrplan.cohort.learned`).
    """
    kind, modality = kind_and_modality(kind, modality)
    design = Design(
        units=units,
        noise=noise,
        noise_reference=noise_reference,
        modality=modality,
        settings={} if settings is None else settings,
        schedule=Schedule(sessions=sessions),
        tracked=tracked,
    )
    units, rng = design.unit_count, generator(rng)
    cohort = as_cohort(cohort)
    population = find_population(cohort, organism, layer)
    held = int(cohort.stored_units("activity")[population])
    if units > held:
        raise UsageError(
            f"the population holds {held} units, {units} were asked; use at most --units {held}"
        )
    checkpoints = design.schedule.checkpoints(cohort.checkpoints)
    full = cohort.read("activity", np.array([population]), checkpoints)[0]
    if not np.isfinite(full[..., :held]).all():
        raise UsageError(f"organism {organism} diverged in training; there is nothing to record")
    _warn_of_one_that_did_not_learn(cohort, population)
    drawn = draw_units(held, units, len(checkpoints), tracked, rng)
    signal = np.stack([full[s][:, drawn[s]] for s in range(len(checkpoints))])
    labels = cohort.labels(np.array([population]))
    return write_nwb(
        signal,
        out,
        noise_sd=design.noise_level * signal_sd(full[0], design.noise_reference),
        kind=kind,
        modality=modality,
        settings=design.settings,
        trials=trials,
        tracked=tracked,
        checkpoints=[c - checkpoints[0] for c in checkpoints],
        unit_ids=drawn[0] if tracked else None,
        # The rule is what a rehearsal is to find out: it does not stand in the files.
        description="virtual recording written by lrplan",
        subject_id=str(labels["organism"][0]),
        rng=rng,
    )


def _warn_of_one_that_did_not_learn(cohort: Cohort, population: int) -> None:
    """Say so: elsewhere such organisms are left out, but this one was asked for by its name."""
    place = int(cohort.population_table["organism"].values[population])
    if cohort.fates[place] == NOT_LEARNED:
        warnings.warn(
            f"organism {cohort.organism_ids[place]} did not learn its task; a recording of it "
            f"hardly tells its rule. `lrplan cohort organisms {cohort.name}` shows which did",
            stacklevel=3,
        )
