"""Recipes: a TOML file that names the grid of organisms to train and what to keep of them."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError, UsageError
from lrplan.registry import Registry, nearest
from lrplan.simulate.architectures import architectures
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.rules import rules
from lrplan.simulate.tasks import tasks

SCHEDULES = ("cosine", "constant")
STARTS = ("random", "pretrained")
REGISTRIES: dict[str, Registry[Any]] = {
    "rule": rules,
    "architecture": architectures,
    "task": tasks,
}
GRID = (
    *("rule", "architecture", "task", "batch_size", "learning_rate", "learning_rate_batch"),
    *("model_seed", "data_seed", "training"),
)
TRAINING = ("epochs", "checkpoints", "schedule", "start", "pretrain_epochs")


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
    training = _table(raw, "training", origin)
    _known(training, TRAINING, f"{origin} [training]")
    checkpoints = _whole(training.get("checkpoints", 21), "checkpoints", origin, least=2)
    settings = {kind: _table(raw, kind, origin) for kind in ("rules", "architectures", "tasks")}
    _check_settings(settings, origin)
    specs = []
    for grid, where in _grids(raw, origin):
        _known(grid, GRID, where)
        own = _table(grid, "training", where)
        _known(own, [k for k in TRAINING if k != "checkpoints"], f"{where} [training]")
        both = dict(training) | own
        epochs, kept = _training(both, f"{origin} [training]" if not own else f"{where} [training]")
        for point, rate in _points(grid, where):
            given = {
                kind: dict(settings[kind + "s"].get(point[kind], {}))
                for kind in ("rule", "architecture", "task")
            }
            given["training"] = kept
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


def _grids(raw: Mapping[str, Any], origin: str) -> list[tuple[dict[str, Any], str]]:
    """Return every grid, and what to call it in messages: one ``[grid]``, or many ``[[grid]]``."""
    grids = raw.get("grid", {})
    if not isinstance(grids, list):
        return [(_table(raw, "grid", origin), f"{origin} [grid]")]
    if not grids or not all(isinstance(grid, dict) for grid in grids):
        raise UsageError(f"{origin}: grid is {grids!r}; expected tables, each headed [[grid]]")
    return [(grid, f"{origin} [[grid]] {i + 1}") for i, grid in enumerate(grids)]


def _training(given: Mapping[str, Any], where: str) -> tuple[int, dict[str, Any]]:
    """Return the epochs, and the settings of training that go into a spec.

    A start from random weights is not written down: specs from before there was another keep
    their hash.
    """
    epochs = _whole(given.get("epochs", 40), "epochs", where, least=1)
    schedule = given.get("schedule", "cosine")
    if schedule not in SCHEDULES:
        raise UsageError(f"{where}: unknown schedule {schedule!r}; {nearest(schedule, SCHEDULES)}")
    kept: dict[str, Any] = {"schedule": schedule}
    start = given.get("start", "random")
    if start not in STARTS:
        raise UsageError(f"{where}: unknown start {start!r}; {nearest(start, STARTS)}")
    if start == "pretrained":
        kept["start"] = start
        before = given.get("pretrain_epochs", epochs)
        kept["pretrain_epochs"] = _whole(before, "pretrain_epochs", where, least=1)
    elif "pretrain_epochs" in given:
        raise UsageError(f"{where}: pretrain_epochs is given; it needs start = 'pretrained'")
    return epochs, kept


def _points(grid: Mapping[str, Any], where: str) -> list[tuple[dict[str, Any], float]]:
    """Return every combination of a grid's values, with each of its learning rates."""
    lists: dict[str, list[Any]] = {}
    for key in REGISTRIES:
        lists[key] = _list(grid, key, where)
        for value in lists[key]:
            REGISTRIES[key].get(value)
    for key, default, least in (
        ("batch_size", [64], 2),
        ("model_seed", [0], 0),
        ("data_seed", [0], 0),
    ):
        lists[key] = [
            _whole(v, key, where, least=least)
            for v in _list({key: default} | dict(grid), key, where)
        ]
    reference = grid.get("learning_rate_batch")
    if reference is not None:
        _whole(reference, "learning_rate_batch", where, least=1)
    points = []
    for values in itertools.product(*lists.values()):
        point = dict(zip(lists, values, strict=True))
        for rate in _learning_rates(grid.get("learning_rate"), point, where):
            scale = 1.0 if reference is None else point["batch_size"] / reference
            points.append((point, rate * scale))
    return points


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
        elif key == "angles":
            if not isinstance(value, bool):
                raise UsageError(
                    f"{origin} [storage]: angles is {value!r}; expected true or false"
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


def _known(raw: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in raw:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}; {nearest(key, known)}")


def _list(grid: Mapping[str, Any], key: str, where: str) -> list[Any]:
    if key not in grid:
        raise UsageError(f"{where}: {key} is missing; expected a list")
    value = grid[key]
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"{where}: {key} is empty; expected at least one value")
    return values


def _whole(value: Any, key: str, origin: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise UsageError(
            f"{origin}: {key} is {value!r}; expected a whole number of at least {least}"
        )
    return value


def _learning_rates(given: Any, point: Mapping[str, Any], where: str) -> list[float]:
    """Return the rates of one combination of rule, architecture and task.

    They are a number or a list for all, or a table by rule, whose values may be tables by
    architecture or by task, and theirs by the other; ``default`` stands for the rest.
    """
    rule = point["rule"]
    if isinstance(given, dict):
        for name in given:
            rules.get(name)
        given = given.get(rule)
        left = ["architecture", "task"]
        while isinstance(given, dict):
            kind = _kind_of_keys(given, left, f"{where} learning_rate of {rule}")
            left.remove(kind)
            given = given.get(point[kind], given.get("default"))
    if given is None:
        given = rules.get(rule).learning_rate
    rates = given if isinstance(given, list) else [given]
    if not rates:
        raise UsageError(f"{where}: learning_rate of {rule} is empty; expected a number")
    for rate in rates:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1e6:
            raise UsageError(
                f"{where}: learning_rate {rate!r} of {rule}; expected a positive number"
            )
    return [float(rate) for rate in rates]


def _kind_of_keys(table: Mapping[str, Any], kinds: Sequence[str], where: str) -> str:
    """Say whether a table is one by architecture or by task; an unknown name is refused."""
    names = [name for name in table if name != "default"]
    for kind in kinds:
        if any(name in REGISTRIES[kind].names() for name in names):
            for name in names:
                if name not in REGISTRIES[kind].names():
                    raise UsageError(
                        f"{where}: unknown {kind} {name!r}; "
                        f"{nearest(name, REGISTRIES[kind].names())}"
                    )
            return kind
    if names and kinds:
        known = [name for kind in kinds for name in REGISTRIES[kind].names()]
        raise UsageError(
            f"{where}: unknown {' or '.join(kinds)} {names[0]!r}; {nearest(names[0], known)}"
        )
    if not kinds:
        raise UsageError(f"{where} is a table within two tables; expected a number or a list")
    return kinds[0]
