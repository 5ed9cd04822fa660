"""``lrplan tune``: find the learning rates of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrplan.cli import _options, _output
from lrplan.cli.simulate import DEVICES, Account, Interrupted, time_lines
from lrplan.errors import EXIT_CANNOT_TELL, EXIT_DONE, UsageError

if TYPE_CHECKING:
    from lrplan.simulate.run.recipe import Recipe
    from lrplan.simulate.run.tune import Found, Tuning

EPILOG = """\b
Examples:
  lrplan tune recipe.toml --out tuned.toml --dry-run
  lrplan tune recipe.toml --out tuned.toml --workers 4
  lrplan tune recipe.toml --out tuned.toml --table tried.csv --json

The search space stands in [tune] of the recipe; without one, rates from a thirtieth of a rule's own
to thirty times that are tried. Test data are not looked at. A search that was stopped, by Ctrl-C or
otherwise, goes on when the same command is given again. Exit code 4: for some rule, architecture
and task nothing was found, and the recipe keeps its rate."""


def tune(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe, a TOML file.")],
    out: Annotated[
        Path,
        typer.Option(metavar="RECIPE", help="Recipe to write: the same text but for its rates."),
    ],
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table to write of all that was tried: .csv, or anything else for tabs.",
            show_default="beside --out, ending in .tsv",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            parser=_options.whole,
            metavar="N",
            help="Processes.",
            show_default="one per core; on a GPU at most 8, and as its memory allows",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(metavar="auto|cpu|cuda", help="'auto' takes a GPU where there is one."),
    ] = "auto",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of data that lrplan does not bring; `lrplan list tasks` says what goes "
            "there.",
            show_default="the variable LRPLAN_DATA",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train nothing: say how many organisms are trained and how long."
        ),
    ] = False,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Find the learning rates of a recipe on a part of its training data."""
    from lrplan.arguments import positive_int
    from lrplan.registry import nearest

    if workers is not None:
        positive_int(workers, "workers")
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; {nearest(device, DEVICES)}")
    account = Account(quiet=quiet)
    try:
        from lrplan.simulate.run.recipe import read_recipe
        from lrplan.simulate.run.tune import tune as search

        content = read_recipe(recipe)
        if dry_run:
            _dry_run(content, out, workers, device, data, json=json, quiet=quiet)
            return
        with account:
            found = search(
                content,
                out,
                table=table,
                workers=workers,
                device=device,
                data=data,
                on_start=account.start,
                on_organism=lambda spec, diverged: account.advance(diverged),
                on_note=lambda text: _output.note(text, quiet=quiet),
                on_progress=account.progress,
            )
    except KeyboardInterrupt:
        raise Interrupted(account.kept(out)) from None
    written = table or out.with_suffix(".tsv")
    if json:
        _output.emit_json(_as_json(found, out, written, account.trained))
    else:
        _output.show(*_as_lines(found, out, written))
    raise typer.Exit(EXIT_CANNOT_TELL if found.unresolved else EXIT_DONE)


def _as_json(found: Tuning, out: Path, table: Path, trained: int) -> dict[str, Any]:
    """Return what was found as plain values."""
    return {
        "schema": "lrplan.tune/1",
        "recipe": str(out),
        "table": str(table),
        "trained": trained,
        "tried": len(found.trials),
        "unresolved": len(found.unresolved),
        "on_edge": len(found.on_edge),
        "found": [
            {
                "grid": f.cell.grid + 1 if f.cell.draws is None else None,
                "draw": None if f.cell.draws is None else f.cell.grid + 1,
                "rule": f.cell.spec.rule,
                "architecture": f.cell.spec.architecture,
                "task": f.cell.spec.task,
                "learning_rates": f.stated if isinstance(f.stated, list) else [f.stated],
                "settings": f.settings,
                "on_edge": bool(f.edges),
                "edges": f.edges,
                "trial": None if f.trial is None else f.trial.row(),
                "problem": f.problem or None,
            }
            for f in found.found
        ],
    }


def _as_lines(found: Tuning, out: Path, table: Path) -> Iterator[Any]:
    """Give what was found as a table, and what was not."""
    yield _output.table(
        "Performance on the validation part of the training data",
        ("rule", "architecture", "task", "rate", "settings", "right", "95% interval"),
        map(_row, found.found),
        numbers=5,
    )
    for f in found.unresolved:
        spec = f.cell.spec
        yield (
            f"Nothing was found for {spec.rule}, {spec.architecture}, {spec.task}: {f.problem}. "
            "The recipe keeps its rate; search another range, in [tune.learning_rate]."
        )
    yield from _edge_lines(found)
    yield f"{_output.plain(out)}: the recipe with these rates"
    yield f"{_output.plain(table)}: all that was tried"


def _edge_lines(found: Tuning) -> Iterator[str]:
    """Say once for each rule, architecture and task, in however many grids, what is at an edge."""
    ends: dict[tuple[str, str, str], dict[str, None]] = {}
    for f in found.on_edge:
        spec = f.cell.spec
        mine = ends.setdefault((spec.rule, spec.architecture, spec.task), {})
        mine.update(dict.fromkeys(f"{name} the {end}" for name, end in f.edges.items()))
    if ends:
        yield (
            "At the edge of the search space, where what lies beyond was not tried and may be "
            "better (widen [tune]):"
        )
    for place, mine in ends.items():
        yield f"  {', '.join(place)}: {' and '.join(mine)} that was tried"


def _row(found: Found) -> tuple[str, ...]:
    spec, trial = found.cell.spec, found.trial
    rates = _rates_words(found.stated)
    settings = ", ".join(f"{k} = {v:g}" for k, v in found.settings.items())
    told = (
        ("", "")
        if trial is None
        else (_output.percent(trial.performance), _output.percent_range(trial.low, trial.high))
    )
    return spec.rule, spec.architecture, spec.task, rates, settings, *told


def _rates_words(stated: Any) -> str:
    """Return learning rates in words, as a recipe states them."""
    if isinstance(stated, list):
        return ", ".join(f"{rate:g}" for rate in stated)
    if not isinstance(stated, dict):
        return f"{stated:g}"
    if "values" in stated:
        return _rates_words(stated["values"])
    return f"{stated['low']:g} to {stated['high']:g}"


def _dry_run(
    recipe: Recipe,
    out: Path,
    workers: int | None,
    device: str,
    data: Path | None,
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Print what a search would take."""
    from lrplan.simulate.run.preflight import data_in
    from lrplan.simulate.run.tune import plan

    _output.note("timing some steps of each kind of network; a minute at most", quiet=quiet)
    with data_in(data):
        found = plan(recipe, out, workers=workers, device=device)
    cost = found.cost
    if found.remark:
        _output.note(found.remark, quiet=quiet)
    if json:
        _output.emit_json(
            {
                "schema": "lrplan.tune.plan/1",
                "recipe": recipe.name,
                "searches": found.searches,
                "rungs": [
                    {"epochs": e, "candidates": c, "organisms": o}
                    for e, (c, o) in zip(found.epochs, found.rungs, strict=True)
                ],
                "organisms": cost.organisms,
                "done": cost.done,
                "device": cost.device,
                "workers": cost.workers,
                "work_seconds": cost.work_s,
                "wall_seconds": cost.wall_s,
                "data": [{"task": d.task, "problem": d.problem} for d in cost.data],
            }
        )
        return
    _output.show(
        _output.table(
            f"{recipe.name}: rates are searched for {found.searches:,} combinations of rule, "
            f"architecture and task; about {cost.organisms:,} organisms, {cost.done:,} of them "
            "finished",
            ("rung", "epochs", "candidates", "organisms"),
            (
                (i, ", ".join(map(str, epochs)), f"{c:,}", f"{o:,}")
                for i, (epochs, (c, o)) in enumerate(
                    zip(found.epochs, found.rungs, strict=True), start=1
                )
            ),
        ),
        *(time_lines(cost) or ["Nothing is left to train."]),
        *(
            f"Data of {d.task}: " + ("ready" if d.problem is None else f"MISSING: {d.problem}")
            for d in cost.data
        ),
    )
