"""Under which Design a recording was made, as far as it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lrplan.arguments import finite_number
from lrplan.errors import DataError
from lrplan.measure.design import WITHIN, Design, Schedule
from lrplan.measure.noise import (
    MOST_NOISE,
    NoiseEstimate,
    estimate_noise,
    pooled_noise,
    refuse_without_signal,
)
from lrplan.measure.observables import STANDARD_STORED, names_of
from lrplan.measure.observe import knows_noise
from lrplan.measure.recording import Recording
from lrplan.measure.requirements import too_few_units, usable_units
from lrplan.measure.trajectories import Trajectories

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

MODALITY_OF = {"spikes": "counts", "dff": "ideal", "virtual": "ideal"}
FEW_UNITS = 30
DIFFERENT = 2
"""By what factor the noise of areas must differ to be said."""


def infer_noise(recording: Recording, *, rng: np.random.Generator | int) -> list[NoiseEstimate]:
    """Estimate the noise of each area, and refuse a recording in which stimuli drive nothing.

    Raises
    ------
    DataError
        If no stimulus was repeated, or nothing shows that stimuli drive responses.
    """
    found = estimate_noise(recording, rng=rng)
    refuse_without_signal(recording, found)
    return found


def infer_design(
    recording: Recording,
    cohort: Cohort,
    *,
    rng: np.random.Generator | int,
    position: str = "unknown",
    noise: float | None = None,
) -> tuple[Design, list[NoiseEstimate], list[str]]:
    """Say under which Design a recording was made, as far as the cohort can follow.

    Parameters
    ----------
    recording : Recording
        One real recording.
    cohort : Cohort
        Whose stored units, stimuli and checkpoints bound the design.
    rng : numpy.random.Generator or int
        Of the intervals of the noise.
    position : {"unknown", "early", "middle", "deep"}
        Where the recorded area lies.
    noise : float, optional
        Noise of a response relative to the signal within units; by default estimated by
        `infer_noise`.

    Returns
    -------
    design : Design
        Sessions are taken to be evenly spread over learning. Noise is relative to the signal
        within units: what units differ by whatever is shown, such as spontaneous rates, is no
        signal that noise could hide.
    estimates : list of NoiseEstimate
        Of each area; empty where `noise` is given.
    warnings : list of str
        Where the recording holds more than the cohort.
    """
    warnings = []
    counts = recording.units_per_session
    units = usable_units(recording)
    if max(counts) != units:
        warnings.append(
            f"sessions have {min(counts)} to {max(counts)} units; {units} of each are used"
        )
    too_few = too_few_units(recording)
    if too_few is not None:
        raise DataError(too_few)
    if units < FEW_UNITS:
        warnings.append(f"only {units} units per session; the forecast shows what that costs")
    stored = int(np.median(cohort.stored_units("activity")[cohort.usable_populations(position)]))
    if units > stored:
        warnings.append(
            f"the recording has {units} units, the cohort stores {stored} per population; a random "
            f"{stored} are used"
        )
        units = stored
    stimuli = int(recording.data.sizes["stimulus"])
    if stimuli > cohort.stimuli:
        warnings.append(
            f"the recording has {stimuli} stimuli, the cohort {cohort.stimuli}; a random "
            f"{cohort.stimuli} are used"
        )
        stimuli = cohort.stimuli
    sessions = recording.sessions
    if sessions > cohort.checkpoints:
        warnings.append(
            f"the recording has {sessions} sessions, the cohort {cohort.checkpoints} checkpoints; "
            f"{cohort.checkpoints} evenly spread sessions are used"
        )
        sessions = cohort.checkpoints
    estimates = infer_noise(recording, rng=rng) if noise is None else []
    levels = [e.noise[0] for e in estimates]
    if levels and max(levels) > DIFFERENT * min(levels):
        warnings.append(
            f"the noise differs between areas ({min(levels):.2g} to {max(levels):.2g}), but all "
            "are judged under one design; score them alone"
        )
    found = pooled_noise(estimates) if noise is None else finite_number(noise, "noise")
    if found > MOST_NOISE:
        warnings.append(
            f"the noise of a response is {found:.1f} times the signal; more trials would help"
        )
    observables = None
    if not knows_noise(recording):
        observables = STANDARD_STORED
        warnings.append(
            f"no stimulus was repeated, so nothing takes the noise off observables; {observables} "
            "is used, which tells rules apart far worse"
        )
    design = Design(
        units=units,
        noise=found,
        noise_reference=WITHIN,
        modality=MODALITY_OF[recording.kind],
        schedule=Schedule(sessions=sessions),
        tracked=recording.tracked,
        stimuli=stimuli,
        position=position,
        observables=observables,
    )
    return design, estimates, warnings


def with_plain(design: Design) -> Design:
    """Return a design that takes plain statistics of responses, too.

    Observables of geometry are bounded: how strange responses are shows in their plain statistics.
    """
    return design.with_(observables=tuple(dict.fromkeys([*design.taken, STANDARD_STORED])))


def without_plain(everything: Trajectories, design: Design) -> Trajectories:
    """Return what a design itself takes of trajectories that were made `with_plain`."""
    asked = names_of(design.taken, design.measures)
    return everything.with_observables([n for n in everything.observables if n in asked])


def fit_to(recording: Recording, design: Design, rng: np.random.Generator) -> Recording:
    """Cut a recording down to what its design says."""
    sessions = design.schedule.sessions or recording.sessions
    # Observables take means: single trials need not be copied with each shuffle.
    data = recording.data.drop_dims("trial", errors="ignore")
    if sessions < recording.sessions:
        places = np.floor(np.linspace(0, recording.sessions - 1, sessions) + 0.5).astype(int)
        data = data.isel(session=places)
    if design.stimuli is not None and design.stimuli < data.sizes["stimulus"]:
        kept = np.sort(rng.permutation(data.sizes["stimulus"])[: design.stimuli])
        data = data.isel(stimulus=kept)
    return replace(recording, data=data).equalised(design.unit_count, rng=rng)
