"""Forecast: how well a planned experiment can tell the learning rules apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.arguments import generator
from lrplan.classifiers import seeded
from lrplan.classifiers.splits import Splits, count_groups
from lrplan.cohort import as_cohort
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design
from lrplan.measure.observe import observe_cohort
from lrplan.measure.texts import design_line
from lrplan.measure.trajectories import Trajectories
from lrplan.measure.virtual import lacking_contrasts, usable
from lrplan.pictures import draw
from lrplan.randomness import Streams
from lrplan.registry import nearest
from lrplan.tell.combine import Probabilities
from lrplan.tell.intervals import Bootstrap, Interval
from lrplan.texts import Line, html, percent, percent_range, table, text
from lrplan.threads import threads

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from lrplan.classifiers.calibrated import Calibrated
    from lrplan.cohort.store import Cohort

FOLDS = 5
"""Folds of a cross-validation over organisms, and so the least organisms of a rule."""
REPEATS = 2
SPLITS = ("organism", "layer")
SINGULAR = {
    "architecture": "architecture",
    "task": "task",
    "hyperparameters": "setting of hyperparameters",
}
SPOKEN = {
    "architecture": "held-out architecture (a brain is one)",
    "task": "held-out task",
    "hyperparameters": "held-out hyperparameters",
}
"""How conditions that were held out are called; others are called by their name."""
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
    animal : Interval or None
        The same for all recorded areas of an organism together, as `Probabilities.by_animal`
        combines them; None where one area of each is recorded.
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
    fates : dict of str to int
        How many organisms of the cohort learned (``learned``, ``not_learned``), ``diverged``, or
        are ``unknown``, see `lrplan.cohort.learned`.
    include_unlearned : bool
        Whether those that did not learn were recorded, too.
    shuffled : bool
        Whether labels were shuffled between organisms (a control).
    """

    cohort: str
    organisms: int
    populations: int
    design: Design
    split: str
    accuracy: Interval
    animal: Interval | None
    bits: Interval
    held_out: dict[str, Interval | None]
    confusion: xr.DataArray
    pairs: xr.DataArray
    inseparable: list[tuple[str, str]]
    warnings: list[str]
    fates: dict[str, int]
    include_unlearned: bool = False
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
                "fates": self.fates,
                "include_unlearned": self.include_unlearned,
            },
            "design": self.design.to_json(),
            "split": self.split,
            "shuffled_labels": self.shuffled,
            "accuracy": self.accuracy.to_json(),
            "animal": self.animal and self.animal.to_json(),
            "chance": self.chance,
            "bits": self.bits.to_json(),
            "held_out": {k: v and v.to_json() for k, v in self.held_out.items()},
            "confusion": {"rules": self.rules, "matrix": self.confusion.values.tolist()},
            "inseparable": [list(pair) for pair in self.inseparable],
            "warnings": self.warnings,
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return the accuracies: one row per condition, with interval and chance.

        Rows are ``known``, ``animal`` and the conditions of `held_out`; columns are ``accuracy``,
        ``low``, ``high`` (NaN where there is none) and ``chance``. The confusion is a labelled
        array of its own: ``forecast.confusion.to_dataframe()`` is its long form.
        """
        import pandas as pd

        rows = {"known": self.accuracy, "animal": self.animal, **self.held_out}
        columns = ["accuracy", "low", "high", "chance"]
        missing = (float("nan"),) * 3
        values = [
            (*((i.mean, i.low, i.high) if i else missing), self.chance) for i in rows.values()
        ]
        return pd.DataFrame(values, index=pd.Index(rows, name="condition"), columns=columns)

    def lines(self) -> list[Line]:
        """Return a forecast: its design, accuracies, bits, confusion and warnings."""
        known = "known conditions"
        if self.split == "layer":
            known = "known conditions, split by layer (leaks between layers of one organism)"
        rows = [[known, *self.accuracy.told()]]
        if self.animal is not None:
            rows.append(["... all areas of an animal together", *self.animal.told()])
        for name, interval in self.held_out.items():
            told = SPOKEN.get(name, f"held-out {name}")
            if interval is None:
                rows.append([told, "-", "none held out"])
            else:
                rows.append([told, *interval.told()])
        rows.append(["chance", percent(self.chance), ""])
        rules = self.rules
        most = math.log2(len(rules)) if rules else 0.0
        bits = self.bits
        matrix = [
            [rule, *map(percent, map(float, row))]
            for rule, row in zip(rules, self.confusion.values, strict=True)
        ]
        predicted = [str(r) for r in self.confusion["predicted"].values]
        lines: list[Line] = [
            f"Forecast from the cohort {self.cohort}: {self.organisms} organisms, "
            f"{self.populations} populations, {len(rules)} rules",
            f"Design: {design_line(self.design.to_json())}",
            table(None, ("balanced accuracy under", "accuracy", "95% interval"), rows, numbers=1),
            f"One recording tells {bits.mean:.2f} of {most:.2f} bits about the rule (95% interval "
            f"{bits.low:.2f} to {bits.high:.2f}).",
            "",
            table(
                "Confusion: share of each true rule that is taken for",
                ("true rule", *predicted),
                matrix,
                numbers=1,
            ),
        ]
        if self.inseparable:
            pairs = "; ".join(f"{a} and {b}" for a, b in self.inseparable)
            lines.append(f"This design cannot separate: {pairs}.")
        else:
            lines.append("This design separates every pair of rules.")
        return lines + [f"Warning: {w}" for w in self.warnings]

    def summary(self) -> str:
        """Return the text that ``lrplan design`` prints."""
        return text(self.lines())

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the confusion, as `lrplan.plot_confusion` does."""
        return draw("plot_confusion", self, ax=ax)

    def __repr__(self) -> str:
        """Return a forecast in one short line, as Python shows it."""
        accuracy = self.accuracy
        design = self.design
        return (
            f"<Forecast from {self.cohort!r}, {design.units} units, noise {design.noise:.3g}: "
            f"accuracy {percent(accuracy.mean)} ({percent_range(accuracy.low, accuracy.high)}), "
            f"chance {percent(self.chance)}>"
        )

    def _repr_html_(self) -> str:
        return html(self.lines())


def forecast(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    rng: np.random.Generator | int,
    shuffle_labels: bool = False,
    split: str = "organism",
    held_out: bool = True,
    classifier: Calibrated | None = None,
) -> Forecast:
    """Forecast how well a Design tells the rules of a cohort apart.

    Parameters
    ----------
    cohort : Cohort, str or Path
        Organisms whose rules are known, or the name or path of a cohort. Those that did not learn
        are left out, unless `lrplan.open_cohort` was asked to include them.
    design : Design
        The planned experiment.
    rng : numpy.random.Generator or int
        Source of units, noise, splits and forests.
    shuffle_labels : bool, default False
        Whether organisms swap rules at random: the accuracy must then be chance.
    split : {"organism", "layer"}, default "organism"
        ``layer`` lets layers of one organism stand on both sides of a split, as in the paper,
        and so flatters the accuracy.
    held_out : bool, default True
        Whether to hold out architectures, tasks and hyperparameter settings, too.
    classifier : Calibrated, optional
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
        If the cohort has too few rules or organisms, or a rule of which no organism learned.

    Examples
    --------
    >>> import lrplan
    >>> design = lrplan.Design(units=300, noise=0.1)
    >>> plan = lrplan.forecast("starter", design, rng=0, held_out=False)
    >>> plan.accuracy.low > plan.chance
    True
    """
    cohort = as_cohort(cohort)
    check_design(design)
    if classifier is not None:
        check_classifier(classifier)
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}; {nearest(split, SPLITS)}")
    cohort.refuse_lost_rules()
    streams, recorders = draw_streams(generator(rng))
    made = [observe_cohort(cohort, design, rng=r) for r in recorders]
    if shuffle_labels:
        made = [t.telling("rule", shuffle=streams.rng("shuffled labels")) for t in made]
    check_rules(made[0], cohort)
    repeats, lost = zip(*(t.finite(cohort.name) for t in made), strict=True)
    some = repeats[0]
    rules, organisms = some.y, some.organisms
    groups = organisms if split == "organism" else np.arange(len(some)).astype(str)
    tests = [within_known(t, groups, streams, repeat) for repeat, t in enumerate(repeats)]
    if held_out:
        for name, label in HELD_OUT.items():
            whole = Splits.of_folds(some.label(label))
            if len(whole) > 1:
                tests.append(Unseen(some, whole, (name,)))
    found = cross_predict(tests, groups, streams=streams, classifier=classifier)
    known = found[:REPEATS]
    unseen = {t.purpose[0]: p for t, p in zip(tests[REPEATS:], found[REPEATS:], strict=True)}
    bootstrap = Bootstrap(rules, organisms, rng=streams.rng("bootstrap"))
    kinds = np.unique(rules)
    warnings = _warnings(cohort, design, some, split, sorted({n for names in lost for n in names}))
    accuracies: dict[str, Interval | None] = {}
    for name in HELD_OUT:
        p = unseen.get(str(name))
        accuracies[name] = None
        if p is None:
            if held_out:
                warnings.append(f"the cohort has one {SINGULAR[name]}; none could be held out")
        elif p.missing:
            warnings.append(f"some {name} cannot be held out: no other has all the rules")
        else:
            accuracies[name] = bootstrap.balanced(p.right)
    surprise = np.log2(np.stack([p.of_truth for p in known]))
    told = bootstrap.balanced(np.log2(len(kinds)) + surprise)
    bits = Interval(max(told.mean, 0.0), max(told.low, 0.0), max(told.high, 0.0))
    pairs, inseparable = _pairs(known, bootstrap)
    return Forecast(
        cohort=cohort.name,
        organisms=len(np.unique(organisms)),
        populations=len(usable(cohort, design, None)),
        design=design,
        split=split,
        accuracy=bootstrap.balanced(np.stack([p.right for p in known])),
        animal=_of_animals(known, streams) if split == "organism" else None,
        bits=bits,
        held_out=accuracies,
        confusion=_confusion(known),
        pairs=pairs,
        inseparable=inseparable,
        warnings=warnings,
        fates=cohort.fate_counts(),
        include_unlearned=cohort.include_unlearned,
        shuffled=shuffle_labels,
    )


def draw_streams(
    rng: np.random.Generator,
) -> tuple[Streams, list[np.random.Generator]]:
    """Draw the streams of a forecast, and the source of units and noise of each repeat.

    The sources are drawn and not keyed, so that a seed records what it has always recorded.
    """
    streams = Streams.draw(rng)
    return streams, [np.random.default_rng(int(s)) for s in rng.integers(2**63, size=REPEATS)]


def check_design(design: object) -> None:
    """Raise `UsageError` for what is no Design."""
    if not isinstance(design, Design):
        raise UsageError(f"design is {design!r}; expected a Design, such as Design(units=300)")


def check_classifier(classifier: object) -> None:
    """Raise `UsageError` for what cannot be cloned and fitted."""
    if not all(hasattr(classifier, n) for n in ("get_params", "fit", "predict_proba")):
        raise UsageError(
            f"classifier is {classifier!r}; expected one as scikit-learn's, such as "
            "lrplan.classifiers.calibrated_forest.calibrated_forest()"
        )


def check_rules(trajectories: Trajectories, cohort: Cohort, least: int = FOLDS) -> None:
    """Refuse recordings of a cohort of too few rules, or of too few organisms of one.

    Raises
    ------
    DataError
        With the rule, how many organisms there are, and how many are needed.
    """
    _, first = np.unique(trajectories.organisms, return_index=True)
    kinds, counts = np.unique(trajectories.label("rule")[first], return_counts=True)
    why = "".join(f"; {w}" for w in cohort.left_out())
    if len(kinds) < 2:
        raise DataError(
            f"the cohort {cohort.name!r} has usable organisms of {len(kinds)} rule "
            f"({', '.join(kinds)}); at least 2 are needed to tell them apart{why}"
        )
    if counts.min() < least:
        few = str(kinds[counts.argmin()])
        raise DataError(
            f"the cohort {cohort.name!r} has {counts.min()} usable organisms of the rule {few!r}; "
            f"at least {least} of each are needed to test on organisms that were not seen{why}"
        )


@dataclass(frozen=True)
class Unseen:
    """Recordings that are told by classifiers which did not see their group.

    Parameters
    ----------
    trajectories : Trajectories
        The recordings.
    splits : Splits
        One round, in which each is tested once.
    purpose : tuple of str or int
        Keys the classifiers.
    """

    trajectories: Trajectories
    splits: Splits
    purpose: tuple[str | int, ...]


def within_known(
    trajectories: Trajectories, groups: np.ndarray, streams: Streams, repeat: int
) -> Unseen:
    """Return the test within known conditions: groups are dealt into folds."""
    folds = Splits.dealt(trajectories.y, groups, folds=FOLDS, rng=streams.rng("folds", repeat))
    return Unseen(trajectories, folds, ("known", repeat))


def cross_predict(
    tests: Sequence[Unseen],
    groups: np.ndarray,
    *,
    streams: Streams,
    classifier: Calibrated | None = None,
) -> list[Probabilities]:
    """Predict each recording by classifiers that did not see its fold.

    Parameters
    ----------
    tests : sequence of Unseen
        What is predicted.
    groups : array (recording,)
        What the classifier keeps together in its own cross-validation.
    streams : Streams
        Seeds the classifiers.
    classifier : Calibrated, optional
        What to clone and fit.

    Returns
    -------
    list of Probabilities
        For each test; missing where training lacks two groups of a rule.
    """
    from lrplan.classifiers.calibrated_forest import calibrated_forest

    base = calibrated_forest() if classifier is None else classifier
    features = [t.trajectories.features().values for t in tests]

    def predict(task: tuple[int, np.ndarray]) -> np.ndarray:
        place, test = task
        y, train = tests[place].trajectories.y, ~test
        kinds = np.unique(y)
        # Choosing settings takes two of each rule.
        if count_groups(y[train], groups[train], kinds).min() < 2:
            return np.full((test.sum(), len(kinds)), np.nan)
        model = seeded(base, streams.seed("classifier", *tests[place].purpose))
        model.fit(features[place][train], y[train], groups=groups[train])
        return model.predict_proba(features[place][test])

    tasks = [(place, test) for place, t in enumerate(tests) for test in t.splits]
    out = [np.full((len(groups), len(np.unique(t.trajectories.y))), np.nan) for t in tests]
    with ThreadPoolExecutor(threads()) as pool:
        for (place, test), p in zip(tasks, pool.map(predict, tasks), strict=True):
            out[place][test] = p
    return [
        Probabilities.of(p, np.unique(t.trajectories.y), t.trajectories.labels)
        for p, t in zip(out, tests, strict=True)
    ]


def _of_animals(known: Sequence[Probabilities], streams: Streams) -> Interval | None:
    """Return the accuracy for all areas of an animal together; None where each has one."""
    together = [p.by_animal() for p in known]
    some = together[0]
    if len(some.told) == len(known[0].told):
        return None
    animals = np.asarray(some.table["animal"].values)
    bootstrap = Bootstrap(some.told, animals, rng=streams.rng("bootstrap", "animals"))
    return bootstrap.balanced(np.stack([p.right for p in together]))


def _confusion(known: Sequence[Probabilities]) -> xr.DataArray:
    kinds, told = known[0].rules, known[0].told
    answers = np.stack([p.answers for p in known])
    shares = [[(answers[:, told == a] == b).mean() for b in kinds] for a in kinds]
    return xr.DataArray(
        np.array(shares),
        dims=("true", "predicted"),
        coords={"true": kinds, "predicted": kinds},
        name="confusion",
        attrs={"long_name": "share of the recordings of a rule", "units": "1"},
    )


def _pairs(
    known: Sequence[Probabilities], bootstrap: Bootstrap
) -> tuple[xr.DataArray, list[tuple[str, str]]]:
    """Return the accuracy between each two rules, and the pairs not shown to be above chance."""
    kinds, told = known[0].rules, known[0].told
    p = np.stack([each.values for each in known])
    matrix = np.full((len(kinds), len(kinds)), np.nan)
    inseparable = []
    for i, j in combinations(range(len(kinds)), 2):
        first = p[..., i] > p[..., j]
        right = np.where(told == kinds[i], first, ~first).astype(float)
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
    cohort: Cohort, design: Design, trajectories: Trajectories, split: str, dropped: Sequence[str]
) -> list[str]:
    out = []
    if split == "layer":
        out.append(
            "split by layer: layers of one organism stand on both sides, so the accuracy within "
            "known conditions is flattered"
        )
    out += recorded_whole(cohort, design, usable(cohort, design, None))
    out += lacking_contrasts(cohort, design)
    shown = design.stimuli
    if "paired" in design.measures and shown is not None and shown > cohort.pair_stimuli:
        out.append(f"the cohort holds {cohort.pair_stimuli} stimuli for paired, fewer than asked")
    out += cohort.fate_warnings()
    if dropped:
        out.append(f"not finite in some recording, and so left out for all: {', '.join(dropped)}")
    return out
