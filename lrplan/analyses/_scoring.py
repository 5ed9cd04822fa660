"""Fitting classifiers on splits, and what their predictions are worth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from lrplan.analyses import Result
from lrplan.analyses._trajectories import Table, Trajectories, load, measure_names
from lrplan.classifiers import EFFORTS
from lrplan.classifiers.splits import Splits, balanced_splits, most_splits
from lrplan.errors import DataError, UsageError
from lrplan.registry import nearest
from lrplan.tell.intervals import Bootstrap, Estimate
from lrplan.threads import threads

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

T = TypeVar("T")
K = TypeVar("K")
SPLITS = ("organism", "layer")
PAPER_CLASSIFIERS = ("random_forest", "linear_svm", "conv1d_mlp")
LEAK = (
    "split by layer: layers of one organism stand on both sides, as in the paper, so this accuracy "
    "is flattered, with shuffled labels too"
)
UNTESTED = -1
_MEMORY: ContextVar[dict[str, Any] | None] = ContextVar("fits", default=None)


@dataclass(frozen=True)
class Job:
    """One classifier to fit, and the recordings that it then labels.

    Parameters
    ----------
    classifier : str
        Registered name.
    table : Table
        Features.
    y, groups : array (recording,)
        Labels, and what the classifier keeps together in its own cross-validation.
    train : array (recording,) of bool
        What it is fitted on.
    test : array (recording,) of bool
        What it labels.
    seed : int
        Its random state. Jobs that are compared have the same.
    tested_on : sequence of Table
        Features that are labelled; by default those of `table`.
    """

    classifier: str
    table: Table
    y: np.ndarray
    groups: np.ndarray
    train: np.ndarray
    test: np.ndarray
    seed: int
    tested_on: tuple[Table, ...] = ()

    def digest(self, effort: str) -> str:
        """Return what tells this job from every other one."""
        whole = hashlib.sha256(f"{self.classifier} {self.seed} {effort}".encode())
        for table in (self.table, *self.tested_on):
            whole.update(f"{table.values.shape} {table.sessions} {table.static}".encode())
            whole.update(np.ascontiguousarray(table.values).tobytes())
        for labels in (self.y, self.groups):
            whole.update("\x1f".join(map(str, labels)).encode())
        for rows in (self.train, self.test):
            whole.update(rows.tobytes())
        return whole.hexdigest()


def run_jobs(
    jobs: Sequence[Job], *, effort: str, use: Callable[[Any, Job], T] | None = None
) -> list[Any]:
    """Fit each job's classifier, and return what `use` makes of it, in order.

    By default that is, for each table in `tested_on`, the labels (recording,) as places in the
    sorted labels, `UNTESTED` where not tested. A job that tests nothing, or whose training set
    has fewer than two groups of a label, labels nothing.
    """
    from lrplan.classifiers import make_classifier

    act: Callable[[Any, Job], Any] = use or _label

    def run(job: Job) -> Any:
        if not _trainable(job) or not job.test.any():
            return act(None, job)
        model = make_classifier(
            job.classifier,
            sessions=job.table.sessions,
            static=job.table.static,
            random_state=job.seed,
            effort=effort,
            # The jobs run side by side.
            workers=1,
        )
        model.fit(job.table.values[job.train], job.y[job.train], groups=job.groups[job.train])
        return act(model, job)

    memory = _MEMORY.get() if use is None else None

    def recall(job: Job) -> Any:
        if memory is None:
            return run(job)
        key = job.digest(effort)
        if key not in memory:
            memory[key] = run(job)
        return memory[key]

    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(recall, jobs))


@contextmanager
def remembered_fits() -> Iterator[None]:
    """Fit nothing twice in this block: analyses that share fits, share their predictions."""
    token = _MEMORY.set({})
    try:
        yield
    finally:
        _MEMORY.reset(token)


def _trainable(job: Job) -> bool:
    """Say whether each label has the two groups that choosing settings takes."""
    y, groups = job.y[job.train], job.groups[job.train]
    return all(len(np.unique(groups[y == k])) > 1 for k in np.unique(job.y))


def _label(model: Any, job: Job) -> list[np.ndarray]:
    kinds = np.unique(job.y)
    out = []
    for table in job.tested_on or (job.table,):
        labels = np.full(len(job.y), UNTESTED)
        if model is not None:
            labels[job.test] = np.searchsorted(kinds, model.predict(table.values[job.test]))
        out.append(labels)
    return out


class Scorer:
    """Scores the predictions of one set of recordings, so that their differences are paired.

    Parameters
    ----------
    data : Trajectories
        The recordings, their labels and organisms.
    seed : int
        Of the resamples.
    """

    def __init__(self, data: Trajectories, *, seed: int) -> None:
        self.kinds, self.truth = np.unique(data.y, return_inverse=True)
        rng = np.random.default_rng((seed, 2))
        self.bootstrap = Bootstrap(self.truth, data.organisms, rng=rng)

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


@dataclass(frozen=True)
class Study:
    """A cohort's recordings by measure, with one set of labels and resamples for all of them.

    Open one with `open_study`.

    Parameters
    ----------
    cohort : Cohort
        Where they come from.
    seed : int
        Of splits, classifiers and resamples.
    effort : str
        How widely classifiers search for their settings.
    data : dict of str to Trajectories
        By measure; the same recordings in each.
    scorer : Scorer
        Of these recordings.
    warnings : list of str
        What was left out.
    """

    cohort: Cohort
    seed: int
    effort: str
    data: dict[str, Trajectories]
    scorer: Scorer
    warnings: list[str]

    @property
    def any(self) -> Trajectories:
        """The recordings, whatever the measure."""
        return next(iter(self.data.values()))

    @property
    def measures(self) -> list[str]:
        """The measures."""
        return list(self.data)

    def take(self, rows: np.ndarray) -> Study:
        """Return the study of some of the recordings."""
        data = {m: d.take(rows) for m, d in self.data.items()}
        return replace(self, data=data, scorer=Scorer(next(iter(data.values())), seed=self.seed))

    def splits(self, splits: int, split: str = "organism") -> tuple[Splits, np.ndarray]:
        """Return the paper's balanced 75%/25% splits, and what is kept together in them.

        ``split="organism"`` keeps an organism's layers together; ``"layer"`` is the paper's and
        leaks.
        """
        data = self.any
        layers = np.arange(len(data.y)).astype(str)
        groups = data.organisms if split == "organism" else layers
        rng = np.random.default_rng((self.seed, 3))
        return balanced_splits(data.y, groups, rng=rng, splits=splits), groups

    def possible_splits(self, splits: int) -> int:
        """Return as many splits as were asked, or as many as few organisms allow."""
        _, first = np.unique(self.any.organisms, return_index=True)
        _, counts = np.unique(self.any.y[first], return_counts=True)
        return min(splits, most_splits(int(counts.min())))

    def score(
        self,
        items: Mapping[K, tuple[str, Table]],
        splits: Splits,
        groups: np.ndarray | None = None,
    ) -> tuple[dict[K, Scored], dict[K, np.ndarray]]:
        """Fit a classifier on each split for each item, and score them.

        Parameters
        ----------
        items : mapping to (classifier, Table)
            What is compared; all share splits and seeds.
        splits : Splits
            Training and test sets.
        groups : array (recording,), optional
            What classifiers keep together in their own cross-validation; by default organisms.

        Returns
        -------
        scores : dict
            By item.
        predicted : dict of array (split, recording)
            Labels as places in the sorted labels; `UNTESTED` where not tested.
        """
        y, kept = self.any.y, self.any.organisms if groups is None else groups
        jobs = [
            Job(classifier, table, y, kept, ~test, test, self.seed + i)
            for classifier, table in items.values()
            for i, test in enumerate(splits.test)
        ]
        labels = iter(run_jobs(jobs, effort=self.effort))
        predicted = {key: np.stack([next(labels)[0] for _ in splits.test]) for key in items}
        return {k: scored(p, splits, self.scorer) for k, p in predicted.items()}, predicted

    def result(
        self,
        analysis: str,
        dataset: xr.Dataset,
        *,
        options: Mapping[str, Any],
        estimates: Mapping[tuple[str, ...], Estimate] | None = None,
        main: str = "accuracy",
        warnings: Sequence[str] = (),
    ) -> Result:
        """Return what an analysis of this study found."""
        return Result(
            analysis=analysis,
            cohort=self.cohort.name,
            options={"measure": self.measures, **options, "effort": self.effort},
            dataset=dataset,
            main=main,
            warnings=[*self.warnings, *warnings],
            estimates=dict(estimates or {}),
        )


def open_study(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: str | Sequence[str] | None,
    label: str = "rule",
    rules: Sequence[str] | None = None,
    shuffle_labels: bool = False,
    observables: str | Sequence[str] = "paper",
    effort: str = "quick",
    least: int = 4,
) -> Study:
    """Read the recordings of a cohort, and refuse too few labels or organisms of one.

    `least` is the smallest number of organisms of a label. For the rest see
    `lrplan.analyses.separation.run`.
    """
    if effort not in EFFORTS:
        raise UsageError(f"unknown effort {effort!r}; {nearest(effort, EFFORTS)}")
    seed = int(rng.integers(2**31))
    data = {
        m: load(
            cohort,
            m,
            seed=seed,
            label=label,
            rules=rules,
            observables=observables,
            shuffle_labels=shuffle_labels,
        )
        for m in measure_names(measure, cohort)
    }
    some = next(iter(data.values()))
    check_labels(some, cohort.name, label, least=least)
    warnings = dict.fromkeys(w for d in data.values() for w in d.warnings)
    return Study(cohort, seed, effort, data, Scorer(some, seed=seed), list(warnings))


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


def words(
    value: str | Iterable[str] | None, default: Sequence[str], what: str, known: Sequence[str]
) -> list[str]:
    """Return the words of an option that takes several, each checked."""
    if value is None:
        return list(default)
    asked = [w.strip() for w in value.split(",")] if isinstance(value, str) else list(value)
    for word in asked:
        if word not in known:
            raise UsageError(f"unknown {what} {word!r}; {nearest(word, known)}")
    if not asked or len(set(asked)) < len(asked):
        raise UsageError(f"{what} is {value!r}; expected one or several different ones")
    return asked


def classifier_names(value: str | Iterable[str] | None, default: Sequence[str]) -> list[str]:
    """Return the registered classifiers that were asked for."""
    from lrplan.classifiers import classifiers

    return words(value, default, "classifier", classifiers.names())


def check_labels(data: Trajectories, cohort: str, label: str, *, least: int = 4) -> None:
    """Refuse recordings of too few labels, or of a label with too few organisms.

    Raises
    ------
    DataError
        With the label, how many organisms there are, and how many are needed.
    """
    _, first = np.unique(data.organisms, return_index=True)
    kinds, counts = np.unique(data.y[first], return_counts=True)
    if len(kinds) < 2:
        raise DataError(
            f"all usable organisms of the cohort {cohort!r} have the {label} {str(kinds[0])!r}; at "
            "least 2 different ones are needed to tell them apart"
        )
    if counts.min() < least:
        raise DataError(
            f"the cohort {cohort!r} has {counts.min()} usable organisms of the {label} "
            f"{str(kinds[counts.argmin()])!r}; at least {least} of each are needed to train on "
            "some and test on others"
        )
