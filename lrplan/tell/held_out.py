"""Whole conditions held out: families, architectures, tasks and settings that were never seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lrplan.classifiers.splits import Splits, count_groups
from lrplan.measure.trajectories import Trajectories
from lrplan.randomness import Streams
from lrplan.tell.auc import auc_estimate
from lrplan.tell.combine import Probabilities
from lrplan.tell.intervals import Bootstrap, Interval, mean_of_groups, pick_groups
from lrplan.tell.unseen import Unseen

HELD_OUT = {
    "family": "family",
    "architecture": "architecture",
    "task": "task",
    "hyperparameters": "setting",
}
"""Conditions that are held out, the headline first, and the label that tells their groups."""
SINGULAR = {
    "family": "family of architectures",
    "architecture": "architecture",
    "task": "task",
    "hyperparameters": "setting of hyperparameters",
}
PLURAL = {
    "family": "families",
    "architecture": "architectures",
    "task": "tasks",
    "hyperparameters": "settings of hyperparameters",
}
SPOKEN = {
    "family": "held-out family (a brain is one)",
    "architecture": "held-out architecture",
    "task": "held-out task",
    "hyperparameters": "held-out hyperparameters",
}
LEAST_FAMILIES = 3
"""Families with all rules from which figures of held-out families are called reliable."""
MOST_NAMED = 4


@dataclass(frozen=True)
class Told:
    """How well rules are told apart in one group that was held out.

    Parameters
    ----------
    organisms : int
        How many the group has.
    accuracy : Interval or None
        Balanced over rules; its interval is over organisms.
    auc : Interval or None
        Area under the curve, as `lrplan.tell.auc.Auc`; chance is 0.5.
    why : str or None
        Why there are no figures.
    """

    organisms: int
    accuracy: Interval | None = None
    auc: Interval | None = None
    why: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "organisms": self.organisms,
            "accuracy": self.accuracy and self.accuracy.to_json(),
            "auc": self.auc and self.auc.to_json(),
            "why": self.why,
        }


@dataclass(frozen=True)
class Condition:
    """A heading under which whole groups of recordings are held out, one after the other.

    Parameters
    ----------
    name : str
        One of `HELD_OUT`.
    values : array (recording,)
        The group of each recording.
    groups : list of str
        Groups that can be held out: they have all the rules, and so have the others.
    lacking : dict of str to str
        The other groups, and why they cannot be held out. They are trained on nevertheless.
    """

    name: str
    values: np.ndarray
    groups: list[str]
    lacking: dict[str, str]

    @classmethod
    def of(
        cls,
        trajectories: Trajectories,
        name: str,
        groups: np.ndarray,
        *,
        tested: np.ndarray | None = None,
    ) -> Condition:
        """Find what can be held out.

        Parameters
        ----------
        trajectories : Trajectories
            The recordings, with what is to be told of them.
        name : str
            One of `HELD_OUT`.
        groups : array (recording,)
            What a classifier keeps together in its own cross-validation, which takes two of each
            rule.
        tested : array (recording,) of bool, optional
            Only these need have all the rules; by default all recordings.
        """
        values = trajectories.label(HELD_OUT[name]).astype(str)
        y, kinds = trajectories.y, np.unique(trajectories.y)
        sound, lacking = [], {}
        for value in np.unique(values):
            rows = values == value
            held = y[rows] if tested is None else y[rows & tested]
            own = [str(k) for k in kinds if k not in held]
            left = count_groups(y[~rows], groups[~rows], kinds)
            short = [str(k) for k, n in zip(kinds, left, strict=True) if n < 2]
            if rows.all():
                lacking[str(value)] = "it is the only one"
            elif own:
                lacking[str(value)] = f"it lacks {', '.join(own)}"
            elif short:
                lacking[str(value)] = f"the others lack {', '.join(short)}"
            else:
                sound.append(str(value))
        return cls(name, values, sound, lacking)

    @property
    def why(self) -> str | None:
        """Why nothing can be held out; None where something can."""
        if self.groups:
            return None
        if len(self.lacking) == 1:
            return f"the cohort has one {SINGULAR[self.name]} ({next(iter(self.lacking))})"
        return f"no {SINGULAR[self.name]} can be held out: {self._lacking()}"

    @property
    def warnings(self) -> list[str]:
        """What is to be known of what was held out."""
        if not self.groups:
            return [f"{self.why}; none was held out"]
        out = []
        if self.lacking:
            out.append(f"not held out, but trained on: the {PLURAL[self.name]} {self._lacking()}")
        if self.name == "family" and len(self.groups) < LEAST_FAMILIES:
            out.append(
                f"{len(self.groups)} families ({', '.join(self.groups)}) could be held out; with "
                f"fewer than {LEAST_FAMILIES} little is known of one that was never seen"
            )
        return out

    def _lacking(self) -> str:
        some = [f"{name} ({why})" for name, why in list(self.lacking.items())[:MOST_NAMED]]
        more = len(self.lacking) - len(some)
        return ", ".join(some) + (f" and {more} more" if more else "")

    def splits(self) -> Splits:
        """Return one round in which each group that can be held out is tested once."""
        test = np.stack([self.values == g for g in self.groups])
        return Splits(test, np.zeros(len(test), dtype=int))

    def alike(self, other: Condition) -> bool:
        """Return whether two conditions hold out the same recordings together."""
        pairs = np.unique(np.stack([self.values, other.values]), axis=1)
        kinds = [len(np.unique(c.values)) for c in (self, other)]
        return kinds == [pairs.shape[1]] * 2


@dataclass(frozen=True)
class Findings:
    """How well rules are told apart under a condition, on average over its groups and in each.

    Each group is judged by itself, since the scores of classifiers that were trained on different
    conditions have no common threshold; then groups count alike. The interval is over organisms
    and over groups: another family, say, may be as different as these are from each other.

    Parameters
    ----------
    accuracy, auc : Interval or None
        None where no group could be held out.
    groups : dict of str to Told
        Each group's own.
    """

    accuracy: Interval | None = None
    auc: Interval | None = None
    groups: dict[str, Told] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        p: Probabilities,
        values: np.ndarray,
        groups: Sequence[str],
        streams: Streams,
    ) -> Findings:
        """Judge what was predicted of each group by classifiers that did not see it.

        Parameters
        ----------
        name : str
            The condition's.
        p : Probabilities
            With the true labels; ``animal`` is the organism.
        values : array (recording,)
            The group of each recording.
        groups : sequence of str
            Those that were held out, at least one.
        streams : Streams
            Source of the resamples.
        """
        told: dict[str, Told] = {}
        accuracies, areas = [], []
        for group in groups:
            own = p.take(values == group)
            bootstrap = Bootstrap(own.told, own.animals, rng=streams.rng("bootstrap", name, group))
            accuracies.append(bootstrap.estimate(own.right))
            areas.append(auc_estimate([own], bootstrap)[0])
            organisms = len(np.unique(own.animals))
            told[group] = Told(organisms, accuracies[-1].interval, areas[-1].interval)
        picks = pick_groups(len(groups), streams.rng("bootstrap", name))
        accuracy, auc = (mean_of_groups(each, picks).interval for each in (accuracies, areas))
        return cls(accuracy, auc, told)


def unseen_tests(trajectories: Trajectories, conditions: Sequence[Condition]) -> dict[str, Unseen]:
    """Return the tests of conditions of which something can be held out.

    Conditions that hold out the same recordings (each family has one architecture) share a test,
    under the name of the first.
    """
    out: dict[str, Unseen] = {}
    for condition in conditions:
        if condition.groups and same_test(condition, conditions) == condition.name:
            out[condition.name] = Unseen(trajectories, condition.splits(), (condition.name,))
    return out


def same_test(condition: Condition, conditions: Sequence[Condition]) -> str:
    """Return the name of the first condition that holds out the same recordings."""
    return next(c.name for c in conditions if c.alike(condition))


def judge_all(
    conditions: Sequence[Condition],
    trajectories: Trajectories,
    found: Mapping[str, Probabilities],
    streams: Streams,
) -> dict[str, Findings]:
    """Return what was found under each condition, by its name; groups that lack a rule with why.

    Parameters
    ----------
    conditions : sequence of Condition
        What was held out.
    trajectories : Trajectories
        What was recorded.
    found : mapping of str to Probabilities
        What was predicted in the tests of `unseen_tests`.
    streams : Streams
        Source of the resamples.
    """
    out = {}
    for c in conditions:
        told = {
            group: Told(len(np.unique(trajectories.organisms[c.values == group])), why=why)
            for group, why in c.lacking.items()
        }
        if not c.groups:
            out[c.name] = Findings(groups=told)
            continue
        judged = Findings.of(c.name, found[same_test(c, conditions)], c.values, c.groups, streams)
        out[c.name] = replace(judged, groups=dict(sorted((judged.groups | told).items())))
    return out
