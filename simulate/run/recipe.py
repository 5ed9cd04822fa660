"""Recipes: a TOML file that names the organisms to train and what to keep of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lrplan.cohort.format import BITS
from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError, UsageError
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.run._values import only_known, table_of, whole
from lrplan.simulate.run.draws import Draws, parse_draws
from lrplan.simulate.run.grids import grid_points
from lrplan.simulate.run.passive import parse_passive
from lrplan.simulate.run.search import Search, parse_search
from lrplan.simulate.run.settings import Common

TABLES = (
    *("name", "grid", "draw", "training", "passive", "storage"),
    *("rules", "architectures", "tasks", "tune"),
)


@dataclass(frozen=True)
class Cell:
    """One combination of rule, architecture and task in a grid, or in draws.

    Parameters
    ----------
    grid : int
        Which of the recipe's grids, or of its draws, from 0.
    spec : OrganismSpec
        Its first organism, at the batch size for which the recipe states the rates. Of draws it
        is the first with this architecture and task, were all draws of them.
    rates : tuple of float
        The learning rates that a grid states.
    draws : Draws, optional
        What its settings are drawn from; None in a grid.
    """

    grid: int
    spec: OrganismSpec
    rates: tuple[float, ...] = ()
    draws: Draws | None = None

    @property
    def place(self) -> dict[str, str]:
        """The rule, architecture and task."""
        return {kind: getattr(self.spec, kind) for kind in ("rule", "architecture", "task")}

    @property
    def stated(self) -> Any:
        """Its learning rates as the recipe states them."""
        if self.draws is not None:
            return self.draws.rate(self.place).stated()
        return self.rates[0] if len(self.rates) == 1 else list(self.rates)

    def tried(self, rate: float, draws: int) -> list[OrganismSpec]:
        """Return organisms on which a learning rate can be tried.

        Parameters
        ----------
        rate : float
            As the recipe would state it.
        draws : int
            How many drawn settings, if there are as many; in a grid there is one organism.
        """
        if self.draws is None:
            return [replace(self.spec, learning_rate=rate)]
        return [
            replace(spec, learning_rate=self.draws.rate_at(rate, spec.batch_size))
            for spec in (
                self.draws.spec(i, **self.place) for i in range(min(draws, self.draws.count))
            )
        ]


@dataclass(frozen=True)
class Recipe:
    """Named organisms: of grids, and of draws.

    Parameters
    ----------
    name : str
        Of the cohort.
    specs : tuple of OrganismSpec
        In the order of the grids, then of the draws; then passive twins, in that order.
    storage : Storage
        What is kept.
    text : str
        The TOML it was read from.
    cells : tuple of Cell
        What has a learning rate of its own, in the order of the grids, then of the draws.
    search : Search
        How ``lrplan tune`` looks for rates; nothing else reads it.
    draws : tuple of Draws
        What settings are drawn from.
    """

    name: str
    specs: tuple[OrganismSpec, ...]
    storage: Storage = field(default_factory=Storage)
    text: str = ""
    cells: tuple[Cell, ...] = ()
    search: Search = field(default_factory=Search)
    draws: tuple[Draws, ...] = ()

    @property
    def learners(self) -> tuple[OrganismSpec, ...]:
        """The organisms that learn: all but passive twins."""
        return tuple(spec for spec in self.specs if not spec.is_passive)

    @property
    def of_grids(self) -> tuple[OrganismSpec, ...]:
        """The organisms of the grids alone, without passive twins."""
        drawn = sum(each.count * len(each.rules) for each in self.draws)
        learners = self.learners
        return learners[: len(learners) - drawn]


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
    common = Common.parse(raw, origin)
    draws = [parse_draws(table, common, where) for table, where in _tables(raw, "draw", origin)]
    specs: list[OrganismSpec] = []
    twins: list[OrganismSpec] = []
    cells: dict[tuple[int, str, str, str], Cell] = {}
    # A recipe of neither lacks a grid.
    grids = _tables(raw, "grid", origin) or ([] if draws else [({}, f"{origin} [grid]")])
    for i, (grid, where) in enumerate(grids):
        passive = parse_passive(_passive_tables(raw, grid, origin, where))
        for each, batch_size, rates in grid_points(grid, common, where):
            specs += each
            twins += passive.twins(each)
            first = each[0]
            stated = replace(first, batch_size=batch_size, learning_rate=rates[0])
            key = (i, first.rule, first.architecture, first.task)
            cells.setdefault(key, Cell(i, stated, rates))
    for each_draw, (table, where) in zip(draws, _tables(raw, "draw", origin), strict=True):
        passive = parse_passive(_passive_tables(raw, table, origin, where))
        drawn_specs = list(each_draw.specs())
        specs += drawn_specs
        twins += passive.twins(drawn_specs)
    drawn = [
        Cell(i, each.spec(0, **place), draws=each)
        for i, each in enumerate(draws)
        for place in each.places()
    ]
    _refuse_repeated(specs, origin)
    storage = _storage(table_of(raw, "storage", origin), origin)
    search = parse_search(table_of(raw, "tune", origin), f"{origin} [tune]")
    return Recipe(
        name, (*specs, *twins), storage, text, (*cells.values(), *drawn), search, tuple(draws)
    )


def _tables(raw: Mapping[str, Any], name: str, origin: str) -> list[tuple[dict[str, Any], str]]:
    """Return every grid or draw, and what to call it in messages.

    There is one ``[grid]``, or any number of ``[[grid]]``.
    """
    if name not in raw:
        return []
    tables = raw[name]
    if not isinstance(tables, list):
        return [(table_of(raw, name, origin), f"{origin} [{name}]")]
    if not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{origin}: {name} is {tables!r}; expected tables, each headed [[{name}]]")
    return [(table, f"{origin} [[{name}]] {i + 1}") for i, table in enumerate(tables)]


def _passive_tables(
    raw: Mapping[str, Any], table: Mapping[str, Any], origin: str, where: str
) -> list[tuple[dict[str, Any], str]]:
    """Return the ``[passive]`` tables of the recipe and of a grid or draw, as far as given."""
    return [
        (table_of(each, "passive", place), f"{place} [passive]")
        for each, place in ((raw, origin), (table, where))
        if "passive" in each
    ]


def _refuse_repeated(specs: Sequence[OrganismSpec], origin: str) -> None:
    """Refuse organisms that are the same."""
    if len({s.hash for s in specs}) != len(specs):
        raise UsageError(
            f"{origin}: the grid names the same organism twice; remove the repeated value, or "
            "give one [[draw]] another seed"
        )


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
