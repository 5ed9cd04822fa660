"""Distributions that settings of a recipe are drawn from, and what is said of a mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrplan.errors import UsageError
from lrplan.registry import nearest
from lrplan.simulate.run._values import is_distribution, is_number, only_known

SCALES = ("linear", "log")
DIGITS = 3
"""Significant digits of a number that is drawn, so that no rounding of a processor shows."""

Check = Callable[[Any], object]


@dataclass(frozen=True)
class Choice:
    """One of some values.

    Parameters
    ----------
    values : tuple
        At least one.
    weights : tuple of float, optional
        Chances, up to a factor; by default they are equal.
    """

    values: tuple[Any, ...]
    weights: tuple[float, ...] | None = None

    def at(self, quantile: float) -> Any:
        """Return the value at a quantile, at least 0 and below 1."""
        edges = np.cumsum(self.weights or [1.0] * len(self.values))
        place = int(np.searchsorted(edges, quantile * edges[-1], side="right"))
        return self.values[min(place, len(self.values) - 1)]

    def possible(self) -> list[Any]:
        """Return the values that have a chance, each once."""
        weights = self.weights or [1.0] * len(self.values)
        found: list[Any] = []
        for value, weight in zip(self.values, weights, strict=True):
            if weight > 0 and value not in found:
                found.append(value)
        return found

    def stated(self) -> Any:
        """Return it as a recipe states it."""
        if self.weights is not None:
            return {"values": list(self.values), "weights": list(self.weights)}
        return self.values[0] if len(self.values) == 1 else list(self.values)


@dataclass(frozen=True)
class Span:
    """A number from `low` to `high`, both included, evenly on a scale.

    Parameters
    ----------
    low, high : float
        The ends.
    scale : {"linear", "log"}
        On which all pieces of equal length have the same chance.
    whole : bool
        Whether only whole numbers are drawn.
    """

    low: float
    high: float
    scale: str = "linear"
    whole: bool = False

    def at(self, quantile: float) -> float:
        """Return the number at a quantile, at least 0 and below 1, to `DIGITS` digits.

        A whole number is given in full; each has the share of the scale that rounds to it.
        """
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.scale == "log":
            value = low * (high / low) ** quantile
        else:
            value = low + (high - low) * quantile
        if self.whole:
            return int(min(max(math.floor(value + 0.5), self.low), self.high))
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def stated(self) -> Any:
        """Return it as a recipe states it."""
        return {"low": self.low, "high": self.high, "scale": self.scale}


Distribution = Choice | Span


def distribution(given: Any, default: Any, where: str, check: Check) -> Distribution:
    """Return what a recipe says that values are drawn from.

    Parameters
    ----------
    given : Any
        A value, which is no choice; a list of values with equal chances; ``{ values, weights }``;
        or ``{ low, high, scale }``. Where the setting itself is a list, only a list of lists is a
        choice.
    default : Any
        A value of the setting's type, which says whether numbers are whole and whether there are
        numbers at all.
    where : str
        The place in the recipe, for messages.
    check : callable
        Raises `UsageError` for a value that cannot be. It is called with all that are listed, or
        with both ends.

    Raises
    ------
    UsageError
        If nothing can be drawn from it.
    """
    if is_distribution(given):
        found = _span(given, default, where) if "values" not in given else _choice(given, where)
    elif isinstance(given, list) and (not _is_list(default) or any(map(_is_list, given))):
        if not given:
            raise UsageError(f"{where} is empty; expected values to draw from, or {{ low, high }}")
        found = Choice(tuple(given))
    else:
        found = Choice((given,))
    for value in found.values if isinstance(found, Choice) else _ends_of(found):
        check(value)
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _ends_of(span: Span) -> tuple[float, float]:
    return (int(span.low), int(span.high)) if span.whole else (span.low, span.high)


def _choice(given: Mapping[str, Any], where: str) -> Choice:
    only_known(given, ("values", "weights"), where)
    values = given["values"]
    if not isinstance(values, list) or not values:
        raise UsageError(f"{where}: values is {values!r}; expected a list of at least one value")
    if "weights" not in given:
        return Choice(tuple(values))
    weights = given["weights"]
    if not isinstance(weights, list) or len(weights) != len(values):
        came = f"{len(weights)} weights" if isinstance(weights, list) else f"weights {weights!r}"
        raise UsageError(
            f"{where}: {came} for {len(values)} values; expected a list of one weight for each"
        )
    for weight in weights:
        if not is_number(weight) or weight < 0:
            raise UsageError(f"{where}: a weight is {weight!r}; expected a number of at least 0")
    if not sum(weights) > 0:
        raise UsageError(f"{where}: all weights are 0; expected one above 0")
    return Choice(tuple(values), tuple(float(w) for w in weights))


def _span(given: Mapping[str, Any], default: Any, where: str) -> Span:
    if not is_number(default):
        raise UsageError(
            f"{where} has no numbers between low and high: it is a value such as {default!r}; "
            "expected a list to draw from"
        )
    whole = isinstance(default, int)
    low, high, scale = ends(given, where, scale="linear")
    for key in ("low", "high"):
        if whole and given[key] != int(given[key]):
            raise UsageError(
                f"{where}: {key} is {given[key]!r}; expected a whole number, as the setting is one"
            )
    return Span(low, high, scale, whole)


def ends(given: Mapping[str, Any], where: str, *, scale: str) -> tuple[float, float, str]:
    """Return low, high and scale of a table ``{ low, high, scale }``.

    Parameters
    ----------
    given : mapping
        The table.
    where : str
        Its place in the recipe.
    scale : {"linear", "log"}
        What counts where it names none.

    Raises
    ------
    UsageError
        If it is no range.
    """
    only_known(given, ("low", "high", "scale"), where)
    for key in ("low", "high"):
        if key not in given:
            raise UsageError(f"{where}: {key} is missing; expected low and high, or a list")
        if not is_number(given[key]):
            raise UsageError(f"{where}: {key} is {given[key]!r}; expected a number")
    low, high = float(given["low"]), float(given["high"])
    scale = given.get("scale", scale)
    if scale not in SCALES:
        raise UsageError(f"{where}: unknown scale {scale!r}; {nearest(scale, SCALES)}")
    if low > high:
        raise UsageError(f"{where}: low is {low:g}, above high, {high:g}; exchange them")
    if scale == "log" and low <= 0:
        raise UsageError(
            f"{where}: low is {low:g}; expected a positive number on a logarithmic scale"
        )
    return low, high, scale
