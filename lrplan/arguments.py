"""What users give to functions, checked: each error says what came and what was expected."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from lrplan.errors import UsageError


def positive_int(value: Any, what: str) -> int:
    """Return `value` as an int of at least 1 or say what came instead."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise UsageError(f"{what} is {value!r}; expected a whole number of at least 1")
    return int(value)
