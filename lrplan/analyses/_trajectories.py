"""The observables of a cohort over training, as all analyses take them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design
from lrplan.measure.examples import make_examples
from lrplan.measure.observables import families_of
from lrplan.registry import nearest
from lrplan.terms import MEASURES

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

_LOCATION = ("mean", "median", "norm", "thirdquartile")
PAPER_OBSERVABLES = (
    *(f"weight_{f}_{s}" for f in ("abs", "raw") for s in (*_LOCATION, "var")),
    *(f"weight_sq_{s}" for s in ("mean", "median", "thirdquartile")),
    *(f"act_{f}_{s}" for f in ("abs", "raw") for s in _LOCATION),
    *(f"grad_{f}" for f in ("raw", "abs", "sq")),
)
"""What was left to Nayebi et al. (2020) after every statistic that diverged had been dropped."""
CHOICES = ("paper", "all")
LABELS = ("rule", "credit", "optimizer", "objective", "architecture", "task", "position")


@dataclass(frozen=True)
class Table:
    """Features of recordings, laid out as the classifiers expect them.

    Parameters
    ----------
    values : array (recording, feature)
        All observables of session 0, then all of session 1, ..., then the layer position.
    sessions : int
        How many sessions.
    static : int
        How many features, the last ones, belong to no session.
    """

    values: np.ndarray
    sessions: int
    static: int


@dataclass(frozen=True)
class Trajectories:
    """Observables of recorded populations over training, with what is known of them.

    Parameters
    ----------
    values : array (recording, session, observable)
        Of all units, without noise, unscaled.
    names : list of str
        Of the observables.
    position : array (recording, 3)
        One-hot: early, middle, deep.
    y : array (recording,) of str
        What is to be told.
    organisms : array (recording,) of str
        Whose it is.
    labels : dict of str to array (recording,)
        What else is known; never shuffled.
    populations : array (recording,) of int
        Places in the cohort.
    warnings : list of str
        What was left out.
    """

    values: np.ndarray
    names: list[str]
    position: np.ndarray
    y: np.ndarray
    organisms: np.ndarray
    labels: dict[str, np.ndarray]
    populations: np.ndarray
    warnings: list[str]

    @property
    def sessions(self) -> int:
        """Number of checkpoints."""
        return self.values.shape[1]

    def take(self, rows: np.ndarray) -> Trajectories:
        """Return some of the recordings, by places or by a mask."""
        return replace(
            self,
            values=self.values[rows],
            position=self.position[rows],
            y=self.y[rows],
            organisms=self.organisms[rows],
            labels={k: v[rows] for k, v in self.labels.items()},
            populations=self.populations[rows],
        )

    def table(self, sessions: Sequence[int] | np.ndarray | None = None) -> Table:
        """Return features of some sessions, by default all."""
        return table(self.values if sessions is None else self.values[:, sessions], self.position)


def table(values: np.ndarray, position: np.ndarray | None) -> Table:
    """Lay out observables (recording, session, observable) and the position as features."""
    columns = [values.reshape(len(values), -1)]
    if position is not None:
        columns.append(position)
    return Table(
        np.concatenate(columns, axis=1).astype(np.float32),
        values.shape[1],
        0 if position is None else position.shape[1],
    )


def measure_names(measure: str | Sequence[str] | None, cohort: Cohort) -> list[str]:
    """Return the measures asked for, by default every one whose observables are stored.

    Each is a measure, several joined by ``+``, or ``all``: all of them joined.
    """
    if measure is None:
        held = set(stored_names(cohort))
        own = {m: [o.name for f in families_of(m) for o in f.observables] for m in MEASURES}
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


def stored_names(cohort: Cohort) -> list[str]:
    """Return the names of the observables that a cohort stores."""
    if ("observables", "observable") not in cohort.variables:
        raise DataError(
            f"the cohort {cohort.name!r} stores no observables, which this analysis needs; "
            "simulate it again with this lrplan"
        )
    return [str(n) for n in cohort.read_variable("observables", "observable")]


def load(
    cohort: Cohort,
    measure: str,
    *,
    seed: int,
    label: str = "rule",
    rules: str | Sequence[str] | None = None,
    observables: str | Sequence[str] = "paper",
    shuffle_labels: bool = False,
) -> Trajectories:
    """Read a cohort's observables over training.

    Parameters
    ----------
    cohort : Cohort
        Whose.
    measure : str
        As `measure_names` returns it.
    seed : int
        Of the shuffling.
    label : str, default "rule"
        What is to be told: a label of the organism.
    rules : sequence of str, optional
        Only organisms of these rules.
    observables : {"paper", "all"} or sequence of str
        ``paper`` are the 24 that were left to Nayebi et al. (2020). One that is not finite
        somewhere is dropped for all, and said.
    shuffle_labels : bool, default False
        Whether organisms swap labels at random, as a control.

    Raises
    ------
    DataError
        If nothing is usable, or organisms have unequal numbers of checkpoints.
    UsageError
        If a name is unknown, or the label is the layer's position.
    """
    if label == "position":
        raise UsageError(
            "the layer's position is itself a feature and no label of an organism, so there is "
            "nothing to tell; give another label (clustering compares clusters with positions)"
        )
    if label not in LABELS:
        raise UsageError(f"unknown label {label!r}; {nearest(label, LABELS)}")
    measures = MEASURES if measure == "all" else tuple(measure.split("+"))
    examples = make_examples(
        cohort,
        Design(units="all", noise=0.0, measure=measures, scaling="raw"),
        rng=np.random.default_rng(seed),
        populations=_of_rules(cohort, rules),
        observables=_chosen(observables, measures),
        least_organisms=0,
    )
    examples, lost = examples.finite(cohort.name)
    organisms = examples.organisms
    labels = dict(examples.labels)
    y = labels[label]
    if shuffle_labels:
        y = shuffled(y, organisms, seed)
    warnings = []
    diverged = int(cohort.organisms["diverged"].values.sum())
    if diverged:
        warnings.append(f"{diverged} organisms diverged in training and were left out")
    if lost:
        warnings.append(f"not finite in some recording, and so left out for all: {', '.join(lost)}")
    return Trajectories(
        values=examples.trajectories,
        names=examples.observables,
        position=examples.values[:, examples.values.shape[1] - examples.static :],
        y=y,
        organisms=organisms,
        labels=labels,
        populations=examples.populations,
        warnings=warnings,
    )


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


def shuffled(y: np.ndarray, organisms: np.ndarray, seed: int) -> np.ndarray:
    """Return labels that organisms have swapped at random."""
    _, first, index = np.unique(organisms, return_index=True, return_inverse=True)
    return np.random.default_rng((seed, 1)).permutation(y[first])[index]


def _chosen(observables: str | Sequence[str], measures: Sequence[str]) -> list[str] | None:
    """Return the names of the observables to take, or None for all."""
    if observables == "all":
        return None
    if observables == "paper":
        own = {o.name for m in measures for f in families_of(m) for o in f.observables}
        return [n for n in PAPER_OBSERVABLES if n in own]
    if isinstance(observables, str):
        raise UsageError(
            f"unknown set of observables {observables!r}; {nearest(observables, CHOICES)}"
        )
    return list(observables)


def performance(cohort: Cohort, populations: np.ndarray) -> np.ndarray:
    """Return the accuracy in the task of each population's organism (recording, checkpoint).

    Raises
    ------
    DataError
        If it is not finite somewhere.
    """
    of_organism = cohort.read_variable("behaviour", "performance").astype(float)
    values = of_organism[cohort.population_table["organism"].values[populations]]
    if not np.isfinite(values).all():
        raise DataError(
            f"the cohort {cohort.name!r} lacks the performance of some organisms at some "
            "checkpoints; organisms cannot be matched in it"
        )
    return values


def conditions(cohort: Cohort, data: Trajectories) -> dict[str, np.ndarray]:
    """Return what can be held out as a whole: a name for each recording under each heading."""
    organism = cohort.population_table["organism"].values[data.populations]
    o = cohort.organisms
    batch = o["batch_size"].values[organism]
    seed = o["data_seed"].values[organism]
    return {
        "architecture": data.labels["architecture"],
        "curriculum": np.array(
            [f"batch {b}, data seed {s}" for b, s in zip(batch, seed, strict=True)]
        ),
        "task": data.labels["task"],
        "learning_rate": _rate_ranks(
            data.labels, o["learning_rate"].values[organism].astype(float)
        ),
        "regularisation": np.array(
            [_weight_decay(_settings(s)) for s in o["spec"].values[organism]]
        ),
    }


def _rate_ranks(labels: Mapping[str, np.ndarray], rates: np.ndarray) -> np.ndarray:
    """Name rates by their rank within a rule, architecture and task: rules differ in range."""
    out = np.empty(len(rates), dtype=object)
    keys = np.stack([labels[k] for k in ("rule", "architecture", "task")], axis=1)
    _, kind = np.unique(keys, axis=0, return_inverse=True)
    for k in np.unique(kind):
        rows = kind.ravel() == k
        _, rank = np.unique(rates[rows], return_inverse=True)
        out[rows] = [f"rate {r + 1}" for r in rank.ravel()]
    return out.astype(str)


def _settings(spec: Any) -> Mapping[str, Any]:
    """Return the settings of a spec, none where it is unknown."""
    return dict(json.loads(str(spec) or "{}").get("settings", {}))


def _weight_decay(settings: Mapping[str, Any]) -> str:
    """Return the weight decay that settings name."""
    found: list[Any] = []

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            found.extend(v for k, v in value.items() if k == "weight_decay")
            for v in value.values():
                look(v)

    look(settings)
    return f"weight decay {found[0]:g}" if found else "weight decay by default"


def training_start(cohort: Cohort, data: Trajectories) -> np.ndarray:
    """Return from what weights each recording's organism started: ``random`` or what it says."""
    organism = cohort.population_table["organism"].values[data.populations]
    out = []
    for text in cohort.organisms["spec"].values[organism]:
        out.append(str(_settings(text).get("training", {}).get("start") or "random"))
    return np.array(out)
