"""Features: one vector per recorded population, from its observables over sessions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lrplan.design import POSITIONS
from lrplan.errors import UsageError
from lrplan.observables import Family, families_of
from lrplan.recording import Recording
from lrplan.threads import threads

BLOCK = 16


@dataclass(frozen=True)
class Features:
    """One row per recorded population.

    Parameters
    ----------
    values : array (population, feature) of float32
        Observables x sessions, then the layer position if it is known.
    names : list of str
        ``act_raw_mean@3`` is an observable in session 3 (counted from 0); ``position_deep`` is a
        position.
    """

    values: np.ndarray
    names: list[str]


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
    columns: list[np.ndarray] = []
    names: list[str] = []
    for measure in ("activity", "paired", "weights"):
        if measure not in recording.data:
            continue
        values = recording.data[measure].values
        for family in families_of(measure):
            observed = _observe(family, values, measure, scaling)
            columns.append(observed.reshape(len(observed), -1))
            names += [f"{o.name}@{s}" for s in range(observed.shape[1]) for o in family.observables]
    if not columns:
        raise UsageError("the recording holds none of activity, weights and paired")
    if with_position:
        if "position" not in recording.data.coords:
            raise UsageError("the position of the recording is unknown; leave it out or name it")
        position = recording.data["position"].values
        columns.append((position[:, None] == np.array(POSITIONS)[None]).astype(np.float32))
        names += [f"position_{p}" for p in POSITIONS]
    return Features(np.concatenate(columns, axis=1), names)


def _observe(family: Family, values: np.ndarray, measure: str, scaling: str) -> np.ndarray:
    """Return scaled observables (population, session, observable)."""
    degree = np.array([o.degree for o in family.observables], dtype=np.float32)
    blocks = [values[i : i + BLOCK] for i in range(0, len(values), BLOCK)]

    def observe(block: np.ndarray) -> np.ndarray:
        out = np.empty((*block.shape[:2], len(degree)), dtype=np.float32)
        for rows, trimmed in _by_size(block, measure):
            observed = family.compute(trimmed)
            if scaling == "relative":
                scale = np.asarray(family.scale(trimmed[:, 0]), dtype=np.float64)
                # A population that is silent at first has no scale of its own.
                scale = np.where(scale > 0, scale, 1.0)
                observed = observed / (scale[:, None, None] ** degree)
                observed[:, 1:] -= observed[:, :1]
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
