"""``lrplan analyse``: ask one question of a cohort."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrplan.cli import _options, _output
from lrplan.cli._pictures import check_plot, save_figure

if TYPE_CHECKING:
    from lrplan.analyses import Result

EPILOG = """\b
Examples:
  lrplan list analyses
  lrplan analyse separation --split organism,layer
  lrplan analyse held_out cohort.zarr --condition task --plot held_out.pdf
  lrplan analyse confusion --measure activity --shuffle-labels --json"""

TABLES = (".csv", ".nc")


def _many(help_: str, metavar: str = "NAME") -> Any:
    return typer.Option(
        metavar=metavar, help=help_ + " Several with commas.", show_default="the analysis's own"
    )


def analyse(
    name: Annotated[str, typer.Argument(metavar="NAME", help="See `lrplan list analyses`.")],
    cohort: Annotated[
        str,
        typer.Argument(
            metavar="COHORT", help="'starter', or the path of a Zarr directory or zip file."
        ),
    ] = "starter",
    measure: Annotated[
        str | None,
        _many("activity, weights or paired, some of them joined by +, or 'all' joined."),
    ] = None,
    classifier: Annotated[str | None, _many("See `lrplan list classifiers`.")] = None,
    label: Annotated[
        str | None,
        _many(
            "What is told: rule, credit, optimizer, objective, architecture, task; for clustering "
            "also position."
        ),
    ] = None,
    rules: Annotated[str | None, _many("Only organisms of these rules.")] = None,
    split: Annotated[
        str | None,
        _many(
            "What stays together: organism, or layer, which leaks between the layers of an "
            "organism and is there to reproduce the paper.",
            "organism|layer",
        ),
    ] = None,
    splits: Annotated[
        int | None,
        typer.Option(
            parser=_options.whole,
            metavar="N",
            help="How many 75%/25% splits.",
            show_default="the analysis's own",
        ),
    ] = None,
    condition: Annotated[
        str | None,
        _many(
            "For held_out: architecture, curriculum, task, learning_rate, regularisation.",
        ),
    ] = None,
    match: Annotated[
        str | None, _many("For equal_performance: none, organisms, checkpoints, lowest.")
    ] = None,
    samples: Annotated[str | None, _many("For subsampling: how many sessions.", "N")] = None,
    period: Annotated[
        str | None, _many("For subsampling: checkpoints between sessions.", "K")
    ] = None,
    units: Annotated[str | None, _many("For units_noise: units recorded.", "N")] = None,
    noise: Annotated[str | None, _many("For units_noise: noise over signal.", "SD")] = None,
    observables: Annotated[
        str | None,
        _many("'paper' (the 24 that the paper was left with), 'all', or names."),
    ] = None,
    effort: Annotated[
        str | None,
        typer.Option(
            metavar="quick|paper",
            help="How widely classifiers search for their settings.",
            show_default="quick",
        ),
    ] = None,
    shuffle_labels: Annotated[
        bool,
        typer.Option(
            "--shuffle-labels", help="Let organisms swap labels: a control, to be at chance."
        ),
    ] = False,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also draw it (.png, .pdf, .svg).", show_default="no plot"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write it: the table (.csv) or all labelled arrays (.nc, NetCDF).",
            show_default="no file",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let files be replaced.")] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Ask one question of a cohort: what separates, what it costs, what it rests on."""
    from lrplan.analyses import analyses
    from lrplan.errors import UsageError

    analysis = analyses.get(name)
    given = {
        "measure": measure,
        "classifier": classifier,
        "label": label,
        "rules": rules,
        "split": split,
        "splits": splits,
        "condition": condition,
        "match": match,
        "samples": _numbers(samples, _options.whole),
        "period": _numbers(period, _options.whole),
        "units": _numbers(units, _options.whole),
        "noise": _numbers(noise, _options.number),
        "observables": _observables(observables),
        "effort": effort,
        "shuffle_labels": shuffle_labels or None,
    }
    options = {k: v for k, v in given.items() if v is not None}
    for option in options:
        if option not in analysis.options:
            takes = ", ".join("--" + o.replace("_", "-") for o in analysis.options if o in given)
            raise UsageError(f"{name} has no --{option.replace('_', '-')}; it takes {takes}")
    for option in ("split", "classifier", "match", "condition", "rules"):
        if option in options:
            options[option] = _several(options[option], analysis.defaults[option])
    if plot is not None:
        check_plot(plot, force=force)
    if out is not None:
        _check_out(out, force=force)

    import numpy as np

    from lrplan import open_cohort

    opened = open_cohort(cohort)
    _output.note(f"{name} of the cohort {opened.name}", quiet=quiet)
    result = analysis.run(opened, rng=np.random.default_rng(seed), **options)
    if json:
        _output.emit_json(result.to_json())
    else:
        _output.show(*result_parts(result))
    if out is not None:
        _output.note(f"writing {out}", quiet=quiet)
        _write(out, result)
    if plot is not None:
        _output.note(f"drawing {plot}", quiet=quiet)
        save_figure(plot, result)


def _several(value: str, default: Any) -> Any:
    """Return one word as it is where one is expected, and several as a list."""
    words = [w.strip() for w in value.split(",") if w.strip()]
    return words[0] if isinstance(default, str) and len(words) == 1 else words


def _numbers(value: str | None, parse: Any) -> list[Any] | None:
    return None if value is None else [parse(v) for v in _options.split_commas([value])]


def _observables(value: str | None) -> Any:
    if value in (None, "paper", "all"):
        return value
    return _options.split_commas([value])


def result_parts(result: Result) -> list[Any]:
    """Return a result as lines and tables."""
    columns, rows = result.table()
    # The words that name a figure come first, and stay where they are.
    first = next((i for i, v in enumerate(rows[0]) if isinstance(v, float)), 0) if rows else 0
    columns, rows = _with_intervals(columns, rows)
    shown = [[f"{v:.3f}" if isinstance(v, float) else v for v in row] for row in rows]
    told = {k: v for k, v in result.options.items() if v not in (None, False)}
    return [
        f"{result.analysis.replace('_', ' ')} of the cohort {result.cohort}: {_output.cell(told)}",
        _output.table(None, columns, shown, numbers=first),
        *(f"Warning: {w}" for w in result.warnings),
    ]


def _with_intervals(columns: list[str], rows: list[list[Any]]) -> tuple[list[str], list[list[Any]]]:
    """Put the ends of intervals into the column of their figure: a terminal is narrow.

    The ends of the first figure are called low and high, those of another NAME_low and NAME_high.
    """
    merged: dict[int, tuple[int, int]] = {}
    taken: set[int] = set()
    for i, name in enumerate(columns):
        ends = ("low", "high") if f"{name}_low" not in columns else (f"{name}_low", f"{name}_high")
        if not taken and columns[i + 1 : i + 3] == ["low", "high"]:
            ends = ("low", "high")
        elif ends == ("low", "high"):
            continue
        places = (columns.index(ends[0]), columns.index(ends[1]))
        merged[i] = places
        taken |= set(places)
    kept = [i for i in range(len(columns)) if i not in taken]

    def shown(row: list[Any], i: int) -> Any:
        if i not in merged:
            return row[i]
        low, high = (row[j] for j in merged[i])
        return f"{row[i]:.3f} [{low:.3f}, {high:.3f}]"

    return [columns[i] for i in kept], [[shown(row, i) for i in kept] for row in rows]


def _check_out(path: Path, *, force: bool) -> None:
    """Raise `UsageError` if a table cannot be written there, before any work is done."""
    from lrplan.errors import UsageError

    if path.suffix.lower() not in TABLES:
        raise UsageError(f"--out {path}: expected a name that ends in {', '.join(TABLES)}")
    if path.is_dir() or (not force and os.path.lexists(path)):
        raise UsageError(f"--out {path} exists; give another name, or --force to replace a file")
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no directory {path.parent}; make it first")


def _write(path: Path, result: Result) -> None:
    """Write a result; the file appears only when it is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix.lower() == ".csv":
            import csv

            columns, rows = result.table()
            with temporary.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([columns, *rows])
        else:
            dataset = result.dataset.assign_attrs(
                title=f"lrplan analyse {result.analysis}",
                cohort=result.cohort,
                options=_output.json_text(result.options),
                warnings="; ".join(result.warnings),
            )
            dataset.to_netcdf(temporary, engine="scipy")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
