"""What users give to functions, checked: each error says what came and what was expected."""

from __future__ import annotations

from math import isfinite, nan
from numbers import Integral, Real
from typing import Any

import numpy as np

from lrplan.errors import UsageError


def positive_int(value: Any, what: str) -> int:
    """Return `value` as an int of at least 1 or say what came instead."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise UsageError(f"{what} is {value!r}; expected a whole number of at least 1")
    return int(value)


def finite_number(value: Any, what: str) -> float:
    """Return `value` as a float of at least 0 or say what came instead."""
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
    except OverflowError:
        number = nan
    if not isfinite(number) or number < 0:
        raise UsageError(f"{what} is {value!r}; expected a finite number of at least 0")
    return number


def generator(rng: Any) -> np.random.Generator:
    """Return a generator: the one given, or one that an integer seeds.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, bool) or not isinstance(rng, Integral) or int(rng) < 0:
        raise UsageError(
            f"rng is {rng!r}; expected a numpy.random.Generator or a whole number of at least 0"
        )
    return np.random.default_rng(int(rng))
