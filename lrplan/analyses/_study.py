"""A cohort's recordings, as all analyses take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from lrplan.analyses import Result
from lrplan.analyses._fits import Fit, run_fits
from lrplan.analyses._scoring import Scored, Scorer, scored
from lrplan.arguments import generator
from lrplan.classifiers import EFFORTS
from lrplan.classifiers.splits import Splits
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design
from lrplan.measure.observables import SETS, measures_with, names_of, words_of
from lrplan.measure.observe import observe_cohort
from lrplan.measure.trajectories import Features, Trajectories
from lrplan.randomness import Streams
from lrplan.registry import nearest
from lrplan.tell.intervals import Estimate
from lrplan.terms import MEASURES

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

K = TypeVar("K")
SPLITS = ("organism", "layer")
PAPER_CLASSIFIERS = ("random_forest", "linear_svm", "conv1d_mlp")
LEAK = (
    "split by layer: layers of one organism stand on both sides, as in the paper, so this accuracy "
    "is flattered, with shuffled labels too"
)
LABELS = ("rule", "credit", "optimizer", "objective", "architecture", "family", "task", "position")
PAPER_OBSERVABLES = SETS["nayebi2020-kept"].observables
OBSERVABLES = {"paper": PAPER_OBSERVABLES, "all": SETS["nayebi2020"].observables}
"""Sets of observables by the names that analyses know them by."""


@dataclass(frozen=True)
class Study:
    """A cohort's recordings by measure, with one set of labels and resamples for all of them.

    Open one with `open_study`.

    Parameters
    ----------
    cohort : Cohort
        Where they come from.
    streams : Streams
        Of splits, classifiers and resamples.
    effort : str
        How widely classifiers search for their settings.
    data : dict of str to Trajectories
        By measure; the same recordings in each.
    scorer : Scorer
        Of these recordings.
    warnings : list of str
        What was left out.
    asked : dict
        What all analyses are asked: label, rules, and whether labels are shuffled.
    """

    cohort: Cohort
    streams: Streams
    effort: str
    data: dict[str, Trajectories]
    scorer: Scorer
    warnings: list[str]
    asked: dict[str, Any]

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
        some = next(iter(data.values()))
        return replace(self, data=data, scorer=Scorer(some, streams=self.streams))

    def splits(self, splits: int, split: str = "organism") -> tuple[Splits, np.ndarray]:
        """Return the paper's balanced 75%/25% splits, and what is kept together in them.

        ``split="organism"`` keeps an organism's layers together; ``"layer"`` is the paper's and
        leaks.
        """
        data = self.any
        layers = np.arange(len(data.y)).astype(str)
        groups = data.organisms if split == "organism" else layers
        rng = self.streams.rng("splits")
        return Splits.balanced(data.y, groups, rng=rng, splits=splits), groups

    def fits(
        self,
        classifier: str,
        features: Features,
        splits: Splits,
        groups: np.ndarray | None = None,
        **changes: Any,
    ) -> list[Fit]:
        """Return one fit for each split; those of one place in different lists are comparable."""
        y, kept = self.any.y, self.any.organisms if groups is None else groups
        return [
            replace(Fit(classifier, features, y, kept, ~test, test, self.seed(i)), **changes)
            for i, test in enumerate(splits.test)
        ]

    def seed(self, place: int) -> int:
        """Return the seed of the classifiers of one split."""
        return self.streams.seed("classifier", place)

    def possible_splits(self, splits: int) -> int:
        """Return as many splits as were asked, or as many as few organisms allow."""
        return min(splits, Splits.most(self.any.y, self.any.organisms))

    def score(
        self,
        items: Mapping[K, tuple[str, Features]],
        splits: Splits,
        groups: np.ndarray | None = None,
    ) -> tuple[dict[K, Scored], dict[K, np.ndarray]]:
        """Fit a classifier on each split for each item, and score them.

        Parameters
        ----------
        items : mapping to (classifier, Features)
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
        fits = [
            fit for c, features in items.values() for fit in self.fits(c, features, splits, groups)
        ]
        labels = iter(run_fits(fits, effort=self.effort))
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
        """Return what an analysis of this study found; `options` are those beside the study's."""
        return Result(
            analysis=analysis,
            cohort=self.cohort.name,
            options={"measure": self.measures, **self.asked, **options, "effort": self.effort},
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
    streams = Streams.draw(generator(rng))
    found = {
        m: _load(
            cohort,
            m,
            streams=streams,
            label=label,
            rules=rules,
            observables=observables,
            shuffle_labels=shuffle_labels,
        )
        for m in measure_names(measure, cohort)
    }
    data = {m: d for m, (d, _) in found.items()}
    some = next(iter(data.values()))
    check_labels(some, cohort, label, least=least)
    warnings = dict.fromkeys(w for _, said in found.values() for w in said)
    asked = {
        "label": label,
        "rules": None if rules is None else list(rules),
        "shuffle_labels": shuffle_labels,
    }
    scorer = Scorer(some, streams=streams)
    return Study(cohort, streams, effort, data, scorer, list(warnings), asked)


def measure_names(measure: str | Sequence[str] | None, cohort: Cohort) -> list[str]:
    """Return the measures asked for, by default every one whose observables are stored.

    Each is a measure, several joined by ``+``, or ``all``: all of them joined.
    """
    if measure is None:
        held = set(stored_names(cohort))
        own = {m: names_of(OBSERVABLES["all"], [m]) for m in MEASURES}
        found = [m for m, names in own.items() if held & set(names)]
        if not found:
            raise DataError(f"the cohort {cohort.name!r} stores no observables of any measure")
        return found
    asked = measure.split(",") if isinstance(measure, str) else list(measure)
    out = []
    for name in asked:
        parts = MEASURES if name.strip() == "all" else [p.strip() for p in name.split("+")]
        for part in parts:
            if part not in MEASURES:
                raise UsageError(f"unknown measure {part!r}; {nearest(part, (*MEASURES, 'all'))}")
        out.append("all" if name.strip() == "all" else "+".join(parts))
    if len(set(out)) < len(out) or not out:
        raise UsageError(f"measure is {measure!r}; expected one or several different ones")
    return out


def parts_of(measure: str) -> tuple[str, ...]:
    """Return the measures that a name of `measure_names` joins."""
    return MEASURES if measure == "all" else tuple(measure.split("+"))


def stored_names(cohort: Cohort) -> list[str]:
    """Return the names of the observables that a cohort stores."""
    if ("observables", "observable") not in cohort.variables:
        raise DataError(
            f"the cohort {cohort.name!r} stores no observables, which this analysis needs; "
            "simulate it again with this lrplan"
        )
    return [str(n) for n in cohort.read_variable("observables", "observable")]


def _load(
    cohort: Cohort,
    measure: str,
    *,
    streams: Streams,
    label: str,
    rules: str | Sequence[str] | None,
    observables: str | Sequence[str],
    shuffle_labels: bool,
) -> tuple[Trajectories, list[str]]:
    """Read a cohort's observables over training, and say what was left out."""
    if label == "position":
        raise UsageError(
            "the layer's position is itself a feature and no label of an organism, so there is "
            "nothing to tell; give another label (clustering compares clusters with positions)"
        )
    if label not in LABELS:
        raise UsageError(f"unknown label {label!r}; {nearest(label, LABELS)}")
    if isinstance(observables, str):
        if observables not in OBSERVABLES:
            raise UsageError(
                f"unknown set of observables {observables!r}; {nearest(observables, OBSERVABLES)}"
            )
        observables = OBSERVABLES[observables]
    # Of joined measures those count of which there is something to take.
    parts = measures_with(words_of(observables), parts_of(measure)) or parts_of(measure)
    design = Design(units="all", noise=0.0, measure=parts, scaling="raw", observables=observables)
    if label == "rule":
        cohort.refuse_lost_rules(rules.split(",") if isinstance(rules, str) else rules)
    found = observe_cohort(cohort, design, rng=0, populations=_of_rules(cohort, rules))
    shuffle = streams.rng("shuffled labels") if shuffle_labels else None
    data, lost = found.telling(label, shuffle=shuffle).finite(cohort.name)
    warnings = cohort.fate_warnings()
    if lost:
        warnings.append(f"not finite in some recording, and so left out for all: {', '.join(lost)}")
    return data, warnings


def _of_rules(cohort: Cohort, rules: str | Sequence[str] | None) -> np.ndarray | None:
    """Return the usable populations of organisms of some rules, or None for all."""
    if rules is None:
        return None
    asked = rules.split(",") if isinstance(rules, str) else list(rules)
    for rule in asked:
        if rule not in cohort.rules:
            raise UsageError(f"unknown rule {rule!r}; {nearest(rule, cohort.rules)}")
    usable = cohort.usable_populations()
    return usable[np.isin(cohort.labels(usable)["rule"].astype(str), asked)]


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


def check_labels(data: Trajectories, cohort: Cohort, label: str, *, least: int = 4) -> None:
    """Refuse recordings of too few labels, or of a label with too few organisms.

    Raises
    ------
    DataError
        With the label, how many organisms there are, and how many are needed.
    """
    _, first = np.unique(data.organisms, return_index=True)
    kinds, counts = np.unique(data.y[first], return_counts=True)
    why = "".join(f"; {w}" for w in cohort.left_out())
    if len(kinds) < 2:
        raise DataError(
            f"all usable organisms of the cohort {cohort.name!r} have the {label} "
            f"{str(kinds[0])!r}; at least 2 different ones are needed to tell them apart{why}"
        )
    if counts.min() < least:
        raise DataError(
            f"the cohort {cohort.name!r} has {counts.min()} usable organisms of the {label} "
            f"{str(kinds[counts.argmin()])!r}; at least {least} of each are needed to train on "
            f"some and test on others{why}"
        )
