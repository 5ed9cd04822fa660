"""Recipes: a TOML file that names the grid of organisms to train and what to keep of them."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lrplan.cohort.format import BITS
from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError, UsageError
from lrplan.registry import Registry, nearest
from lrplan.simulate.architectures import architectures
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.rules import rules
from lrplan.simulate.run._values import errors_at, like, list_of, only_known, table_of, whole
from lrplan.simulate.run.search import Search, parse_search
from lrplan.simulate.tasks import Task, tasks

SCHEDULES = ("cosine", "constant")
STARTS = ("random", "pretrained")
REGISTRIES: dict[str, Registry[Any]] = {
    "rule": rules,
    "architecture": architectures,
    "task": tasks,
}
GRID = (
    *("rule", "architecture", "task", "batch_size", "learning_rate", "learning_rate_batch"),
    *("model_seed", "data_seed", "training", "rules"),
)
TABLES = ("name", "grid", "training", "storage", "rules", "architectures", "tasks", "tune")
TRAINING = ("epochs", "checkpoints", "schedule", "start", "pretrain_epochs")


@dataclass(frozen=True)
class Cell:
    """One combination of rule, architecture and task in a grid.

    Parameters
    ----------
    grid : int
        Which of the recipe's grids, from 0.
    spec : OrganismSpec
        Its first organism, at the batch size for which the recipe states the rates.
    rates : tuple of float
        The learning rates that the recipe states.
    """

    grid: int
    spec: OrganismSpec
    rates: tuple[float, ...]


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
    cells : tuple of Cell
        What has a learning rate of its own, in the order of the grid.
    search : Search
        How ``lrplan tune`` looks for rates; nothing else reads it.
    """

    name: str
    specs: tuple[OrganismSpec, ...]
    storage: Storage = field(default_factory=Storage)
    text: str = ""
    cells: tuple[Cell, ...] = ()
    search: Search = field(default_factory=Search)


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
    only_known(raw, TABLES, origin)
    name = raw.get("name", "cohort")
    if not isinstance(name, str) or not name:
        raise UsageError(f"{origin}: name is {name!r}; expected a word")
    training = table_of(raw, "training", origin)
    only_known(training, TRAINING, f"{origin} [training]")
    checkpoints = whole(training.get("checkpoints", 21), "checkpoints", origin, least=2)
    settings = {kind: table_of(raw, kind, origin) for kind in ("rules", "architectures", "tasks")}
    _check_settings(settings, origin)
    specs: list[OrganismSpec] = []
    cells: dict[tuple[int, str, str, str], Cell] = {}
    for i, (grid, where) in enumerate(_grids(raw, origin)):
        only_known(grid, GRID, where)
        own = table_of(grid, "training", where)
        only_known(own, [k for k in TRAINING if k != "checkpoints"], f"{where} [training]")
        both = dict(training) | own
        epochs, kept = _training(both, f"{origin} [training]" if not own else f"{where} [training]")
        _check_rule_settings(table_of(grid, "rules", where), where)
        reference = grid.get("learning_rate_batch")
        if reference is not None:
            whole(reference, "learning_rate_batch", where, least=1)
        for point in _points(grid, where):
            given = {
                "rule": _rule_settings((settings["rules"], grid.get("rules", {})), point, where),
                "architecture": dict(settings["architectures"].get(point["architecture"], {})),
                "task": dict(settings["tasks"].get(point["task"], {})),
                "training": kept,
            }
            rates = _learning_rates(grid.get("learning_rate"), point, where)
            each = [
                OrganismSpec(
                    **point,
                    learning_rate=rate
                    if reference is None
                    else rate * point["batch_size"] / reference,
                    epochs=epochs,
                    checkpoints=checkpoints,
                    settings=given,
                )
                for rate in rates
            ]
            specs += each
            stated = replace(
                each[0], batch_size=reference or point["batch_size"], learning_rate=rates[0]
            )
            key = (i, point["rule"], point["architecture"], point["task"])
            cells.setdefault(key, Cell(i, stated, tuple(rates)))
    hashes = [s.hash for s in specs]
    if len(set(hashes)) != len(hashes):
        raise UsageError(
            f"{origin}: the grid names the same organism twice; remove the repeated value"
        )
    storage = _storage(table_of(raw, "storage", origin), origin)
    search = parse_search(table_of(raw, "tune", origin), f"{origin} [tune]")
    return Recipe(name, tuple(specs), storage, text, tuple(cells.values()), search)


def _grids(raw: Mapping[str, Any], origin: str) -> list[tuple[dict[str, Any], str]]:
    """Return every grid, and what to call it in messages: one ``[grid]``, or many ``[[grid]]``."""
    grids = raw.get("grid", {})
    if not isinstance(grids, list):
        return [(table_of(raw, "grid", origin), f"{origin} [grid]")]
    if not grids or not all(isinstance(grid, dict) for grid in grids):
        raise UsageError(f"{origin}: grid is {grids!r}; expected tables, each headed [[grid]]")
    return [(grid, f"{origin} [[grid]] {i + 1}") for i, grid in enumerate(grids)]


def _training(given: Mapping[str, Any], where: str) -> tuple[int, dict[str, Any]]:
    """Return the epochs, and the settings of training that go into a spec.

    A start from random weights is not written down: specs from before there was another keep
    their hash.
    """
    epochs = whole(given.get("epochs", 40), "epochs", where, least=1)
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
        kept["pretrain_epochs"] = whole(before, "pretrain_epochs", where, least=1)
    elif "pretrain_epochs" in given:
        raise UsageError(f"{where}: pretrain_epochs is given; it needs start = 'pretrained'")
    return epochs, kept


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


def _check_settings(settings: Mapping[str, Mapping[str, Any]], origin: str) -> None:
    _check_rule_settings(settings["rules"], origin)
    for kind in ("architectures", "tasks"):
        for name in settings[kind]:
            plugin = REGISTRIES[kind.removesuffix("s")].get(name)
            known, given = plugin.settings, table_of(settings[kind], name, origin)
            where = f"{origin} [{kind}.{name}]"
            if isinstance(plugin, Task):
                _refuse_moved(given, plugin, where)
            only_known(given, tuple(known), where)
            for key, value in given.items():
                like(value, known[key], key, where)


def _refuse_moved(given: Mapping[str, Any], task: Task, where: str) -> None:
    """Refuse settings that stand in a table of the task by now, and say how."""
    for table in dict.fromkeys(task.moved[key] for key in given if key in task.moved):
        old = [key for key in given if task.moved.get(key) == table]
        now = ", ".join(f"{key} = {given[key]!r}" for key in old)
        raise UsageError(
            f"{where}: {' and '.join(old)} moved into the table {table}; write "
            f"{table} = {{ {now} }}"
        )


def _check_rule_settings(given: Mapping[str, Any], origin: str) -> None:
    """Check the settings of rules, each a value or tables by architecture and task."""
    for name in given:
        rule = rules.get(name)
        for key, value in table_of(given, name, origin).items():
            where = f"{origin} [rules.{name}] {key}"
            for each in _leaves(value, where):
                with errors_at(where):
                    rule.with_settings({key: each})


def _leaves(value: Any, where: str, kinds: Sequence[str] = ("architecture", "task")) -> list[Any]:
    """Return all values of tables by architecture and task."""
    if not isinstance(value, dict):
        return [value]
    kind = _kind_of_keys(value, kinds, where)
    left = [k for k in kinds if k != kind]
    return [leaf for each in value.values() for leaf in _leaves(each, where, left)]


def _rule_settings(
    tables: Sequence[Mapping[str, Any]], point: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the settings of a rule for one architecture and task; the last table counts."""
    found = {}
    for table in tables:
        for key, value in table.get(point["rule"], {}).items():
            one = _at(value, point, f"{where} [rules.{point['rule']}] {key}")
            if one is not None:
                found[key] = one
    return found


def _at(given: Any, point: Mapping[str, Any], where: str) -> Any:
    """Return what stands for one combination: a value for all, or tables that lead to it.

    Tables are by architecture or by task, and theirs by the other; ``default`` stands for the
    rest. What stands nowhere is None.
    """
    left = ["architecture", "task"]
    while isinstance(given, dict):
        kind = _kind_of_keys(given, left, where)
        left.remove(kind)
        given = given.get(point[kind], given.get("default"))
    return given


def _storage(raw: Mapping[str, Any], origin: str) -> Storage:
    known = {f.name: f.default for f in fields(Storage)}
    only_known(raw, tuple(known), f"{origin} [storage]")
    for key, value in raw.items():
        if key == "populations":
            if value not in ("positions", "all"):
                raise UsageError(
                    f"{origin} [storage]: populations is {value!r}; expected 'positions' or 'all'"
                )
        elif key == "angles":
            if not isinstance(value, bool):
                raise UsageError(f"{origin} [storage]: angles is {value!r}; expected true or false")
        else:
            whole(value, key, f"{origin} [storage]", least=1)
    if raw.get("bits", Storage.bits) not in (*BITS, 16):
        few = ", ".join(map(str, BITS))
        raise UsageError(f"{origin} [storage]: bits is {raw['bits']!r}; expected {few} or 16")
    stimuli = raw.get("stimuli", Storage.stimuli)
    pair_stimuli = raw.get("pair_stimuli", min(Storage.pair_stimuli, stimuli))
    if pair_stimuli > stimuli:
        raise UsageError(
            f"{origin} [storage]: pair_stimuli is {pair_stimuli}; expected at most the {stimuli} "
            "stimuli that are stored"
        )
    return Storage(**{**raw, "pair_stimuli": pair_stimuli})


def _learning_rates(given: Any, point: Mapping[str, Any], where: str) -> list[float]:
    """Return the rates of one combination of rule, architecture and task.

    They are a number or a list for all, or a table by rule, whose values may be tables as for
    `_at`.
    """
    rule = point["rule"]
    if isinstance(given, dict):
        for name in given:
            rules.get(name)
        given = _at(given.get(rule), point, f"{where} learning_rate of {rule}")
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
