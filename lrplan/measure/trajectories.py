"""Trajectories: observables of recordings over sessions, with what is known of each recording.

Whatever a recording is of, and however its observables are taken (`lrplan.measure.observe`), it
becomes one of these. What a classifier takes is made of them by `Trajectories.features` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from lrplan.errors import DataError, UsageError
from lrplan.registry import nearest
from lrplan.terms import POSITIONS

DIMS = ("recording", "session", "observable")


@dataclass(frozen=True)
class Features:
    """Trajectories laid out for a classifier, one row per recording.

    Parameters
    ----------
    values : array (recording, feature) of float32
        All observables of session 0, then all of session 1, ..., then the layer position if it
        is a feature.
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


@dataclass(frozen=True)
class Trajectories:
    """Observables of recordings over sessions, with what is known of each recording.

    Parameters
    ----------
    data : xarray.DataArray (recording, session, observable) of float32
        With the coordinate ``observable``, and over ``recording`` whatever is known: ``animal``,
        ``area``, ``organism``, ``rule``, ``credit``, ``optimizer``, ``objective``,
        ``architecture``, ``family``, ``task``, ``setting``, ``layer``, ``position``,
        ``population`` (its place in the cohort). ``told`` is the label that a classifier is to
        tell; unlike the others it may be shuffled.
    positioned : bool, default True
        Whether the layer's position is a feature.

    Examples
    --------
    >>> import lrplan
    >>> from lrplan.measure.observe import observe_cohort
    >>> cohort, design = lrplan.open_cohort("starter"), lrplan.Design(units=30)
    >>> found = observe_cohort(cohort, design, rng=0, populations=[0, 1, 2])
    >>> dict(found.data.sizes)
    {'recording': 3, 'session': 21, 'observable': 36}
    >>> found.features().values.shape
    (3, 759)
    """

    data: xr.DataArray
    positioned: bool = True

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        observables: Sequence[str],
        labels: Mapping[str, np.ndarray],
        *,
        positioned: bool = True,
    ) -> Trajectories:
        """Put values (recording, session, observable) together with what is known."""
        coords: dict[str, Any] = {name: ("recording", v) for name, v in labels.items()}
        if "told" not in coords and "rule" in coords:
            coords["told"] = coords["rule"]
        data = xr.DataArray(
            np.asarray(values, dtype=np.float32),
            dims=DIMS,
            coords=coords | {"observable": list(observables)},
            name="observables",
        )
        return cls(data, positioned)

    @property
    def values(self) -> np.ndarray:
        """The observables, (recording, session, observable)."""
        return np.asarray(self.data.values)

    @cached_property
    def observables(self) -> list[str]:
        """Names of the observables."""
        return [str(n) for n in self.data["observable"].values]

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        return int(self.data.sizes["session"])

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """What is known of the recordings, each an array (recording,)."""
        return {
            str(name): np.asarray(c.values)
            for name, c in self.data.coords.items()
            if c.dims == ("recording",)
        }

    def label(self, name: str) -> np.ndarray:
        """Return one of the labels, (recording,).

        Raises
        ------
        UsageError
            If nothing of that name is known.
        """
        if name not in self.labels:
            raise UsageError(f"unknown label {name!r} here; {nearest(name, self.labels)}")
        return self.labels[name]

    @property
    def y(self) -> np.ndarray:
        """The label that is to be told, (recording,)."""
        return self.label("told")

    @property
    def organisms(self) -> np.ndarray:
        """The organism of each recording, (recording,): the unit of independence."""
        return self.label("organism")

    @property
    def populations(self) -> np.ndarray:
        """The place of each recording's population in the cohort, (recording,)."""
        return self.label("population")

    def __len__(self) -> int:
        return int(self.data.sizes["recording"])

    def __repr__(self) -> str:
        sizes = ", ".join(f"{n} {d}s" for d, n in self.data.sizes.items())
        return f"<Trajectories: {sizes}>"

    def take(self, rows: np.ndarray) -> Trajectories:
        """Return some of the recordings, by places or by a mask."""
        return replace(self, data=self.data.isel(recording=np.asarray(rows)))

    def at(self, sessions: Sequence[int] | np.ndarray | range) -> Trajectories:
        """Return some of the sessions, by places."""
        return replace(self, data=self.data.isel(session=np.asarray(list(sessions), dtype=int)))

    def over_time(self) -> Trajectories:
        """Return the mean over sessions, as one session."""
        mean = self.values.mean(axis=1, keepdims=True, dtype=np.float64)
        return self.of(mean, self.observables, self.labels, positioned=self.positioned)

    def telling(
        self, label: str | np.ndarray, *, shuffle: np.random.Generator | None = None
    ) -> Trajectories:
        """Return the trajectories with another label to be told.

        Parameters
        ----------
        label : str or array (recording,)
            A label's name, or what it is of each recording.
        shuffle : numpy.random.Generator, optional
            Lets organisms swap that label at random, as a control.
        """
        told = self.label(label) if isinstance(label, str) else np.asarray(label)
        if shuffle is not None:
            told = swapped(told, self.organisms, shuffle)
        return replace(self, data=self.data.assign_coords(told=("recording", told)))

    def with_observables(self, names: Sequence[str]) -> Trajectories:
        """Return these observables only, in their old order.

        Raises
        ------
        UsageError
            If one is unknown, or none is named.
        """
        for name in names:
            if name not in self.observables:
                raise UsageError(
                    f"unknown observable {name!r} here; {nearest(name, self.observables)}"
                )
        if not len(names):
            raise UsageError("observables is empty; name at least one")
        kept = np.isin(self.observables, list(names))
        return replace(self, data=self.data.isel(observable=np.flatnonzero(kept)))

    def finite(self, source: str) -> tuple[Trajectories, list[str]]:
        """Leave out observables that are not finite in some recording, for all recordings.

        Parameters
        ----------
        source : str
            The cohort's name, for messages.

        Returns
        -------
        trajectories : Trajectories
        dropped : list of str
            Names of the observables that were left out.

        Raises
        ------
        DataError
            If a session of a recording has nothing finite, or no observable is finite throughout.
        """
        sound = np.isfinite(self.values)
        empty = ~sound.any(axis=2)
        if empty.any() and not empty.all():
            row, session = np.argwhere(empty)[0]
            raise DataError(
                f"the cohort {source!r} has no finite observable of organism "
                f"{self.organisms[row]} in session {session} ({int(empty.any(axis=1).sum())} of "
                f"{len(empty)} recordings lack a session); organisms that did not diverge must "
                "have the same checkpoints"
            )
        whole = sound.all(axis=(0, 1))
        if whole.all():
            return self, []
        names = np.array(self.observables)
        if not whole.any():
            raise DataError(
                f"every observable is somewhere not finite in the cohort {source!r}; nothing is "
                "left to tell rules by"
            )
        return self.with_observables(list(names[whole])), [str(n) for n in names[~whole]]

    def features(self) -> Features:
        """Lay the trajectories out for a classifier.

        Raises
        ------
        UsageError
            If positions are features, but not known.
        """
        columns = [self.values.reshape(len(self), -1)]
        names = [f"{name}@{s}" for s in range(self.sessions) for name in self.observables]
        static = 0
        if self.positioned:
            if "position" not in self.labels:
                raise UsageError(
                    "the position of the recording is unknown; leave it out or name it"
                )
            columns.append((self.label("position")[:, None] == np.array(POSITIONS)[None]) * 1.0)
            names += [f"position_{p}" for p in POSITIONS]
            static = len(POSITIONS)
        values = np.concatenate(columns, axis=1).astype(np.float32)
        return Features(values, names, self.sessions, static)


def swapped(told: np.ndarray, organisms: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return labels (recording,) after organisms swapped them at random."""
    _, first, index = np.unique(organisms, return_index=True, return_inverse=True)
    return np.asarray(rng.permutation(told[first])[index])
