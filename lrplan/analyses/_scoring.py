"""What predictions are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lrplan.analyses._fits import UNTESTED
from lrplan.classifiers.splits import Splits
from lrplan.measure.trajectories import Trajectories
from lrplan.randomness import Streams
from lrplan.tell.intervals import Bootstrap, Estimate


class Scorer:
    """Scores the predictions of one set of recordings, so that their differences are paired.

    Parameters
    ----------
    data : Trajectories
        The recordings, their labels and organisms.
    streams : Streams
        Source of the resamples.
    """

    def __init__(self, data: Trajectories, *, streams: Streams) -> None:
        self.kinds, self.truth = np.unique(data.y, return_inverse=True)
        self.bootstrap = Bootstrap(self.truth, data.organisms, rng=streams.rng("bootstrap"))

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / len(self.kinds)

    def right(self, predicted: np.ndarray, rounds: np.ndarray) -> np.ndarray:
        """Return whether predictions (split, recording) are right, by round; NaN: untested."""
        out = np.full((int(rounds.max()) + 1, predicted.shape[1]), np.nan)
        for labels, i in zip(predicted, rounds, strict=True):
            tested = labels != UNTESTED
            out[i, tested] = labels[tested] == self.truth[tested]
        return out

    def accuracy(self, predicted: np.ndarray, rounds: np.ndarray) -> Estimate:
        """Return the balanced accuracy of predictions (split, recording)."""
        return self.bootstrap.estimate(self.right(predicted, rounds))

    def by_split(self, predicted: np.ndarray) -> tuple[float, float]:
        """Return mean and standard error over splits of the balanced accuracy."""
        each = []
        for labels in predicted:
            tested = labels != UNTESTED
            shares = [
                (labels[rows] == k).mean()
                for k in range(len(self.kinds))
                if (rows := tested & (self.truth == k)).any()
            ]
            if shares:
                each.append(np.mean(shares))
        if not each:
            return float("nan"), float("nan")
        spread = np.std(each, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
        return float(np.mean(each)), float(spread)


@dataclass(frozen=True)
class Scored:
    """An accuracy, its distribution, and what the paper printed of it."""

    estimate: Estimate
    split_mean: float
    split_sem: float

    @classmethod
    def missing(cls) -> Scored:
        """Return the score of what cannot be tested."""
        return cls(Estimate.missing(), float("nan"), float("nan"))


def scored(predicted: np.ndarray, splits: Splits, scorer: Scorer) -> Scored:
    """Return what predictions (split, recording) are worth."""
    return Scored(scorer.accuracy(predicted, splits.rounds), *scorer.by_split(predicted))


def accuracy_dataset(
    scores: Mapping[tuple[Any, ...], Scored],
    coords: Mapping[str, Sequence[Any]],
    *,
    chance: Any,
) -> xr.Dataset:
    """Return accuracies with their intervals; combinations that were not scored are NaN."""
    dims = tuple(coords)
    shape = tuple(len(v) for v in coords.values())
    names = {
        "accuracy": "balanced accuracy",
        "low": "lower end of the 95% interval, bootstrap over organisms",
        "high": "upper end of the 95% interval, bootstrap over organisms",
        "split_mean": "mean over splits of the balanced accuracy",
        "split_sem": "standard error of the mean over splits",
    }
    arrays = {name: np.full(shape, np.nan) for name in names}
    for key, found in scores.items():
        place = tuple(list(v).index(k) for k, v in zip(key, coords.values(), strict=True))
        interval = found.estimate.interval
        values = (interval.mean, interval.low, interval.high, found.split_mean, found.split_sem)
        for name, value in zip(names, values, strict=True):
            arrays[name][place] = value
    out = xr.Dataset(
        {n: (dims, a, {"long_name": names[n], "units": "1"}) for n, a in arrays.items()},
        coords={n: list(v) for n, v in coords.items()},
    )
    out["chance"] = chance
    out["chance"].attrs = {"long_name": "accuracy of guessing", "units": "1"}
    return out
