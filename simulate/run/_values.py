"""Values in a recipe, checked: each error says where it stands and what was expected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lrplan.errors import UsageError
from lrplan.registry import nearest


def is_number(value: Any) -> bool:
    """Say whether a value is a finite number, and no switch."""
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def is_distribution(value: Any) -> bool:
    """Say whether a value describes a distribution: a table with `low`, `high` or `values`."""
    return isinstance(value, dict) and any(key in value for key in ("low", "high", "values"))


def refuse_distribution(value: Any, where: str) -> None:
    """Refuse a distribution where a value is expected."""
    if is_distribution(value):
        raise UsageError(
            f"{where} is the distribution {value!r}, and nothing is drawn here; expected a value. "
            "Settings of a [[draw]] can be drawn"
        )


@contextmanager
def errors_at(where: str) -> Iterator[None]:
    """Say of usage errors raised meanwhile where in the recipe the value stands."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def table_of(raw: Mapping[str, Any], key: str, origin: str) -> dict[str, Any]:
    """Return the table under `key`, empty if there is none."""
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{origin}: {key} is {value!r}; expected a table, [{key}]")
    return value


def only_known(raw: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse a key that is not known."""
    for key in raw:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}; {nearest(key, known)}")


def list_of(grid: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """Return the values under `key`, one or a list of them."""
    if key not in grid:
        raise UsageError(f"{where}: {key} is missing; expected a list")
    value = grid[key]
    refuse_distribution(value, f"{where}: {key}")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"{where}: {key} is empty; expected at least one value")
    return values


def whole(value: Any, key: str, origin: str, *, least: int) -> int:
    """Return a whole number of at least `least`, or refuse it."""
    refuse_distribution(value, f"{origin}: {key}")
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise UsageError(
            f"{origin}: {key} is {value!r}; expected a whole number of at least {least}"
        )
    return value


def like(value: Any, default: Any, key: str, where: str) -> None:
    """Refuse a setting whose type is not that of its default."""
    refuse_distribution(value, f"{where}: {key}")
    if isinstance(default, list | tuple):
        if not isinstance(value, list) or not value:
            raise UsageError(f"{where}: {key} is {value!r}; expected a list such as {default!r}")
        for each in value:
            like(each, default[0], key, where)
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise UsageError(f"{where}: {key} is {value!r}; expected true or false")
    elif isinstance(default, int):
        whole(value, key, where, least=0)
    elif isinstance(default, float):
        if not is_number(value):
            raise UsageError(f"{where}: {key} is {value!r}; expected a number")
    elif not isinstance(value, type(default)):
        raise UsageError(f"{where}: {key} is {value!r}; expected a value such as {default!r}")
