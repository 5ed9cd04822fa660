"""What a recording must hold to be scored: one list, for `score` and for `inspect`."""

from __future__ import annotations

import numpy as np

from lrplan.errors import DataError
from lrplan.measure.noise import estimate_noise, refuse_without_signal
from lrplan.measure.recording import Recording

LEAST_UNITS = 10
LEAST_SESSIONS = 2


def unmet(recording: Recording, *, sessions: int = LEAST_SESSIONS) -> list[str]:
    """Return what keeps a recording from being scored, one line for each.

    Parameters
    ----------
    recording : Recording
        With activity.
    sessions : int, default 2
        Fewest sessions; 1 for a file of one session, which others may join.
    """
    found = (
        too_few_sessions(recording, sessions),
        too_few_units(recording),
        unknown_noise(recording),
    )
    return [line for line in found if line is not None]


def too_few_sessions(recording: Recording, least: int = LEAST_SESSIONS) -> str | None:
    """Say that there are fewer sessions than a trajectory needs, or return None."""
    if recording.sessions >= least:
        return None
    return (
        f"{recording.source} holds one session; a trajectory needs at least {least} sessions of "
        "the same area over learning"
    )


def usable_units(recording: Recording) -> int:
    """Return the number of units that can be used in every session."""
    if not recording.tracked:
        return min(recording.units_per_session)
    seen = np.isfinite(recording.data["activity"].values).all(axis=2)
    return int(seen.all(axis=1).sum(axis=-1).min())


def too_few_units(recording: Recording) -> str | None:
    """Say that there are fewer units than observables need, or return None."""
    units = usable_units(recording)
    if units >= LEAST_UNITS:
        return None
    return (
        f"{recording.source} has {units} units in its smallest session; at least {LEAST_UNITS} "
        "are needed"
    )


def unknown_noise(recording: Recording) -> str | None:
    """Say that nothing shows the noise, or any signal, in the first session, or return None.

    Shuffles and resamples are those of one seed.
    """
    try:
        refuse_without_signal(recording, estimate_noise(recording, rng=0))
    except DataError as error:
        return str(error)
    return None
