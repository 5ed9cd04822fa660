"""Under which Design a recording was made, as far as it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lrplan.arguments import finite_number
from lrplan.errors import DataError
from lrplan.measure.design import Design, Schedule
from lrplan.measure.observables import STANDARD_STORED, names_of
from lrplan.measure.observe import knows_noise
from lrplan.measure.recording import Recording
from lrplan.measure.requirements import too_few_units, unknown_noise, usable_units
from lrplan.measure.trajectories import Trajectories

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

MODALITY_OF = {"spikes": "counts", "dff": "ideal", "virtual": "ideal"}
FEW_UNITS = 30
LEAST_SIGNAL = 0.01
DIFFERENT = 2
"""By what factor the noise of areas must differ to be said."""


def infer_noise(recording: Recording) -> float:
    """Estimate the noise of a recording's responses from how its trials vary.

    Returns
    -------
    float
        Root mean square of the responses' standard errors as a fraction of the standard
        deviation of the signal over stimuli and units, both in the first session. The signal's
        variance is that of the responses less that of the noise.

    Raises
    ------
    DataError
        If no stimulus was repeated, so that nothing shows the noise.
    """
    return float(np.sqrt(np.mean(_noise_by_area(recording) ** 2)))


def _noise_by_area(recording: Recording) -> np.ndarray:
    """Return the noise of each population: differences between areas are no signal of either."""
    unknown = unknown_noise(recording)
    if unknown is not None:
        raise DataError(unknown)
    first = recording.data.isel(session=0)
    sem = first["activity_sem"].values
    found = []
    for place, response in enumerate(first["activity"].values):
        noise, total = float(np.nanmean(sem[place] ** 2)), float(np.nanvar(response))
        if total == 0:
            raise DataError(f"{recording.source}: all responses of the first session are equal")
        found.append(np.sqrt(noise / max(total - noise, LEAST_SIGNAL * total)))
    return np.array(found)


def infer_design(
    recording: Recording, cohort: Cohort, *, position: str = "unknown", noise: float | None = None
) -> tuple[Design, list[str]]:
    """Say under which Design a recording was made, as far as the cohort can follow.

    Parameters
    ----------
    recording : Recording
        One real recording.
    cohort : Cohort
        Whose stored units, stimuli and checkpoints bound the design.
    position : {"unknown", "early", "middle", "deep"}
        Where the recorded area lies.
    noise : float, optional
        Noise of a response; by default estimated by `infer_noise`.

    Returns
    -------
    design : Design
        Sessions are taken to be evenly spread over learning.
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
    if noise is None:
        by_area = _noise_by_area(recording)
        if by_area.max() > DIFFERENT * by_area.min():
            warnings.append(
                f"the noise differs between areas ({by_area.min():.2g} to {by_area.max():.2g}), "
                "but all are judged under one design; score them alone"
            )
    found = infer_noise(recording) if noise is None else finite_number(noise, "noise")
    if found > 2:
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
        modality=MODALITY_OF[recording.kind],
        schedule=Schedule(sessions=sessions),
        tracked=recording.tracked,
        stimuli=stimuli,
        position=position,
        observables=observables,
    )
    return design, warnings


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
