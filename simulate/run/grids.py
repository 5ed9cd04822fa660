"""Grids: organisms of all combinations of what a recipe lists."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import UsageError
from lrplan.simulate.rules import rules
from lrplan.simulate.run._values import (
    list_of,
    only_known,
    refuse_distribution,
    table_of,
    whole,
)
from lrplan.simulate.run.settings import (
    REGISTRIES,
    TRAINING,
    Common,
    at_place,
    check_rate,
    check_rule_settings,
    rule_settings,
    training_of,
)

GRID = (
    *("rule", "architecture", "task", "batch_size", "learning_rate", "learning_rate_batch"),
    *("model_seed", "data_seed", "training", "passive", "rules"),
)


def grid_points(
    grid: Mapping[str, Any], common: Common, where: str
) -> list[tuple[list[OrganismSpec], int, tuple[float, ...]]]:
    """Spell out one ``[[grid]]`` of a recipe.

    Parameters
    ----------
    grid : mapping
        As the TOML says it.
    common : Common
        What stands in the recipe for all its tables.
    where : str
        Its place in the recipe, for messages.

    Returns
    -------
    list of (list of OrganismSpec, int, tuple of float)
        For each combination but for learning rates: its organisms, one of each rate; the batch
        size for which the recipe states the rates; and those.

    Raises
    ------
    UsageError
        If it names what does not exist, or values that cannot be.
    """
    only_known(grid, GRID, where)
    own = table_of(grid, "training", where)
    only_known(own, [k for k in TRAINING if k != "checkpoints"], f"{where} [training]")
    epochs, kept = training_of(
        dict(common.training) | own, f"{where if own else common.origin} [training]"
    )
    check_rule_settings(table_of(grid, "rules", where), where)
    reference = grid.get("learning_rate_batch")
    if reference is not None:
        whole(reference, "learning_rate_batch", where, least=1)
    found = []
    for point in _points(grid, where):
        given = {
            "rule": rule_settings((common.rules, grid.get("rules", {})), point, where),
            "architecture": common.of("architectures", point["architecture"]),
            "task": common.of("tasks", point["task"]),
            "training": kept,
        }
        rates = _learning_rates(grid.get("learning_rate"), point, where)
        each = [
            OrganismSpec(
                **point,
                learning_rate=rate if reference is None else rate * point["batch_size"] / reference,
                epochs=epochs,
                checkpoints=common.checkpoints,
                settings=given,
            )
            for rate in rates
        ]
        found.append((each, reference or point["batch_size"], tuple(rates)))
    return found


def _points(grid: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Return every combination of a grid's values, learning rates left out."""
    lists: dict[str, list[Any]] = {}
    for key in REGISTRIES:
        lists[key] = list_of(grid, key, where)
        for value in lists[key]:
            REGISTRIES[key].get(value)
    for key, default, least in (
        ("batch_size", [64], 2),
        ("model_seed", [0], 0),
        ("data_seed", [0], 0),
    ):
        lists[key] = [
            whole(v, key, where, least=least)
            for v in list_of({key: default} | dict(grid), key, where)
        ]
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _learning_rates(given: Any, point: Mapping[str, Any], where: str) -> list[float]:
    """Return the rates of one combination of rule, architecture and task.

    They are a number or a list for all, or a table by rule, whose values may be tables as for
    `at_place`.
    """
    rule = point["rule"]
    refuse_distribution(given, f"{where}: learning_rate")
    if isinstance(given, dict):
        for name in given:
            rules.get(name)
        given = at_place(given.get(rule), point, f"{where} learning_rate of {rule}")
    if given is None:
        given = rules.get(rule).learning_rate
    rates = given if isinstance(given, list) else [given]
    if not rates:
        raise UsageError(f"{where}: learning_rate of {rule} is empty; expected a number")
    for rate in rates:
        check_rate(rate, rule, where)
    return [float(rate) for rate in rates]
