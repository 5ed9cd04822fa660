"""Examples: features of recorded populations, with what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design
from lrplan.measure.features import Features, observe, stored_features
from lrplan.measure.virtual import draw_key, usable
from lrplan.registry import nearest

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

FOLDS = 5
"""Folds of a cross-validation over organisms, and so the least organisms of a rule."""


@dataclass(frozen=True)
class Examples:
    """Features of recorded populations with what is known of them.

    Parameters
    ----------
    values : array (recording, feature) of float32
        All observables of session 0, then all of session 1, ..., then `static` columns that
        belong to no session (the one-hot layer position, if it is a feature).
    rules, organisms : array (recording,) of str
        The rule (shuffled, if that was asked) and the organism of each recording.
    labels : dict of str to array (recording,) of str
        ``organism``, ``rule`` (never shuffled), ``credit``, ``optimizer``, ``objective``,
        ``architecture``, ``task``, ``setting``, ``layer``, ``position``.
    names : list of str
        Of the features; ``act_raw_mean@3`` is an observable in session 3.
    sessions, static : int
        Sessions, and features that belong to none.
    populations : array (recording,) of int
        Places in the cohort.
    """

    values: np.ndarray
    rules: np.ndarray
    organisms: np.ndarray
    labels: dict[str, np.ndarray]
    names: list[str]
    sessions: int
    static: int
    populations: np.ndarray

    @property
    def observables(self) -> list[str]:
        """Names of the observables, in their order within each session."""
        per_session = (len(self.names) - self.static) // self.sessions
        return [name.rpartition("@")[0] for name in self.names[:per_session]]

    @property
    def trajectories(self) -> np.ndarray:
        """The features that belong to sessions, (recording, session, observable)."""
        moving = self.values.shape[1] - self.static
        return self.values[:, :moving].reshape(len(self.values), self.sessions, -1)

    def with_observables(self, names: Sequence[str]) -> Examples:
        """Return the examples with these observables only, in their old order.

        Raises
        ------
        UsageError
            If one is unknown, or none is named.
        """
        known = self.observables
        for name in names:
            if name not in known:
                raise UsageError(f"unknown observable {name!r} here; {nearest(name, known)}")
        if not len(names):
            raise UsageError("observables is empty; name at least one")
        kept = np.concatenate(
            [np.tile(np.isin(known, list(names)), self.sessions), np.ones(self.static, dtype=bool)]
        )
        return replace(
            self,
            values=self.values[:, kept],
            names=[n for n, k in zip(self.names, kept, strict=True) if k],
        )

    def finite(self, cohort: str) -> tuple[Examples, list[str]]:
        """Leave out observables that are not finite in some recording, for all recordings.

        Parameters
        ----------
        cohort : str
            Name for messages.

        Returns
        -------
        examples : Examples
        dropped : list of str
            Names of the observables that were left out.

        Raises
        ------
        DataError
            If a session of a recording has nothing finite, or no observable is finite throughout.
        """
        sound = np.isfinite(self.trajectories)
        empty = ~sound.any(axis=2)
        if empty.any() and not empty.all():
            row, session = np.argwhere(empty)[0]
            raise DataError(
                f"the cohort {cohort!r} has no finite observable of organism "
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
                f"every observable is somewhere not finite in the cohort {cohort!r}; nothing is "
                "left to tell rules by"
            )
        return self.with_observables(list(names[whole])), [str(n) for n in names[~whole]]

    def take(self, rows: np.ndarray) -> Examples:
        """Return some of the recordings, by places or by a mask."""
        return replace(
            self,
            values=self.values[rows],
            rules=self.rules[rows],
            organisms=self.organisms[rows],
            labels={k: v[rows] for k, v in self.labels.items()},
            populations=self.populations[rows],
        )


def make_examples(
    cohort: Cohort,
    design: Design,
    *,
    rng: np.random.Generator,
    shuffle_seed: int | None = None,
    populations: np.ndarray | None = None,
    observables: Sequence[str] | None = None,
    least_organisms: int = FOLDS,
) -> Examples:
    """Record a cohort under a design and return its features, one row per population.

    Memory holds a few populations at a time, so the cohort may be larger than it.

    Parameters
    ----------
    cohort, design
        What is recorded, and how. With ``units="all"`` the cohort's stored observables are
        taken as they are, and `rng` is not used.
    rng : numpy.random.Generator
        Source of units and noise.
    shuffle_seed : int, optional
        Makes organisms swap rules at random, as a control.
    populations : array of int, optional
        Which; by default all usable ones.
    observables : sequence of str, optional
        Names of the observables that become features, such as ``act_raw_norm``; by default all
        of the design's measures.
    least_organisms : int, default 5
        How many organisms of each of at least two rules there must be; 0 asks for nothing.

    Raises
    ------
    DataError
        If fewer than two rules have enough organisms.
    UsageError
        If the design asks for more than the cohort holds, or an observable is unknown.
    """
    chosen = usable(cohort, design, populations)
    labels = {k: v.astype(str) for k, v in cohort.labels(chosen).items()}
    check_rules(cohort, labels, least_organisms)
    if design.all_units:
        table = stored_features(cohort, design, chosen)
    else:
        table = observe(cohort, design, key=draw_key(rng), populations=chosen).features()
    rules = labels["rule"] if shuffle_seed is None else shuffled_rules(labels, shuffle_seed)
    examples = assemble(table, chosen, labels, rules)
    return examples if observables is None else examples.with_observables(observables)


def assemble(
    table: Features, chosen: np.ndarray, labels: dict[str, np.ndarray], rules: np.ndarray
) -> Examples:
    """Put the features of populations together with what is known of them."""
    return Examples(
        values=table.values,
        rules=rules,
        organisms=labels["organism"],
        labels=labels,
        names=table.names,
        sessions=table.sessions,
        static=table.static,
        populations=chosen,
    )


def shuffled_rules(labels: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """Return the rules of recordings after organisms swapped them at random."""
    _, first, index = np.unique(labels["organism"], return_index=True, return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(labels["rule"][first])[index])


def check_rules(cohort: Cohort, labels: dict[str, np.ndarray], least: int) -> None:
    """Refuse a cohort with too few rules, or too few organisms of one."""
    if not least:
        return
    _, first = np.unique(labels["organism"], return_index=True)
    kinds, counts = np.unique(labels["rule"][first], return_counts=True)
    if len(kinds) < 2:
        raise DataError(
            f"the cohort {cohort.name!r} has usable organisms of {len(kinds)} rule "
            f"({', '.join(kinds)}); at least 2 are needed to tell them apart"
        )
    if counts.min() < least:
        few = str(kinds[counts.argmin()])
        raise DataError(
            f"the cohort {cohort.name!r} has {counts.min()} usable organisms of the rule {few!r}; "
            f"at least {least} of each are needed to test on organisms that were not seen"
        )
