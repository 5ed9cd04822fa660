"""``lrplan analyse``: ask one question of a cohort.

Each analysis declares its own options; they are looked up once it is known which one is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrplan.cli import _options, _output
from lrplan.cli._files import check_file, written_whole
from lrplan.cli._pictures import check_plot, save_figure

if TYPE_CHECKING:
    from lrplan.analyses import Analysis, Option, Result

EPILOG = """\b
Examples:
  lrplan list analyses
  lrplan analyse separation --help
  lrplan analyse separation --split organism,layer
  lrplan analyse held_out cohort.zarr --condition task --plot held_out.pdf
  lrplan analyse confusion --measure activity --shuffle-labels --json"""
SETTINGS: dict[str, Any] = {
    "epilog": EPILOG,
    # What follows is read by `analyse` itself, which passes it on.
    "context_settings": {
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
}
TABLES = (".csv", ".nc")

NAME = Annotated[str, typer.Argument(metavar="NAME", help="See `lrplan list analyses`.")]
COMMON: dict[str, tuple[Any, Any]] = {
    "cohort": (_options.CohortPath, "starter"),
    "include_unlearned": (_options.IncludeUnlearned, False),
    "seed": (_options.Seed, 0),
    "json": (_options.Json, False),
    "plot": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="FILE", help="Also draw it (.png, .pdf, .svg).", show_default="no plot"
            ),
        ],
        None,
    ),
    "out": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help="Also write it: the table (.csv) or all labelled arrays (.nc, NetCDF).",
                show_default="no file",
            ),
        ],
        None,
    ),
    "force": (Annotated[bool, typer.Option("--force", help="Let files be replaced.")], False),
    "quiet": (_options.Quiet, False),
}
"""What the command takes for every analysis: type and default by name."""
COMMON_FLAGS = ("--include-unlearned", "--json", "--force", "--quiet", "-q", "--help", "-h")
COMMON_OPTIONS = (*COMMON_FLAGS, "--seed", "--plot", "--out")


def analyse(context: typer.Context) -> None:
    """Ask one question of a cohort: what separates, what it costs, what it rests on."""
    arguments = list(context.args)
    place = _place_of_name(arguments)
    analysis = None
    if place is not None:
        from lrplan.analyses import analyses

        analysis = analyses.get(arguments.pop(place))
        _check_options(arguments, analysis)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    names = {"help_option_names": ["-h", "--help"]}
    app.command(epilog=EPILOG, context_settings=names)(_command(analysis))
    path = "lrplan analyse" + (f" {analysis.name}" if analysis else "")
    command = typer.main.get_command(app)
    code = command.main(arguments, prog_name=path, standalone_mode=False)
    raise typer.Exit(code if isinstance(code, int) else 0)


def _place_of_name(arguments: Sequence[str]) -> int | None:
    """Return where the analysis is named: the first word that is no option and no value of one."""
    place = 0
    while place < len(arguments):
        word = arguments[place]
        if not word.startswith("-"):
            return place
        place += 1 if _stands_alone(word) else 2
    return None


def _stands_alone(word: str) -> bool:
    """Say whether no value of an option follows it."""
    if word in COMMON_FLAGS or "=" in word:
        return True
    from lrplan.analyses import FLAG, analyses

    declared = [o for _, a in analyses.items() for o in a.options.values() if o.flag == word]
    return any(o.kind is FLAG for o in declared)


def _check_options(arguments: Sequence[str], analysis: Analysis) -> None:
    """Raise `UsageError` for an option that the analysis does not have."""
    known = {o.flag for o in analysis.options.values()} | set(COMMON_OPTIONS)
    place = 0
    while place < len(arguments):
        option, has_value, _ = arguments[place].partition("=")
        if option.startswith("--") and len(option) > 2:
            if option not in known:
                from lrplan.errors import UsageError
                from lrplan.registry import nearest

                said = nearest(option, [o for o in known if o.startswith("--")])
                raise UsageError(
                    f"{analysis.name} has no {option}; {said}; see `lrplan analyse "
                    f"{analysis.name} --help`"
                )
            if not (has_value or _stands_alone(option)):
                place += 1
        place += 1


def _command(analysis: Analysis | None) -> Callable[..., None]:
    """Return the command that asks one analysis, with its options; without one, any."""

    def command(**given: Any) -> None:
        common = {name: given.pop(name) for name in COMMON}
        if analysis is not None:
            # An option that was not given is left to the analysis.
            asked = {k: v for k, v in given.items() if v is not None and v is not False}
            _ask(analysis.name, asked, **common)

    if analysis is None:
        parameters = {"name": (NAME, Parameter.empty), **COMMON}
        command.__doc__ = (
            f"{analyse.__doc__}\n\nAn analysis has options of its own: see `lrplan analyse NAME "
            "--help`."
        )
    else:
        own = {name: _parameter(option) for name, option in analysis.options.items()}
        parameters = {"cohort": COMMON["cohort"], **own, **COMMON}
        summary = analysis.summary
        command.__doc__ = (
            f"{summary[:1].upper()}{summary[1:]}?\n\nSource: {analysis.cites}. Needs: "
            f"{analysis.needs}."
        )
    made = [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in parameters.items()
    ]
    command.__signature__ = Signature(made)  # type: ignore[attr-defined]
    command.__annotations__ = {name: kind for name, (kind, _) in parameters.items()}
    return command


def _parameter(option: Option) -> tuple[Any, Any]:
    """Return an option of the command line: its type and its default."""
    from lrplan.analyses import FLAG
    from lrplan.errors import UsageError

    if option.kind is FLAG:
        return Annotated[bool, typer.Option(option.flag, help=option.help)], False

    def read(text: str) -> Any:
        try:
            return option.read(text)
        except UsageError as error:
            raise typer.BadParameter(str(error)) from None

    declared = typer.Option(
        option.flag,
        parser=read,
        metavar=option.metavar,
        help=option.help,
        show_default=option.shown_default or False,
    )
    return Annotated[Any, declared], None


def _ask(
    name: str,
    options: dict[str, Any],
    *,
    cohort: str,
    include_unlearned: bool,
    seed: int,
    json: bool,
    plot: Path | None,
    out: Path | None,
    force: bool,
    quiet: bool,
) -> None:
    """Ask, and write what was found where it was asked for."""
    if plot is not None:
        check_plot(plot, force=force)
    if out is not None:
        check_file("--out", out, TABLES, force=force)

    import numpy as np

    from lrplan import analyse, open_cohort

    opened = open_cohort(cohort, include_unlearned=include_unlearned)
    _output.note(f"{name} of the cohort {opened.name}", quiet=quiet)
    result = analyse(name, opened, rng=np.random.default_rng(seed), **options)
    if json:
        _output.emit_json(result.to_json())
    else:
        _output.show(*result.lines())
    if out is not None:
        _output.note(f"writing {out}", quiet=quiet)
        _write(out, result)
    if plot is not None:
        _output.note(f"drawing {plot}", quiet=quiet)
        save_figure(plot, result)


def _write(path: Path, result: Result) -> None:
    """Write a result; the file appears only when it is whole."""
    with written_whole(path) as temporary:
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
