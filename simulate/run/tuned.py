"""What a search of learning rates found, and the recipe and the table that are written of it."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import InlineTable

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import UsageError
from lrplan.simulate.run._values import is_distribution
from lrplan.simulate.run.distributions import DIGITS, Span
from lrplan.simulate.run.draws import Draws
from lrplan.simulate.run.recipe import Cell, Recipe, parse_recipe
from lrplan.simulate.run.search import Candidate, Search

COLUMNS = (
    *(
        "grid",
        "draw",
        "rule",
        "architecture",
        "task",
        "batch_size",
        "learning_rate",
        "settings",
        "rung",
    ),
    *("epochs", "updates", "seeds", "performance", "low", "high", "validation_examples", "loss"),
    *("diverged", "learned", "outcome", "edges"),
)


@dataclass(frozen=True)
class Trial:
    """One candidate in one rung, over its seeds.

    Parameters
    ----------
    cell : Cell
        Whose rate is sought.
    candidate : Candidate
        What was tried.
    rung : int
        From 1.
    epochs, updates : int
        How long it trained; where that is drawn, the longest.
    seeds : int
        Organisms that were trained: of drawn settings as many for each.
    performance : float
        Mean share of the validation examples that are judged rightly at the end; NaN if it
        diverged.
    low, high : float
        Wilson's 95% interval of it over the validation examples.
    examples : int
        In the validation part.
    loss : float
        Mean loss on them; NaN if it diverged.
    diverged : bool
        Whether any of the organisms did.
    learned : bool
        Whether all of them learned; of drawn settings, whether those of more than half did.
    outcome : {"kept", "dropped", "chosen"}
        Whether it went into the next rung; in the last, whether it was chosen.
    edges : mapping of str to {"lowest", "highest"}
        Which of its values lie at an end of what was tried, as `lrplan.simulate.run.search.edges`.
    """

    cell: Cell
    candidate: Candidate
    rung: int
    epochs: int
    updates: int
    seeds: int
    performance: float
    low: float
    high: float
    examples: int
    loss: float
    diverged: bool
    learned: bool
    outcome: str = "dropped"
    edges: Mapping[str, str] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return plain values by `COLUMNS`; what differs between draws is None, or left out."""
        cell, spec = self.cell, self.cell.spec
        settings = dict(self.candidate.settings)
        numbers: tuple[int | None, ...] = (None, cell.grid + 1)
        batch_size: int | None = spec.batch_size
        if cell.draws is None:
            settings = {**spec.settings["rule"], **settings}
            numbers = numbers[::-1]
        elif cell.draws.batch_size.stated() != batch_size:
            batch_size = None
        values = (
            *(*numbers, spec.rule, spec.architecture, spec.task, batch_size),
            *(self.candidate.learning_rate, settings, self.rung),
            *(self.epochs, self.updates, self.seeds, self.performance, self.low, self.high),
            *(self.examples, self.loss, self.diverged, self.learned, self.outcome),
            dict(self.edges),
        )
        return dict(zip(COLUMNS, values, strict=True))


@dataclass(frozen=True)
class Statement:
    """What a recipe is to state for one rule, architecture and task.

    Parameters
    ----------
    cell : Cell
        For what.
    candidate : Candidate or None
        The learning rate and settings; None keeps those of the recipe.
    spread : float
        As in `Search`.
    """

    cell: Cell
    candidate: Candidate | None
    spread: float = Search.spread

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates of a grid: as many as there were, in the same ratios, to three digits.

        The largest is the candidate's; smaller ones are no nearer to divergence.
        """
        if self.candidate is None or self.cell.draws is not None:
            return self.cell.rates
        largest, found = max(self.cell.rates), self.candidate.learning_rate
        return tuple(
            found if rate == largest else float(f"{found * rate / largest:.{DIGITS}g}")
            for rate in self.cell.rates
        )

    @property
    def stated(self) -> Any:
        """The learning rates as a recipe states them; draws are from a range about the one."""
        if self.candidate is None:
            return self.cell.stated
        if self.cell.draws is None:
            return replace(self.cell, rates=self.rates).stated
        found = self.candidate.learning_rate
        low, high = (
            float(f"{end:.{DIGITS}g}") for end in (found / self.spread, found * self.spread)
        )
        return Span(low, high, "log").stated()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the rule."""
        found = {} if self.candidate is None else self.candidate.settings
        return {**self.cell.spec.settings["rule"], **found}


@dataclass(frozen=True)
class Found:
    """What was found for one rule, architecture and task.

    Parameters
    ----------
    cell : Cell
        For what.
    trial : Trial or None
        The one that was chosen in the last rung.
    problem : str
        Why none was; then the recipe keeps its rates.
    spread : float
        As in `Search`.
    """

    cell: Cell
    trial: Trial | None
    problem: str = ""
    spread: float = Search.spread

    @property
    def statement(self) -> Statement:
        """What the recipe is to state."""
        candidate = None if self.trial is None else self.trial.candidate
        return Statement(self.cell, candidate, self.spread)

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates for a grid, as `Statement.rates`."""
        return self.statement.rates

    @property
    def stated(self) -> Any:
        """The learning rates as the recipe is to state them, as `Statement.stated`."""
        return self.statement.stated

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the rule for the recipe; of draws those that were found."""
        if self.cell.draws is not None:
            return {} if self.trial is None else dict(self.trial.candidate.settings)
        return self.statement.settings

    @property
    def edges(self) -> dict[str, str]:
        """Which of the values that were found lie at an end of what was tried, as `Trial.edges`."""
        return {} if self.trial is None else dict(self.trial.edges)


@dataclass(frozen=True)
class Tuning:
    """What a search came to.

    Parameters
    ----------
    found : tuple of Found
        For each rule, architecture and task of each grid, in the order of the recipe.
    trials : tuple of Trial
        All that was tried.
    text : str
        The recipe with what was found.
    """

    found: tuple[Found, ...]
    trials: tuple[Trial, ...]
    text: str

    @property
    def on_edge(self) -> list[Found]:
        """Those for which a value was found at an end of what was tried: beyond may be better."""
        return [f for f in self.found if f.edges]

    @property
    def unresolved(self) -> list[Found]:
        """Those for which nothing was found."""
        return [f for f in self.found if f.trial is None]


def check_statable(recipe: Recipe, candidates: Sequence[Sequence[Candidate]]) -> None:
    """Refuse, before anything is trained, a recipe that could not state what is found.

    Parameters
    ----------
    recipe : Recipe
        That is to be tuned.
    candidates : sequence of sequence of Candidate
        What is tried for each of its cells.

    Raises
    ------
    UsageError
        If organisms of several grids differ in nothing but what is searched, and so would be one
        if the same is found for both; if several rates of a grid would be one at three digits; or
        if a setting is searched that is drawn.
    """
    _refuse_alike(recipe)
    for cell, mine in zip(recipe.cells, candidates, strict=True):
        if cell.draws is not None:
            _refuse_drawn(cell, cell.draws, recipe.search.rules.get(cell.spec.rule, {}))
            continue
        for candidate in mine:
            rates = Statement(cell, candidate).rates
            if len(set(rates)) < len(rates):
                raise UsageError(
                    f"{_place(cell)} has the learning rates {list(cell.rates)}, which tune keeps "
                    f"in their ratio; with {candidate.learning_rate:g} as the largest they would "
                    f"be {list(rates)}, at {DIGITS} digits. Take rates that lie further apart"
                )
    # All else that could go wrong in writing goes wrong now.
    stated = []
    for cell, mine in zip(recipe.cells, candidates, strict=True):
        largest = max(mine, key=lambda candidate: candidate.learning_rate)
        stated.append(Statement(cell, largest, recipe.search.spread))
    recipe_text(recipe, stated)


def _refuse_drawn(cell: Cell, draws: Draws, searched: Iterable[str]) -> None:
    """Refuse to search for one value of a setting that is to have many."""
    for setting in searched:
        if draws.is_drawn(setting, cell.place):
            raise UsageError(
                f"{_place(cell)}: {setting} is drawn, and searched in [tune]: of the two leave out "
                "one"
            )


def _refuse_alike(recipe: Recipe) -> None:
    """Refuse organisms of several grids that only what is searched tells apart."""
    rates: dict[tuple[str, str, str], int] = {}
    grids = [cell for cell in recipe.cells if cell.draws is None]
    for cell in grids:
        key = _combination(cell.spec)
        rates[key] = max(rates.get(key, 0), len(cell.rates))
    alike = Counter(_but_for_what_is_searched(spec, recipe) for spec in recipe.of_grids)
    for spec in recipe.of_grids:
        key = _combination(spec)
        # Within one grid there is one for each of its rates.
        if alike[_but_for_what_is_searched(spec, recipe)] > rates[key]:
            cells = [cell for cell in grids if _combination(cell.spec) == key]
            searched = ["learning_rate", *recipe.search.rules.get(spec.rule, {})]
            raise UsageError(
                f"{', '.join(key)} stands in the grids "
                f"{' and '.join(str(cell.grid + 1) for cell in cells)}, with organisms that differ "
                f"in {' and '.join(searched)} alone, which tune searches: they would become one. "
                "Put them into one grid, with a list of rates, or give them seeds of their own"
            )


def _combination(spec: OrganismSpec) -> tuple[str, str, str]:
    return spec.rule, spec.architecture, spec.task


def _but_for_what_is_searched(spec: OrganismSpec, recipe: Recipe) -> str:
    """Return a name of an organism that its learning rate and searched settings leave as it is."""
    searched = recipe.search.rules.get(spec.rule, {})
    kept = {k: v for k, v in spec.settings["rule"].items() if k not in searched}
    return replace(spec, learning_rate=1.0, settings={**spec.settings, "rule": kept}).hash


def _place(cell: Cell) -> str:
    table = "grid" if cell.draws is None else "draw"
    return f"{', '.join(_combination(cell.spec))} of {table} {cell.grid + 1}"


def tuned_text(recipe: Recipe, found: Sequence[Found]) -> str:
    """Return a recipe's text with what was found, as `recipe_text`."""
    return recipe_text(recipe, [f.statement for f in found])


def recipe_text(recipe: Recipe, found: Sequence[Statement]) -> str:
    """Return a recipe's text with other rates and settings; comments and order stay.

    Learning rates go into ``[grid.learning_rate]``, settings that were searched into
    ``[grid.rules.NAME]``; those of draws into the like of ``[draw]``.
    """
    document = tomlkit.parse(recipe.text)
    for i, table in enumerate(_tables(document, "grid")):
        here = [f for f in found if f.cell.draws is None and f.cell.grid == i]
        _state_all(table, here, recipe.search)
    for i, table in enumerate(_tables(document, "draw")):
        here = [f for f in found if f.cell.draws is not None and f.cell.grid == i]
        _state_all(table, here, recipe.search)
    text = tomlkit.dumps(document)
    written = parse_recipe(text).cells
    if [(c.stated, dict(c.spec.settings["rule"])) for c in written] != [
        (f.stated, f.settings) for f in found
    ]:
        raise RuntimeError("the recipe that was written does not state what was found")
    return text


def _tables(document: Any, name: str) -> list[Any]:
    """Return the grids or draws of a document."""
    tables = document.get(name, [])
    return list(tables) if isinstance(tables, list) else [tables]


def _state_all(table: Any, found: Sequence[Statement], search: Search) -> None:
    """Put what was found into a grid, or into draws."""
    _state(table, "learning_rate", _rates(found))
    for rule in dict.fromkeys(f.cell.spec.rule for f in found):
        mine = [f for f in found if f.cell.spec.rule == rule]
        settings = _settings(mine, search.rules.get(rule, {}))
        if settings:
            _state(_table_in(table, "rules", super_table=True), rule, settings)


def _rates(found: Sequence[Statement]) -> dict[str, Any]:
    """Return the learning rates of one grid, or of draws, by rule."""
    out = {}
    for rule in dict.fromkeys(f.cell.spec.rule for f in found):
        mine = [f for f in found if f.cell.spec.rule == rule]
        out[rule] = _by_place(mine, [f.stated for f in mine])
    return out


def _settings(found: Sequence[Statement], searched: Iterable[str]) -> dict[str, Any]:
    """Return the settings of one rule that were searched; what is stated nowhere is left out."""
    out = {}
    for name in searched:
        values = [f.settings.get(name) for f in found]
        if any(value is not None for value in values):
            out[name] = _by_place(found, values)
    return out


def _state(parent: Any, name: str, values: Mapping[str, Any]) -> None:
    """Put values into the table `name` of a TOML table; what else it holds stays."""
    new = not _is_table(parent.get(name))
    table = _table_in(parent, name)
    for key, value in values.items():
        table[key] = _item(value)
    if new and not isinstance(table, InlineTable):
        table.add(tomlkit.nl())


def _table_in(parent: Any, name: str, *, super_table: bool = False) -> Any:
    """Return the table `name`, made if there is none; one rate for all rules gives way to it."""
    if not _is_table(parent.get(name)):
        old = parent.pop(name, None)
        inline = isinstance(parent, InlineTable)
        table = tomlkit.inline_table() if inline else tomlkit.table(super_table)
        if old is not None and old.trivia.comment:
            table.comment(old.trivia.comment)
        parent[name] = table
    return parent[name]


def _is_table(value: Any) -> bool:
    """Say whether a value is a table, and no distribution."""
    return isinstance(value, dict) and not is_distribution(value)


def _by_place(found: Sequence[Statement], values: Sequence[Any]) -> Any:
    """Return values as a recipe states them: one for all, or tables by architecture and task."""
    tables: dict[str, dict[str, Any]] = {}
    for f, value in zip(found, values, strict=True):
        # What is stated nowhere, a default, is left out.
        if value is not None:
            tables.setdefault(f.cell.spec.architecture, {})[f.cell.spec.task] = value
    if _alike(list(values)):
        return values[0]
    each = {}
    for architecture, by_task in tables.items():
        all_of_it = [
            v
            for f, v in zip(found, values, strict=True)
            if f.cell.spec.architecture == architecture
        ]
        each[architecture] = all_of_it[0] if _alike(all_of_it) else by_task
    return each


def _alike(values: list[Any]) -> bool:
    return all(value == values[0] for value in values)


def _item(value: Any) -> Any:
    """Return a value for a TOML document, tables within a line."""
    return tomlkit.value(_toml(value))


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{tomlkit.key(key).as_string()} = {_toml(v)}" for key, v in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    text: str = tomlkit.item(value).as_string()
    return text


def table_text(trials: Sequence[Trial], delimiter: str) -> str:
    """Return all that was tried as a table with a heading."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    for trial in trials:
        row = trial.row()
        for name in ("settings", "edges"):
            row[name] = " ".join(f"{key}={value}" for key, value in row[name].items())
        for key in ("performance", "low", "high", "loss"):
            row[key] = "" if row[key] != row[key] else f"{row[key]:.4f}"
        for key in ("diverged", "learned"):
            row[key] = "yes" if row[key] else "no"
        writer.writerow(row)
    return file.getvalue()


def write_whole(path: Path, text: str) -> None:
    """Write a file under a temporary name, and give it its own when all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def stands(path: Path) -> bool:
    """Say whether anything has this name, a link to nothing included."""
    return path.exists() or path.is_symlink()


def refuse_existing(option: str, path: Path) -> None:
    """Raise `UsageError` if something stands at `path`."""
    if stands(path):
        partial = path.with_name(path.name + ".partial")
        left = (
            f". {partial} holds organisms of a search; remove it if that search wrote {path}"
            if partial.is_dir()
            else ""
        )
        raise UsageError(
            f"{option} {path} exists; nothing is overwritten. Give another name, or move it away"
            + left
        )


def refuse_no_directory(option: str, path: Path) -> None:
    """Raise `UsageError` if there is no directory to hold `path`."""
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no directory {path.parent}; make it first")
