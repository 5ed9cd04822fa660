"""Search spaces: which learning rates and settings of rules ``lrplan tune`` tries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import UsageError
from lrplan.randomness import keyed_rng
from lrplan.simulate.rules import Rule, rules
from lrplan.simulate.run._values import errors_at, is_number, only_known, table_of, whole
from lrplan.simulate.run.distributions import DIGITS, ends
from lrplan.simulate.run.settings import LARGEST_RATE

LARGEST_SPREAD = 100.0
FACTOR = 30.0
"""By default rates are searched from a rule's own over this to a rule's own times this."""


@dataclass(frozen=True)
class Values:
    """Some values to try."""

    values: tuple[Any, ...]

    def spread(self, count: int) -> list[Any]:
        """Return `count` values, at least as many as there are, each as often as the others.

        That is give or take one.
        """
        return [self.values[i * len(self.values) // count] for i in range(count)]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, evenly spaced on a scale ("log" or "linear")."""

    low: float
    high: float
    scale: str = "log"

    def spread(self, count: int) -> list[float]:
        """Return `count` numbers, both ends among them; one alone is the middle."""
        places = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
        if self.scale == "log":
            found = self.low * (self.high / self.low) ** places
        else:
            found = self.low + (self.high - self.low) * places
        return [float(f"{value:.{DIGITS}g}") for value in found]


Dimension = Values | Range


@dataclass(frozen=True)
class Candidate:
    """A learning rate and settings of the rule that are tried together."""

    learning_rate: float
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How learning rates are searched for, by successive halving.

    Parameters
    ----------
    rungs : int
        How often candidates are trained, each time longer; the last time as long as the recipe
        says. With too few epochs there are fewer, as `without_repetitions`.
    candidates : int
        Of each rule, architecture and task where the learning rate alone is searched; each
        further setting that is searched adds as many. There are more where a longer list stands
        beside a range: all of its values are tried.
    eta : int
        From one rung to the next one in `eta` is kept, and trained `eta` times as long.
    seeds : int
        Organisms of each candidate in the last rung; one in those before.
    draws : int
        Of a recipe's draws, on how many drawn settings each candidate is tried; they are the same
        for all candidates.
    spread : float
        The recipe then draws rates from the one that is found over this to the one times this.
    validation : float
        Share of the training data that candidates do not train on but are compared on.
    learning_rate : mapping of str to Values or Range
        By rule; ``default`` stands for the rest. What it lacks goes from a thirtieth of the
        rule's own rate to thirty times that, on a logarithmic scale.
    rules : mapping of str to mapping of str to Values or Range
        By rule and setting: what is searched along with the rate.
    """

    rungs: int = 3
    candidates: int = 9
    eta: int = 3
    seeds: int = 2
    draws: int = 3
    spread: float = 3.0
    validation: float = 0.2
    learning_rate: Mapping[str, Dimension] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, Dimension]] = field(default_factory=dict)

    def rates(self, rule: Rule) -> Dimension:
        """Return the learning rates of a rule."""
        own = rule.learning_rate
        return self.learning_rate.get(
            rule.name, self.learning_rate.get("default", Range(own / FACTOR, own * FACTOR))
        )

    def candidates_of(self, spec: OrganismSpec) -> list[Candidate]:
        """Return what is tried for a rule, architecture and task.

        Lists are combined with each other. Otherwise it is a Latin hypercube: every dimension is
        spread evenly, the learning rate in order and the settings in an order that is drawn, keyed
        by the cell.
        """
        dimensions = {"": self.rates(rules.get(spec.rule)), **self.rules.get(spec.rule, {})}
        if all(isinstance(d, Values) for d in dimensions.values()):
            rows = list(itertools.product(*(d.values for d in dimensions.values())))  # type: ignore[union-attr]
        else:
            lists = [len(d.values) for d in dimensions.values() if isinstance(d, Values)]
            # What is listed is tried, all of it.
            count = max(self.candidates * len(dimensions), *lists, 1)
            columns = []
            for name, dimension in dimensions.items():
                spread = dimension.spread(count)
                key = ("tune", spec.rule, spec.architecture, spec.task, name)
                order = keyed_rng(*key).permutation(count) if name else range(count)
                columns.append([spread[i] for i in order])
            rows = list(zip(*columns, strict=True))
        names = list(dimensions)[1:]
        found = {row: Candidate(row[0], dict(zip(names, row[1:], strict=True))) for row in rows}
        return list(found.values())

    def epochs(self, rung: int, epochs: int) -> int:
        """Return for how many epochs a rung (from 0) trains, of as many in the recipe."""
        return math.ceil(epochs / self.eta ** (self.rungs - 1 - rung))

    def without_repetitions(self, epochs: int) -> Search:
        """Return the search without first rungs that would train as long as the next one."""
        rungs = self.rungs
        while rungs > 1 and self.epochs(self.rungs - rungs, epochs) == self.epochs(
            self.rungs - rungs + 1, epochs
        ):
            rungs -= 1
        return replace(self, rungs=rungs)

    def kept(self, rung: int, candidates: int) -> int:
        """Return how many of some candidates take part in a rung: two at least, if there are."""
        return max(min(2, candidates), math.ceil(candidates / self.eta**rung))


def edges(candidate: Candidate, candidates: Sequence[Candidate]) -> dict[str, str]:
    """Say which values of a candidate are at the end of what is tried.

    Parameters
    ----------
    candidate : Candidate
        One of `candidates`.
    candidates : sequence of Candidate
        All that is tried for a rule, architecture and task.

    Returns
    -------
    dict of str to {"lowest", "highest"}
        By ``learning_rate`` and the name of a setting. What has one value only has no end, nor has
        a switch.
    """
    found = {}
    tried = [{"learning_rate": c.learning_rate, **c.settings} for c in candidates]
    for name, value in {"learning_rate": candidate.learning_rate, **candidate.settings}.items():
        lowest, highest = (end(each[name] for each in tried) for end in (min, max))
        if lowest < highest and not isinstance(value, bool) and value in (lowest, highest):
            found[name] = "lowest" if value == lowest else "highest"
    return found


def parse_search(raw: Mapping[str, Any], where: str) -> Search:
    """Return the search that a recipe's ``[tune]`` describes.

    Raises
    ------
    UsageError
        If it names what does not exist, or a space in which there is nothing to try.
    """
    only_known(raw, [f.name for f in fields(Search)], where)
    numbers = {
        key: whole(raw[key], key, where, least=least)
        for key, least in (("rungs", 1), ("candidates", 1), ("eta", 2), ("seeds", 1), ("draws", 1))
        if key in raw
    }
    share = raw.get("validation", Search.validation)
    if not is_number(share) or not 0 < share <= 0.5:
        raise UsageError(f"{where}: validation is {share!r}; expected a share above 0, at most 0.5")
    spread = raw.get("spread", Search.spread)
    if not is_number(spread) or not 1 <= spread <= LARGEST_SPREAD:
        raise UsageError(
            f"{where}: spread is {spread!r}; expected a factor of at least 1, at most "
            f"{LARGEST_SPREAD:g}"
        )
    rates = {}
    for name, given in table_of(raw, "learning_rate", where).items():
        if name != "default":
            _rule(name, f"{where} learning_rate")
        rates[name] = _dimension(given, f"{where} learning_rate of {name}")
        _refuse_no_rates(rates[name], f"{where} learning_rate of {name}")
    settings = {}
    for name in table_of(raw, "rules", where):
        rule = _rule(name, f"{where} rules")
        settings[name] = {
            key: _setting(rule, key, value, f"{where} {name}.{key}")
            for key, value in table_of(raw["rules"], name, f"{where} rules").items()
        }
    return Search(
        **numbers,
        spread=float(spread),
        validation=float(share),
        learning_rate=rates,
        rules=settings,
    )


def _dimension(given: Any, where: str) -> Dimension:
    """Return a list of values or a range; a value alone is a list of one."""
    if not isinstance(given, dict):
        values = given if isinstance(given, list) else [given]
        if not values:
            raise UsageError(f"{where} is empty; expected values to try, or {{ low, high }}")
        return Values(tuple(values))
    return Range(*ends(given, where, scale="log"))


def _refuse_no_rates(dimension: Dimension, where: str) -> None:
    """Refuse learning rates that are none."""
    for rate in _ends(dimension):
        if not is_number(rate) or not 0 < rate < LARGEST_RATE:
            raise UsageError(f"{where}: {rate!r} is no learning rate; expected positive numbers")


def _setting(rule: Rule, key: str, given: Any, where: str) -> Dimension:
    """Return what is tried of a rule's setting."""
    dimension = _dimension(given, where)
    kind = type(rule.settings().get(key, 0.0))
    if isinstance(dimension, Range) and kind is not float:
        expected = "true or false" if kind is bool else "a list, such as [1, 2, 4]"
        raise UsageError(f"{where} has no range between low and high; expected {expected}")
    for value in _ends(dimension):
        with errors_at(where):
            rule.with_settings({key: value})
    return dimension


def _rule(name: str, where: str) -> Rule:
    """Return a rule by its name, or refuse an unknown one."""
    with errors_at(where):
        return rules.get(name)


def _ends(dimension: Dimension) -> Sequence[Any]:
    """Return all values of a list, and the ends of a range as they are tried, rounded."""
    return dimension.values if isinstance(dimension, Values) else dimension.spread(2)
