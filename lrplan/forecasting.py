"""Forecast: how well a planned experiment can tell the learning rules apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.design import Design
from lrplan.errors import DataError, UsageError
from lrplan.evaluation import Bootstrap, Interval, organism_folds
from lrplan.features import features
from lrplan.recording import record
from lrplan.registry import nearest
from lrplan.threads import threads

if TYPE_CHECKING:
    from lrplan.classifier import RuleClassifier
    from lrplan.cohort import Cohort

FOLDS = 5
REPEATS = 2
SPLITS = ("organism", "layer")
SINGULAR = {
    "architecture": "architecture",
    "task": "task",
    "hyperparameters": "setting of hyperparameters",
}
HELD_OUT = {"architecture": "architecture", "task": "task", "hyperparameters": "setting"}


@dataclass(frozen=True)
class Forecast:
    """What a Design can tell, with its uncertainty.

    Parameters
    ----------
    cohort : str
        Name of the cohort.
    organisms, populations : int
        How many were recorded.
    design : Design
        How.
    split : {"organism", "layer"}
        What never stands on both sides of a split. ``layer`` leaks: it is the paper's.
    accuracy : Interval
        Balanced accuracy for one recorded population of an organism that was not seen, under
        conditions that were; over two draws of units, noise and folds.
    bits : Interval
        What one recording tells about the rule.
    held_out : dict of str to Interval or None
        Accuracy on whole architectures, tasks and hyperparameter settings that were not seen;
        None where the cohort has only one.
    confusion : xarray.DataArray (true, predicted)
        Shares of each true rule's recordings.
    pairs : xarray.DataArray (a, b)
        Accuracy between two rules; chance is 0.5.
    inseparable : list of pairs
        Rules whose accuracy between them is not above chance.
    warnings : list of str
        What to know before believing it.
    shuffled : bool
        Whether labels were shuffled between organisms (a control).
    """

    cohort: str
    organisms: int
    populations: int
    design: Design
    split: str
    accuracy: Interval
    bits: Interval
    held_out: dict[str, Interval | None]
    confusion: xr.DataArray
    pairs: xr.DataArray
    inseparable: list[tuple[str, str]]
    warnings: list[str]
    shuffled: bool = False

    @property
    def rules(self) -> list[str]:
        """The rules that are told apart, sorted."""
        return [str(r) for r in self.confusion["true"].values]

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / len(self.rules)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``lrplan design --json`` prints."""
        return {
            "schema": "lrplan.forecast/1",
            "cohort": {
                "name": self.cohort,
                "organisms": self.organisms,
                "populations": self.populations,
                "rules": self.rules,
            },
            "design": self.design.to_json(),
            "split": self.split,
            "shuffled_labels": self.shuffled,
            "accuracy": self.accuracy.to_json(),
            "chance": self.chance,
            "bits": self.bits.to_json(),
            "held_out": {k: v and v.to_json() for k, v in self.held_out.items()},
            "confusion": {"rules": self.rules, "matrix": self.confusion.values.tolist()},
            "inseparable": [list(pair) for pair in self.inseparable],
            "warnings": self.warnings,
        }


@dataclass(frozen=True)
class Examples:
    """Features of recorded populations with what is known of them."""

    values: np.ndarray
    rules: np.ndarray
    organisms: np.ndarray
    labels: dict[str, np.ndarray]


def make_examples(
    cohort: Cohort,
    design: Design,
    *,
    rng: np.random.Generator,
    shuffle_seed: int | None = None,
    populations: np.ndarray | None = None,
) -> Examples:
    """Record a cohort under a design and return its features, one row per population.

    Parameters
    ----------
    cohort, design
        What is recorded, and how.
    rng : numpy.random.Generator
        Source of units and noise.
    shuffle_seed : int, optional
        Makes organisms swap rules at random, as a control.
    populations : array of int, optional
        Which; by default all usable ones.

    Raises
    ------
    DataError
        If fewer than two rules have enough organisms.
    """
    recording = record(cohort, design, rng=rng, populations=populations)
    table = features(recording, scaling=design.scaling, with_position=design.position != "unknown")
    organisms = np.asarray(recording.data["organism"].values).astype(str)
    rules = np.asarray(recording.data["rule"].values).astype(str)
    names, first, index = np.unique(organisms, return_index=True, return_inverse=True)
    of_organism = rules[first]
    kinds, counts = np.unique(of_organism, return_counts=True)
    if len(kinds) < 2:
        raise DataError(
            f"the cohort {cohort.name!r} has organisms of {len(kinds)} rule; at least 2 are needed"
        )
    if counts.min() < FOLDS:
        few = kinds[counts.argmin()]
        raise DataError(
            f"the cohort {cohort.name!r} has {counts.min()} usable organisms of the rule {few!r}; "
            f"at least {FOLDS} of each are needed to test on organisms that were not seen"
        )
    if shuffle_seed is not None:
        rules = np.random.default_rng(shuffle_seed).permutation(of_organism)[index]
    labels = {str(k): np.asarray(v.values).astype(str) for k, v in recording.data.coords.items()}
    return Examples(table.values, rules, organisms, labels)


def forecast(
    cohort: Cohort,
    design: Design,
    *,
    rng: np.random.Generator,
    shuffle_labels: bool = False,
    split: str = "organism",
    held_out: bool = True,
    classifier: RuleClassifier | None = None,
) -> Forecast:
    """Forecast how well a Design tells the rules of a cohort apart.

    Parameters
    ----------
    cohort : Cohort
        Organisms whose rules are known.
    design : Design
        The planned experiment.
    rng : numpy.random.Generator
        Source of units, noise, splits and forests.
    shuffle_labels : bool, default False
        Whether organisms swap rules at random: the accuracy must then be chance.
    split : {"organism", "layer"}, default "organism"
        ``layer`` lets layers of one organism stand on both sides of a split, as in the paper,
        and so flatters the accuracy.
    held_out : bool, default True
        Whether to hold out architectures, tasks and hyperparameter settings, too.
    classifier : RuleClassifier, optional
        Cloned and fitted for each fold; by default one with its default settings.

    Returns
    -------
    Forecast
        With intervals from a bootstrap over organisms.

    Raises
    ------
    UsageError
        If the design asks for more than the cohort holds.
    DataError
        If the cohort has too few rules or organisms.

    Examples
    --------
    >>> import numpy as np, lrplan
    >>> cohort = lrplan.open_cohort("starter")
    >>> design = lrplan.Design(units=300, noise=0.1)
    >>> plan = lrplan.forecast(cohort, design, rng=np.random.default_rng(0))
    >>> plan.accuracy.low > plan.chance
    True
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}; {nearest(split, SPLITS)}")
    seed = int(rng.integers(2**31))
    repeats = [
        make_examples(
            cohort,
            design,
            rng=np.random.default_rng(int(s)),
            shuffle_seed=seed if shuffle_labels else None,
        )
        for s in rng.integers(2**63, size=REPEATS)
    ]
    examples = repeats[0]
    rules, organisms = examples.rules, examples.organisms
    groups = organisms if split == "organism" else np.arange(len(rules)).astype(str)
    jobs: list[tuple[Examples, np.ndarray]] = [
        (e, organism_folds(rules, groups, FOLDS, np.random.default_rng(seed + i)))
        for i, e in enumerate(repeats)
    ]
    conditions = []
    if held_out:
        for name, label in HELD_OUT.items():
            values, index = np.unique(examples.labels[label], return_inverse=True)
            if len(values) > 1:
                conditions.append(name)
                jobs.append((examples, index))
    predicted = cross_predict(jobs, groups, seed=seed, classifier=classifier)
    known = np.stack(predicted[:REPEATS])
    unseen = dict(zip(conditions, predicted[REPEATS:], strict=True))
    kinds = np.unique(rules)
    bootstrap = Bootstrap(rules, organisms, rng=np.random.default_rng(seed + 1))

    warnings = _warnings(cohort, design, examples, split)
    accuracies: dict[str, Interval | None] = {}
    for name in HELD_OUT:
        p = unseen.get(name)
        accuracies[name] = None
        if p is None:
            if held_out:
                warnings.append(f"the cohort has one {SINGULAR[name]}; none could be held out")
        elif np.isnan(p).any():
            warnings.append(f"some {name} cannot be held out: no other has all the rules")
        else:
            accuracies[name] = bootstrap.balanced(kinds[p.argmax(-1)] == rules)
    truth = np.searchsorted(kinds, rules)
    surprise = np.log2(known[:, np.arange(len(truth)), truth])
    told = bootstrap.balanced(np.log2(len(kinds)) + surprise)
    bits = Interval(max(told.mean, 0.0), max(told.low, 0.0), max(told.high, 0.0))
    pairs, inseparable = _pairs(known, rules, kinds, bootstrap)
    return Forecast(
        cohort=cohort.name,
        organisms=len(np.unique(organisms)),
        populations=len(rules),
        design=design,
        split=split,
        accuracy=bootstrap.balanced(kinds[known.argmax(-1)] == rules),
        bits=bits,
        held_out=accuracies,
        confusion=_confusion(known, rules, kinds),
        pairs=pairs,
        inseparable=inseparable,
        warnings=warnings,
        shuffled=shuffle_labels,
    )


def cross_predict(
    jobs: Sequence[tuple[Examples, np.ndarray]],
    groups: np.ndarray,
    *,
    seed: int,
    classifier: RuleClassifier | None = None,
) -> list[np.ndarray]:
    """Predict each recording by classifiers that did not see its fold.

    Parameters
    ----------
    jobs : sequence of (Examples, array (recording,) of int)
        What is predicted, and the fold in which each recording is tested.
    groups : array (recording,)
        What the classifier keeps together in its own cross-validation.
    seed : int
        Seeds the classifiers.
    classifier : RuleClassifier, optional
        What to clone and fit.

    Returns
    -------
    list of array (recording, rule)
        Probabilities for each job; NaN where the training folds lack a rule.
    """
    from sklearn.base import clone

    from lrplan.classifier import RuleClassifier

    base = RuleClassifier() if classifier is None else classifier

    def predict(task: tuple[int, int]) -> np.ndarray:
        job, k = task
        examples, fold = jobs[job]
        kinds = np.unique(examples.rules)
        train = fold != k
        if len(np.unique(examples.rules[train])) < len(kinds):
            return np.full(((~train).sum(), len(kinds)), np.nan)
        model = clone(base).set_params(random_state=seed + job)
        model.fit(examples.values[train], examples.rules[train], groups[train])
        return model.predict_proba(examples.values[~train])

    tasks = [(job, int(k)) for job, (_, fold) in enumerate(jobs) for k in np.unique(fold)]
    out = [np.full((len(groups), len(np.unique(e.rules))), np.nan) for e, _ in jobs]
    with ThreadPoolExecutor(threads()) as pool:
        for (job, k), p in zip(tasks, pool.map(predict, tasks), strict=True):
            out[job][jobs[job][1] == k] = p
    return out


def _confusion(p: np.ndarray, rules: np.ndarray, kinds: np.ndarray) -> xr.DataArray:
    predicted = kinds[p.argmax(-1)]
    shares = [[(predicted[:, rules == a] == b).mean() for b in kinds] for a in kinds]
    return xr.DataArray(
        np.array(shares),
        dims=("true", "predicted"),
        coords={"true": kinds, "predicted": kinds},
        name="confusion",
        attrs={"long_name": "share of the recordings of a rule", "units": "1"},
    )


def _pairs(
    p: np.ndarray, rules: np.ndarray, kinds: np.ndarray, bootstrap: Bootstrap
) -> tuple[xr.DataArray, list[tuple[str, str]]]:
    """Return the accuracy between each two rules, and the pairs not shown to be above chance."""
    matrix = np.full((len(kinds), len(kinds)), np.nan)
    inseparable = []
    for i, j in combinations(range(len(kinds)), 2):
        first = p[..., i] > p[..., j]
        right = np.where(rules == kinds[i], first, ~first).astype(float)
        found = bootstrap.balanced(right, rules=(kinds[i], kinds[j]))
        matrix[i, j] = matrix[j, i] = found.mean
        if found.low <= 0.5:
            inseparable.append((str(kinds[i]), str(kinds[j])))
    pairs = xr.DataArray(
        matrix,
        dims=("a", "b"),
        coords={"a": kinds, "b": kinds},
        name="pair_accuracy",
        attrs={"long_name": "accuracy between two rules", "units": "1"},
    )
    return pairs, inseparable


def _warnings(cohort: Cohort, design: Design, examples: Examples, split: str) -> list[str]:
    out = []
    if split == "layer":
        out.append(
            "split by layer: layers of one organism stand on both sides, so the accuracy within "
            "known conditions is flattered"
        )
    for measure in design.measures:
        held = cohort.stored_units(measure)[cohort.usable_populations(design.position)]
        short = int((held < design.units).sum())
        if short:
            out.append(
                f"{short} of {len(held)} populations hold fewer than {design.units} units for "
                f"{measure} and were recorded whole"
            )
    if "paired" in design.measures and (design.stimuli or 0) > cohort.pair_stimuli:
        out.append(f"the cohort holds {cohort.pair_stimuli} stimuli for paired, fewer than asked")
    diverged = int(cohort.organisms["diverged"].values.sum())
    if diverged:
        out.append(f"{diverged} organisms diverged in training and were left out")
    dropped = int((~np.isfinite(examples.values)).any(axis=0).sum())
    if dropped:
        out.append(f"{dropped} features were not finite in some recording and were left out")
    return out


def sweep(
    cohort: Cohort,
    design: Design,
    *,
    units: Sequence[int],
    noise: Sequence[float],
    rng: np.random.Generator,
    classifier: RuleClassifier | None = None,
) -> xr.Dataset:
    """Forecast the accuracy for every combination of units and noise.

    Parameters
    ----------
    cohort, design
        As for `forecast`; the design gives all but units and noise.
    units : sequence of int
        Recorded per population.
    noise : sequence of float
        In units of the signal's standard deviation.
    rng : numpy.random.Generator
        Each combination gets the same stream, so that they differ by the design alone, and is
        what `forecast` with this generator finds.
    classifier : RuleClassifier, optional
        As for `forecast`.

    Returns
    -------
    xarray.Dataset
        ``accuracy``, ``low`` and ``high`` over (units, noise), and ``chance``.
    """
    found = [
        [
            forecast(
                cohort,
                design.with_(units=u, noise=s),
                rng=deepcopy(rng),
                held_out=False,
                classifier=classifier,
            )
            for s in noise
        ]
        for u in units
    ]
    dims = ("units", "noise")
    return xr.Dataset(
        {
            "accuracy": (dims, [[f.accuracy.mean for f in row] for row in found]),
            "low": (dims, [[f.accuracy.low for f in row] for row in found]),
            "high": (dims, [[f.accuracy.high for f in row] for row in found]),
            "chance": found[0][0].chance,
        },
        coords={"units": list(units), "noise": list(noise)},
    )


def accuracy_by_units(
    cohort: Cohort,
    design: Design,
    *,
    rng: np.random.Generator,
    classifier: RuleClassifier | None = None,
) -> xr.Dataset:
    """Return a `sweep` over units around the design's, at its noise."""
    most = min(int(cohort.stored_units(m).min()) for m in design.measures)
    units = _around(design.units, (0.03, 0.1, 0.3, 1), least=1, most=most)
    return sweep(cohort, design, units=units, noise=[design.noise], rng=rng, classifier=classifier)


def accuracy_by_noise(
    cohort: Cohort,
    design: Design,
    *,
    rng: np.random.Generator,
    classifier: RuleClassifier | None = None,
) -> xr.Dataset:
    """Return a `sweep` over noise around the design's, at its units."""
    centre = design.noise or 0.1
    noise = sorted({0.0, design.noise} | {centre * f for f in (0.3, 3, 10, 30)})
    return sweep(cohort, design, units=[design.units], noise=noise, rng=rng, classifier=classifier)


def _around(centre: int, factors: Iterable[float], *, least: int, most: int) -> list[int]:
    values = {min(max(least, round(centre * f)), max(most, centre)) for f in factors}
    return sorted(values | {centre} | ({most} if most > centre else set()))
