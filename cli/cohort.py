"""``lrplan cohort``: look into cohorts, check, join and divide them, bring in a published one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lrplan.cli import _options, _output

EPILOG = """\b
Examples:
  lrplan cohort info starter
  lrplan cohort check cohort.zarr
  lrplan cohort merge monday.zarr tuesday.zarr --out both.zarr
  lrplan cohort select starter --rule adam,sgdm --out two.zarr
  lrplan cohort import dataset.pkl --out paper.zarr"""
INFO_EPILOG = """\b
Examples:
  lrplan cohort info starter
  lrplan cohort info cohort.zarr --json"""
ORGANISMS_EPILOG = """\b
Examples:
  lrplan cohort organisms starter
  lrplan cohort organisms cohort.zarr --json"""
CHECK_EPILOG = """\b
Examples:
  lrplan cohort check cohort.zarr
  lrplan cohort check cohort.zarr.zip --json

Exit codes: 0 sound, 3 not sound, or no cohort at all."""
MERGE_EPILOG = """\b
Examples:
  lrplan cohort merge monday.zarr tuesday.zarr --out both.zarr
  lrplan cohort merge a.zarr b.zarr c.zarr --skip-duplicates --out all.zarr.zip"""
SELECT_EPILOG = """\b
Examples:
  lrplan cohort select starter --rule adam,sgdm --task digits --out two.zarr
  lrplan cohort select cohort.zarr --exclude-diverged --exclude-unlearned --out sound.zarr.zip"""
IMPORT_EPILOG = """\b
Examples:
  lrplan cohort import dataset.pkl --out paper.zarr
  lrplan cohort import dataset.pkl --map names.toml --out paper.zarr
  lrplan design --cohort paper.zarr --units all --noise 0 --scaling raw

The file is read without running anything that it names; what asks for more than numpy arrays is
refused. A map is TOML with the tables [meta], [observables], [rules], [tasks], [architectures] and
[constants]; see docs/cohorts.md."""

NewCohort = Annotated[
    Path,
    typer.Option(
        "--out", metavar="PATH", help="Cohort to write: a new directory, or a new .zip file."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS", help="What the new cohort calls itself.", show_default="as --out"
    ),
]


def _any_of(what: str, metavar: str = "NAME,...") -> Any:
    return typer.Option(metavar=metavar, help=f"{what}, any of these; repeated, or with commas.")


def info(
    cohort: _options.CohortPath, json: _options.Json = False, quiet: _options.Quiet = False
) -> None:
    """Summarise a cohort: organisms by rule, what is stored, final performance, what learned."""
    from lrplan import open_cohort
    from lrplan.cohort.texts import info_lines

    summary = open_cohort(cohort).info()
    if json:
        _output.emit_json(summary)
    else:
        _output.show(*info_lines(summary))


def organisms(
    cohort: _options.CohortPath, json: _options.Json = False, quiet: _options.Quiet = False
) -> None:
    """List the organisms of a cohort: labels, hyperparameters, layers, final performance."""
    from lrplan import open_cohort
    from lrplan.cohort.texts import organism_lines

    records = open_cohort(cohort).organism_table()
    if json:
        _output.emit_json(records)
    else:
        _output.show(*organism_lines(records))


def check(
    cohort: _options.CohortPath, json: _options.Json = False, quiet: _options.Quiet = False
) -> None:
    """Read all of a cohort and say what is wrong with it."""
    from lrplan.cohort.check import check as check_cohort
    from lrplan.errors import EXIT_DATA

    found = check_cohort(cohort)
    if json:
        _output.emit_json(found.to_json())
    else:
        _output.show(*found.lines())
    if not found.sound:
        raise typer.Exit(EXIT_DATA)


def merge(
    cohorts: Annotated[
        list[str], typer.Argument(metavar="COHORT COHORT...", help="Two cohorts or more.")
    ],
    out: NewCohort,
    skip_duplicates: Annotated[
        bool,
        typer.Option(
            "--skip-duplicates",
            help="Keep the first of organisms that are in several cohorts, if they are equal.",
        ),
    ] = False,
    name: Name = None,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Join cohorts that store the same things."""
    from lrplan.cohort.merge import merge as merge_cohorts

    made = merge_cohorts(cohorts, out, name=name, skip_duplicates=skip_duplicates)
    skipped = sorted({i for s in made.attributes["sources"] for i in s.get("skipped", ())})
    if skipped:
        _output.note(f"{len(skipped)} organisms that are there twice: kept once", quiet=quiet)
    _show_made(made.info(), out, json=json)


def select(
    cohort: _options.CohortPath,
    out: NewCohort,
    rule: Annotated[list[str] | None, _any_of("Rules")] = None,
    architecture: Annotated[list[str] | None, _any_of("Architectures")] = None,
    task: Annotated[list[str] | None, _any_of("Tasks")] = None,
    objective: Annotated[list[str] | None, _any_of("Objectives")] = None,
    batch_size: Annotated[list[str] | None, _any_of("Batch sizes", "N,...")] = None,
    organism: Annotated[
        list[str] | None, _any_of("Organisms, or the starts of their ids", "ID,...")
    ] = None,
    exclude_diverged: Annotated[
        bool, typer.Option("--exclude-diverged", help="Leave out what diverged in training.")
    ] = False,
    exclude_unlearned: Annotated[
        bool, typer.Option("--exclude-unlearned", help="Leave out what did not learn its task.")
    ] = False,
    name: Name = None,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Write a cohort of some organisms of another.

    An organism is taken if it satisfies every option.
    """
    from lrplan.cohort.select import select as select_organisms

    made = select_organisms(
        cohort,
        out,
        rule=_options.words(rule, "--rule"),
        architecture=_options.words(architecture, "--architecture"),
        task=_options.words(task, "--task"),
        objective=_options.words(objective, "--objective"),
        batch_size=[_options.whole(n) for n in _options.words(batch_size, "--batch-size")],
        organism=_options.words(organism, "--organism"),
        exclude_diverged=exclude_diverged,
        exclude_unlearned=exclude_unlearned,
        name=name,
    )
    _show_made(made.info(), out, json=json)


def import_(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The published dataset.pkl.")],
    out: NewCohort,
    map_: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE",
            help="TOML file that explains names which lrplan does not know.",
        ),
    ] = None,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Make a cohort of the published dataset.pkl.

    It holds the observables of Nayebi et al., NeurIPS 2020, and nothing of single units.
    """
    from lrplan.cohort.import_paper import import_paper, read_map

    made = import_paper(dataset, out, names=None if map_ is None else read_map(map_))
    told = ", ".join(f"{k} is the {v.replace('_', ' ')}" for k, v in made.fields.items())
    _output.note(f"fields of meta: {told}", quiet=quiet)
    for remark in made.notes:
        _output.note(remark, quiet=quiet)
    _show_made(made.cohort.info() | {"fields": made.fields, "notes": made.notes}, out, json=json)


def _show_made(summary: dict[str, Any], out: Path, *, json: bool) -> None:
    """Say what a new cohort holds."""
    from lrplan.cohort.texts import made_lines

    if json:
        _output.emit_json(summary)
    else:
        _output.show(*made_lines(summary, out))
