"""Recipes: a TOML file that names the grid of organisms to train and what to keep of them."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lrplan.errors import DataError, UsageError
from lrplan.registry import Registry, nearest
from lrplan.simulate.architectures import architectures
from lrplan.simulate.rules import rules
from lrplan.simulate.tasks import tasks
from lrplan.spec import OrganismSpec

SCHEDULES = ("cosine", "constant")
REGISTRIES: dict[str, Registry[Any]] = {
    "rule": rules,
    "architecture": architectures,
    "task": tasks,
}
GRID = ("rule", "architecture", "task", "batch_size", "learning_rate", "model_seed", "data_seed")


@dataclass(frozen=True, kw_only=True)
class Storage:
    """What is kept of each organism at each checkpoint.

    Parameters
    ----------
    populations : {"positions", "all"}
        One early, one middle and one deep layer (the last at that position that has `units`
        units, or else the largest), or every layer.
    units, stimuli : int
        Responses of a fixed random sample of units to the same stimuli.
    synapses : int
        Weights, a fixed random sample of each layer.
    pairs, pair_stimuli : int
        Derivatives of `pairs` outputs by `pairs` inputs, for the first stimuli.
    validation : int
        Held-out images over which the observables are averaged.
    bits : {8, 16}
        Integers with a stored scale, or half-precision floats, in the packed cohort.
    """

    populations: str = "positions"
    units: int = 512
    stimuli: int = 8
    synapses: int = 320
    pairs: int = 18
    pair_stimuli: int = 4
    validation: int = 64
    bits: int = 8


@dataclass(frozen=True)
class Recipe:
    """A named grid of organisms.

    Parameters
    ----------
    name : str
        Of the cohort.
    specs : tuple of OrganismSpec
        In the order of the grid.
    storage : Storage
        What is kept.
    text : str
        The TOML it was read from.
    """

    name: str
    specs: tuple[OrganismSpec, ...]
    storage: Storage = field(default_factory=Storage)
    text: str = ""


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe file.

    Raises
    ------
    DataError
        If the file is missing, unreadable or not TOML.
    UsageError
        If it names what does not exist, or values that cannot be.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"no recipe at {path}; expected a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from None
    return parse_recipe(text, origin=str(path))


def parse_recipe(text: str, *, origin: str = "recipe") -> Recipe:
    """Check a recipe's text and spell out its organisms; errors as for `read_recipe`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{origin} is not valid TOML: {error}") from None
    _known(raw, ("name", "grid", "training", "storage", "rules", "architectures", "tasks"), origin)
    name = raw.get("name", "cohort")
    if not isinstance(name, str) or not name:
        raise UsageError(f"{origin}: name is {name!r}; expected a word")
    grid = _table(raw, "grid", origin)
    _known(grid, GRID, f"{origin} [grid]")
    training = _table(raw, "training", origin)
    _known(training, ("epochs", "checkpoints", "schedule"), f"{origin} [training]")
    settings = {kind: _table(raw, kind, origin) for kind in ("rules", "architectures", "tasks")}
    _check_settings(settings, origin)

    schedule = training.get("schedule", "cosine")
    if schedule not in SCHEDULES:
        raise UsageError(
            f"{origin} [training]: unknown schedule {schedule!r}; {nearest(schedule, SCHEDULES)}"
        )
    epochs = _whole(training.get("epochs", 40), "epochs", origin, least=1)
    checkpoints = _whole(training.get("checkpoints", 21), "checkpoints", origin, least=2)
    lists: dict[str, list[Any]] = {}
    for key in REGISTRIES:
        lists[key] = _list(grid, key, origin)
        for value in lists[key]:
            REGISTRIES[key].get(value)
    for key, default, least in (
        ("batch_size", [64], 2),
        ("model_seed", [0], 0),
        ("data_seed", [0], 0),
    ):
        lists[key] = [
            _whole(v, key, origin, least=least)
            for v in _list({key: default} | dict(grid), key, origin)
        ]
    specs = []
    for values in itertools.product(*lists.values()):
        point = dict(zip(lists, values, strict=True))
        rates = _learning_rates(
            grid.get("learning_rate"), point["rule"], point["architecture"], origin
        )
        for rate in rates:
            given = {
                kind: dict(settings[kind + "s"].get(point[kind], {}))
                for kind in ("rule", "architecture", "task")
            }
            given["training"] = {"schedule": schedule}
            specs.append(
                OrganismSpec(
                    **point,
                    learning_rate=rate,
                    epochs=epochs,
                    checkpoints=checkpoints,
                    settings=given,
                )
            )
    hashes = [s.hash for s in specs]
    if len(set(hashes)) != len(hashes):
        raise UsageError(
            f"{origin}: the grid names the same organism twice; remove the repeated value"
        )
    return Recipe(name, tuple(specs), _storage(_table(raw, "storage", origin), origin), text)


def _check_settings(settings: Mapping[str, Mapping[str, Any]], origin: str) -> None:
    for name in settings["rules"]:
        rules.get(name).with_settings(_table(settings["rules"], name, origin))
    for kind in ("architectures", "tasks"):
        for name in settings[kind]:
            known = REGISTRIES[kind.removesuffix("s")].get(name).settings
            given = _table(settings[kind], name, origin)
            _known(given, tuple(known), f"{origin} [{kind}.{name}]")
            for key, value in given.items():
                _like(value, known[key], key, f"{origin} [{kind}.{name}]")


def _like(value: Any, default: Any, key: str, where: str) -> None:
    """Refuse a setting whose type is not that of its default."""
    if isinstance(default, list | tuple):
        if not isinstance(value, list) or not value:
            raise UsageError(f"{where}: {key} is {value!r}; expected a list such as {default!r}")
        for each in value:
            _like(each, default[0], key, where)
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise UsageError(f"{where}: {key} is {value!r}; expected true or false")
    elif isinstance(default, int):
        _whole(value, key, where, least=0)
    elif isinstance(default, float):
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise UsageError(f"{where}: {key} is {value!r}; expected a number")
    elif not isinstance(value, type(default)):
        raise UsageError(f"{where}: {key} is {value!r}; expected a value such as {default!r}")


def _storage(raw: Mapping[str, Any], origin: str) -> Storage:
    known = {f.name: f.default for f in fields(Storage)}
    _known(raw, tuple(known), f"{origin} [storage]")
    for key, value in raw.items():
        if key == "populations":
            if value not in ("positions", "all"):
                raise UsageError(
                    f"{origin} [storage]: populations is {value!r}; expected 'positions' or 'all'"
                )
        else:
            _whole(value, key, f"{origin} [storage]", least=1)
    if raw.get("bits", 8) not in (8, 16):
        raise UsageError(f"{origin} [storage]: bits is {raw['bits']!r}; expected 8 or 16")
    stimuli = raw.get("stimuli", Storage.stimuli)
    pair_stimuli = raw.get("pair_stimuli", min(Storage.pair_stimuli, stimuli))
    if pair_stimuli > stimuli:
        raise UsageError(
            f"{origin} [storage]: pair_stimuli is {pair_stimuli}; expected at most the {stimuli} "
            "stimuli that are stored"
        )
    return Storage(**{**raw, "pair_stimuli": pair_stimuli})


def _table(raw: Mapping[str, Any], key: str, origin: str) -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{origin}: {key} is {value!r}; expected a table, [{key}]")
    return value


def _known(raw: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in raw:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}; {nearest(key, known)}")


def _list(grid: Mapping[str, Any], key: str, origin: str) -> list[Any]:
    if key not in grid:
        raise UsageError(f"{origin} [grid]: {key} is missing; expected a list")
    value = grid[key]
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"{origin} [grid]: {key} is empty; expected at least one value")
    return values


def _whole(value: Any, key: str, origin: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise UsageError(
            f"{origin}: {key} is {value!r}; expected a whole number of at least {least}"
        )
    return value


def _learning_rates(given: Any, rule: str, architecture: str, origin: str) -> list[float]:
    """Return the rates of one rule and architecture.

    They are one list for all, a table by rule, or a table by rule of tables by architecture with
    ``default`` for the rest.
    """
    if isinstance(given, dict):
        for name in given:
            rules.get(name)
        given = given.get(rule)
    if isinstance(given, dict):
        for name in given:
            if name != "default":
                architectures.get(name)
        given = given.get(architecture, given.get("default"))
    if given is None:
        given = rules.get(rule).learning_rate
    rates = given if isinstance(given, list) else [given]
    if not rates:
        raise UsageError(f"{origin} [grid]: learning_rate of {rule} is empty; expected a number")
    for rate in rates:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1e6:
            raise UsageError(
                f"{origin} [grid]: learning_rate {rate!r} of {rule}; expected a positive number"
            )
    return [float(rate) for rate in rates]
