"""Values in a recipe, checked: each error says where it stands and what was expected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lrplan.errors import UsageError
from lrplan.registry import nearest


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
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"{where}: {key} is empty; expected at least one value")
    return values


def whole(value: Any, key: str, origin: str, *, least: int) -> int:
    """Return a whole number of at least `least`, or refuse it."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise UsageError(
            f"{origin}: {key} is {value!r}; expected a whole number of at least {least}"
        )
    return value


def like(value: Any, default: Any, key: str, where: str) -> None:
    """Refuse a setting whose type is not that of its default."""
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
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise UsageError(f"{where}: {key} is {value!r}; expected a number")
    elif not isinstance(value, type(default)):
        raise UsageError(f"{where}: {key} is {value!r}; expected a value such as {default!r}")
