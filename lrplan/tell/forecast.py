"""Forecast: how well a planned experiment can tell the learning rules apart."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.classifiers.splits import organism_folds
from lrplan.errors import UsageError
from lrplan.measure.design import Design
from lrplan.measure.examples import FOLDS, Examples, make_examples
from lrplan.registry import nearest
from lrplan.tell.intervals import Bootstrap, Interval
from lrplan.threads import threads

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from lrplan.classifiers.rule_classifier import RuleClassifier
    from lrplan.cohort.store import Cohort

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

    def to_dataframe(self) -> pd.DataFrame:
        """Return the accuracies: one row per condition, with interval and chance.

        Rows are ``known`` and the conditions of `held_out`; columns are ``accuracy``, ``low``,
        ``high`` (NaN where none was held out) and ``chance``. The confusion is a labelled array
        of its own: ``forecast.confusion.to_dataframe()`` is its long form.
        """
        import pandas as pd

        rows = {"known": self.accuracy, **self.held_out}
        columns = ["accuracy", "low", "high", "chance"]
        missing = (float("nan"),) * 3
        values = [
            (*((i.mean, i.low, i.high) if i else missing), self.chance) for i in rows.values()
        ]
        return pd.DataFrame(values, index=pd.Index(rows, name="condition"), columns=columns)

    def summary(self) -> str:
        """Return the text that ``lrplan design`` prints."""
        from lrplan.tell.texts import forecast_lines
        from lrplan.texts import text

        return text(forecast_lines(self))

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the confusion, as `lrplan.plot_confusion` does."""
        from lrplan.plots import plot_confusion

        return plot_confusion(self, ax=ax)

    def __repr__(self) -> str:
        from lrplan.tell.texts import forecast_repr

        return forecast_repr(self)

    def _repr_html_(self) -> str:
        from lrplan.tell.texts import forecast_lines
        from lrplan.texts import html

        return html(forecast_lines(self))


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
    seed, generators = streams(rng)
    made = [
        make_examples(cohort, design, rng=s, shuffle_seed=seed if shuffle_labels else None).finite(
            cohort.name
        )
        for s in generators
    ]
    repeats = [e for e, _ in made]
    examples = repeats[0]
    rules, organisms = examples.rules, examples.organisms
    groups = organisms if split == "organism" else np.arange(len(rules)).astype(str)
    jobs: list[tuple[Examples, np.ndarray]] = [
        (e, organism_folds(rules, groups, FOLDS, folds_rng(seed, i))) for i, e in enumerate(repeats)
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
    accuracy = bootstrap.balanced(kinds[known.argmax(-1)] == rules)

    dropped = sorted({name for _, names in made for name in names})
    warnings = _warnings(cohort, design, examples, split, dropped)
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
        accuracy=accuracy,
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

    from lrplan.classifiers.rule_classifier import RuleClassifier

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


def recorded_whole(cohort: Cohort, design: Design, populations: np.ndarray) -> list[str]:
    """Say of each measure in how many populations all units were recorded, for want of more."""
    out = []
    for measure in () if design.all_units else design.measures:
        held = cohort.stored_units(measure)[populations]
        short = int((held < design.unit_count).sum())
        if short:
            out.append(
                f"{short} of {len(held)} populations hold fewer than {design.units} units for "
                f"{measure} and were recorded whole"
            )
    return out


def _warnings(
    cohort: Cohort, design: Design, examples: Examples, split: str, dropped: Sequence[str]
) -> list[str]:
    out = []
    if split == "layer":
        out.append(
            "split by layer: layers of one organism stand on both sides, so the accuracy within "
            "known conditions is flattered"
        )
    out += recorded_whole(cohort, design, examples.populations)
    shown = design.stimuli
    if "paired" in design.measures and shown is not None and shown > cohort.pair_stimuli:
        out.append(f"the cohort holds {cohort.pair_stimuli} stimuli for paired, fewer than asked")
    diverged = int(cohort.organisms["diverged"].values.sum())
    if diverged:
        out.append(f"{diverged} organisms diverged in training and were left out")
    if dropped:
        out.append(f"not finite in some recording, and so left out for all: {', '.join(dropped)}")
    return out


def streams(rng: np.random.Generator) -> tuple[int, list[np.random.Generator]]:
    """Return a seed and a generator for each repeat of units and noise."""
    seed = int(rng.integers(2**31))
    return seed, [np.random.default_rng(int(s)) for s in rng.integers(2**63, size=REPEATS)]


def folds_rng(seed: int, repeat: int) -> np.random.Generator:
    """Return the generator that deals organisms into the folds of one repeat."""
    return np.random.default_rng(seed + repeat)
