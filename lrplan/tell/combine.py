"""Probabilities of rules: one table, and one way to combine what several recordings say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

LEAST = 1e-12
KEPT = ("animal", "area", "told", "fold")


@dataclass(frozen=True)
class Probabilities:
    """How probable each rule is, given each recording.

    Parameters
    ----------
    table : xarray.DataArray (recording, rule)
        Rows sum to 1, or are NaN where nothing could be predicted. Coordinates over ``recording``
        are ``animal``, ``area``, ``told``, the true label, and ``fold``, which classifier judged
        it, where they are known.
    """

    table: xr.DataArray

    @classmethod
    def of(
        cls, values: np.ndarray, rules: np.ndarray, labels: Mapping[str, np.ndarray]
    ) -> Probabilities:
        """Put probabilities (recording, rule) together with whose they are."""
        kept = {k: ("recording", labels[k]) for k in KEPT if k in labels}
        coords: dict[str, Any] = {"rule": np.asarray(rules), **kept}
        return cls(xr.DataArray(values, dims=("recording", "rule"), coords=coords))

    @property
    def values(self) -> np.ndarray:
        """The probabilities, (recording, rule)."""
        return np.asarray(self.table.values)

    @property
    def rules(self) -> np.ndarray:
        """The rules, sorted, (rule,)."""
        return np.asarray(self.table["rule"].values)

    @property
    def logits(self) -> np.ndarray:
        """Logarithms of the probabilities, (recording, rule); 0 counts as 1e-12."""
        return np.log(np.maximum(self.values, LEAST))

    def tempered(self, temperature: float) -> Probabilities:
        """Return them sharpened (below 1) or flattened (above 1) by a temperature.

        Parameters
        ----------
        temperature : float
            Divides all logarithms (Guo et al., ICML 2017); 1 changes nothing.
        """
        if temperature == 1:
            return self
        logs = self.logits / temperature
        p = np.exp(logs - logs.max(axis=1, keepdims=True))
        return Probabilities(self.table.copy(data=p / p.sum(axis=1, keepdims=True)))

    @property
    def missing(self) -> bool:
        """Whether a recording could not be predicted."""
        return bool(np.isnan(self.values).any())

    @property
    def answers(self) -> np.ndarray:
        """The most probable rule of each recording, (recording,)."""
        return np.asarray(self.rules[self.values.argmax(axis=1)])

    @property
    def told(self) -> np.ndarray:
        """The true label of each recording, (recording,)."""
        return np.asarray(self.table["told"].values)

    @property
    def animals(self) -> np.ndarray:
        """The animal, or virtual organism, of each recording, (recording,)."""
        return np.asarray(self.table["animal"].values)

    @property
    def folds(self) -> np.ndarray:
        """Which of several classifiers judged each recording, (recording,); 0 if it was one."""
        if "fold" not in self.table.coords:
            return np.zeros(len(self.values), dtype=int)
        return np.asarray(self.table["fold"].values)

    @property
    def right(self) -> np.ndarray:
        """Whether the most probable rule is the true one, (recording,)."""
        return np.asarray(self.answers == self.told)

    @property
    def of_truth(self) -> np.ndarray:
        """The probability of the true rule of each recording, (recording,)."""
        place = np.searchsorted(self.rules, self.told)
        return np.asarray(self.values[np.arange(len(place)), place])

    def take(self, rows: np.ndarray) -> Probabilities:
        """Return those of some recordings, by places or by a mask."""
        return Probabilities(self.table.isel(recording=np.asarray(rows)))

    def by_animal(self, *, areas: int | None = None) -> Probabilities:
        """Combine the areas of each animal into one row.

        Logarithms are averaged, not added: areas of one animal are dependent, since they share
        its rule, its task and all that is peculiar to it, and adding would count what they have
        in common once for each of them. So an animal is never surer than the surest of its areas.

        Parameters
        ----------
        areas : int, optional
            Take so many areas of each animal, the last ones, and leave out animals with fewer;
            by default all that each has.
        """
        animals = self.animals
        names, first, index = np.unique(animals, return_index=True, return_inverse=True)
        logs = self.logits
        rows, kept = [], []
        for k in range(len(names)):
            own = np.flatnonzero(index == k)
            if areas is not None:
                if len(own) < areas:
                    continue
                own = own[-areas:]
            rows.append(_normalised(logs[own].mean(axis=0)))
            kept.append(first[k])
        labels = {"animal": animals[kept]}
        for name in ("told", "fold"):
            if name in self.table.coords:
                labels[name] = self.table[name].values[kept]
        return Probabilities.of(
            np.array(rows).reshape(len(kept), len(self.rules)), self.rules, labels
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return one record for each recording: animal, area and the rules' probabilities."""
        out = []
        for i, p in enumerate(self.values):
            record: dict[str, Any] = {
                name: str(self.table[name].values[i])
                for name in ("animal", "area")
                if name in self.table.coords
            }
            record["probabilities"] = {str(r): float(q) for r, q in zip(self.rules, p, strict=True)}
            out.append(record)
        return out


def _normalised(logs: np.ndarray) -> np.ndarray:
    p = np.exp(logs - logs.max())
    return np.asarray(p / p.sum())
