"""Random convolutional kernels over the trajectory, and ridge regression on what they find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lrplan.classifiers import classifiers
from lrplan.classifiers._search import Accuracy, Found, moments
from lrplan.classifiers._trajectory import TrajectoryClassifier
from lrplan.classifiers.splits import Splits
from lrplan.errors import UsageError
from lrplan.randomness import keyed_rng

GRID: Mapping[str, Sequence[Any]] = {
    "kernels": (250, 500, 1000, 2000),
    "alpha": (1.0, 1e1, 1e2, 1e3, 1e4, 1e5),
}
QUICK: Mapping[str, Sequence[Any]] = {"kernels": (500,), "alpha": (1e2, 1e3, 1e4)}
LENGTHS = (3, 5, 7, 9)
# Rows whose responses set the thresholds.
EXAMPLES = 64


@classifiers.register("random_kernels")
class RandomKernels(TrajectoryClassifier):
    """Random convolutional kernels over the trajectory, then ridge regression.

    Each kernel has a random length, dilation, padding, set of observables, weights and threshold.
    Over the sessions, its response is summed up by the share above the threshold, the maximum and
    the mean. Kernels are drawn from one stream, so the first 500 of 2,000 are those of 500; one
    decomposition of each fold's Gram matrix serves all penalties.

    Parameters
    ----------
    sessions : int, default 1
        Sessions of a trajectory; columns are session-major.
    static : int, default 0
        Columns at the end that belong to no session.
    grid : mapping, optional
        Numbers of ``kernels`` and penalties ``alpha``; by default {250, 500, 1000, 2000} x
        {1, 10, ..., 1e5}.
    folds : int, default 5
        Folds of the inner cross-validation.
    random_state : int, default 0
        Seeds folds and kernels.
    workers : int, optional
        Threads; by default as many as the process has cores. No result depends on it.

    Notes
    -----
    After Dempster, Petitjean and Webb, ROCKET, Data Mining and Knowledge Discovery 2020; the mean
    response is added. Probabilities are a softmax of the regressions at a temperature set on
    out-of-fold values.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((80, 12)).cumsum(axis=1)
    >>> y = np.where(x[:, -1] > 0, "up", "down")
    >>> model = RandomKernels(sessions=12, grid={"kernels": [100], "alpha": [100.0]}).fit(x, y)
    >>> model.settings_
    {'kernels': 100, 'alpha': 100.0}
    """

    summary = "random convolutional kernels over the trajectory, then ridge regression"
    cites = "Dempster, Petitjean and Webb, Data Mining and Knowledge Discovery 2020"
    _scaled = True

    def __init__(
        self,
        sessions: int = 1,
        static: int = 0,
        grid: Mapping[str, Sequence[Any]] | None = None,
        folds: int = 5,
        random_state: int = 0,
        workers: int | None = None,
    ) -> None:
        self.sessions = sessions
        self.static = static
        self.grid = grid
        self.folds = folds
        self.random_state = random_state
        self.workers = workers

    @classmethod
    def make(
        cls, *, sessions: int, static: int, random_state: int, effort: str, workers: int | None
    ) -> RandomKernels:
        """Return one that is not fitted yet."""
        quick = effort == "quick"
        return cls(
            sessions=sessions,
            static=static,
            grid=QUICK if quick else None,
            folds=3 if quick else 5,
            random_state=random_state,
            workers=workers,
        )

    def _search(
        self, Z: np.ndarray, index: np.ndarray, splits: Splits, groups: np.ndarray
    ) -> Found:
        grid = self._settings_of(GRID)
        numbers = sorted(_number(n) for n in grid["kernels"])
        alphas = sorted(_penalty(a) for a in grid["alpha"])
        series, static = self._split(Z)
        # Thresholds are quantiles of responses; labels play no part in them.
        bank = _draw(numbers[-1], series, keyed_rng(self.random_state, "kernels"))
        classes = len(self.classes_)
        with self._spread() as spread:
            summaries = _summaries(bank, series, spread)
            found = list(
                spread(
                    lambda t: _path(summaries, static, index, ~t, classes, numbers, alphas), splits
                )
            )
        accuracy = Accuracy(index, classes, groups)
        tried: list[dict[str, Any]] = []
        best: tuple[float, dict[str, Any], np.ndarray] | None = None
        settings = [{"kernels": n, "alpha": a} for n in numbers for a in alphas]
        for i, setting in enumerate(settings):
            logits = np.empty((len(index), classes))
            for test, path in zip(splits, found, strict=True):
                logits[test] = path[i]
            reached = accuracy.of(logits)
            tried.append({**setting, "accuracy": reached})
            if best is None or reached > best[0]:
                best = reached, setting, logits
        assert best is not None
        self.kernels_ = {name: values[: best[1]["kernels"]] for name, values in bank.items()}
        return Found(best[1], best[2], tried)

    def _train(self, Z: np.ndarray, index: np.ndarray) -> None:
        F = self._table(Z)
        self.offset_, self.width_ = moments(F)
        F = (F - self.offset_) / self.width_
        targets = _targets(index, len(self.classes_))
        [dual] = _duals(F @ F.T, targets - targets.mean(0), [self.settings_["alpha"]])
        self.coef_, self.intercept_ = F.T @ dual, targets.mean(0)

    def _logits(self, Z: np.ndarray) -> np.ndarray:
        return (self._table(Z) - self.offset_) / self.width_ @ self.coef_ + self.intercept_

    def _table(self, Z: np.ndarray) -> np.ndarray:
        """Return what the kernels find, and the static features (row, feature)."""
        series, static = self._split(Z)
        with self._spread() as spread:
            summaries = _summaries(self.kernels_, series, spread)
        return np.concatenate([summaries.reshape(len(Z), -1), static], axis=1)


def _draw(number: int, series: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw kernels one after another, so that the first ones do not depend on how many follow.

    Returns
    -------
    dict
        ``length``, ``dilation``, ``padding`` and ``threshold`` (kernel,); ``weights`` (kernel,
        step, observable), zero where a kernel has no step or does not look.
    """
    _, sessions, observables = series.shape
    lengths = [n for n in LENGTHS if n <= sessions] or [sessions]
    bank = {name: np.zeros(number, dtype=int) for name in ("length", "dilation", "padding")}
    bank["weights"] = np.zeros((number, max(lengths), observables), dtype=np.float32)
    quantile = np.empty(number)
    examples = series[rng.permutation(len(series))[:EXAMPLES]]
    for i in range(number):
        length = lengths[rng.integers(len(lengths))]
        widest = np.log2((sessions - 1) / (length - 1)) if length > 1 else 0.0
        dilation = int(2 ** rng.uniform(0, widest))
        seen = rng.permutation(observables)[: int(2 ** rng.uniform(0, np.log2(observables + 1)))]
        weights = rng.standard_normal((length, len(seen)))
        # Half of the kernels see changes only.
        if rng.random() < 0.5 and length > 1:
            weights -= weights.mean(axis=0)
        bank["length"][i], bank["dilation"][i] = length, dilation
        bank["padding"][i] = rng.integers(2) * ((length - 1) * dilation // 2)
        bank["weights"][i, :length, seen] = weights.T
        quantile[i] = rng.random()
    bank["threshold"] = np.empty(number, dtype=np.float32)
    for members, responses in _responses(bank, examples, map):
        flat = np.sort(responses.reshape(-1, len(members)), axis=0)
        place = (quantile[members] * len(flat)).astype(int)
        bank["threshold"][members] = flat[place, np.arange(len(members))]
    return bank


def _responses(
    bank: Mapping[str, np.ndarray], series: np.ndarray, map: Any
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Yield kernels of one shape and their responses (row, place, kernel)."""
    shape = np.stack([bank["length"], bank["dilation"], bank["padding"]], axis=1)
    shapes, index = np.unique(shape, axis=0, return_inverse=True)
    series = series.astype(np.float32)

    def respond(i: int) -> tuple[np.ndarray, np.ndarray]:
        length, dilation, padding = shapes[i]
        members = np.flatnonzero(index.ravel() == i)
        padded = np.pad(series, ((0, 0), (padding, padding), (0, 0)))
        places = padded.shape[1] - (length - 1) * dilation
        windows = np.concatenate(
            [padded[:, j * dilation : j * dilation + places] for j in range(length)], axis=2
        )
        weights = bank["weights"][members, :length].reshape(len(members), -1)
        return members, windows @ weights.T

    return map(respond, range(len(shapes)))


def _summaries(bank: Mapping[str, np.ndarray], series: np.ndarray, map: Any) -> np.ndarray:
    """Return share above the threshold, maximum and mean (row, kernel, summary)."""
    out = np.empty((len(series), len(bank["length"]), 3))
    for members, responses in _responses(bank, series, map):
        out[:, members, 0] = (responses > bank["threshold"][members]).mean(axis=1)
        out[:, members, 1] = responses.max(axis=1)
        out[:, members, 2] = responses.mean(axis=1)
    return out


def _path(
    summaries: np.ndarray,
    static: np.ndarray,
    index: np.ndarray,
    train: np.ndarray,
    classes: int,
    numbers: Sequence[int],
    alphas: Sequence[float],
) -> list[np.ndarray]:
    """Return scores of the rows left out, for each number of kernels and each penalty."""
    targets = _targets(index[train], classes)
    centre = targets.mean(axis=0)
    # Gram matrices add up over kernels: between training rows, and of the rows left out with them.
    within, across = np.zeros((train.sum(),) * 2), np.zeros(((~train).sum(), train.sum()))
    out = []
    blocks = [static, *(summaries[:, a:b] for a, b in pairwise([0, *numbers]))]
    for i, block in enumerate(blocks):
        flat = block.reshape(len(block), -1)
        mean, width = moments(flat[train]) if flat.shape[1] else (0.0, 1.0)
        F = (flat - mean) / width
        within += F[train] @ F[train].T
        across += F[~train] @ F[train].T
        if i > 0:
            out += [across @ dual + centre for dual in _duals(within, targets - centre, alphas)]
    return out


def _duals(gram: np.ndarray, targets: np.ndarray, alphas: Sequence[float]) -> list[np.ndarray]:
    """Return ridge regression's weights of the training rows (row, class) for each penalty."""
    values, vectors = np.linalg.eigh(gram)
    turned = vectors.T @ targets
    return [vectors @ (turned / (np.maximum(values, 0) + a)[:, None]) for a in alphas]


def _targets(index: np.ndarray, classes: int) -> np.ndarray:
    """Return 1 for the right class and -1 for others (row, class)."""
    return np.where(index[:, None] == np.arange(classes), 1.0, -1.0)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UsageError(f"the grid has {value!r} kernels; expected at least 1")
    return int(value)


def _penalty(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < np.inf:
        raise UsageError(f"the grid has an alpha of {value!r}; expected a number above 0")
    return float(value)
