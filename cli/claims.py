"""``lrplan claims``: which of the paper's claims hold on a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrplan.cli import _options, _output
from lrplan.cli._pictures import check_plot, save_figure

if TYPE_CHECKING:
    from lrplan.claims import Claim

EPILOG = """\b
Examples:
  lrplan claims starter
  lrplan claims cohort.zarr --claim 1 --claim 5
  lrplan claims starter --json --quiet > claims.json"""


def claims(
    cohort: _options.CohortPath,
    claim: Annotated[
        list[int] | None,
        typer.Option(
            parser=_options.whole,
            metavar="N",
            help="Only this one, 1 to 15; several by repeating it.",
            show_default="all",
        ),
    ] = None,
    include_unlearned: _options.IncludeUnlearned = False,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also draw them (.png, .pdf, .svg).", show_default="no plot"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --plot replace a file.")] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Test the claims of Nayebi et al. (2020) on a cohort: holds, fails or undecided."""
    if plot is not None:
        check_plot(plot, force=force)

    import numpy as np

    from lrplan import evaluate_claims, open_cohort

    opened = open_cohort(cohort, include_unlearned=include_unlearned)
    _output.note(f"testing claims on the cohort {opened.name}", quiet=quiet)

    def done(found: Claim) -> None:
        _output.note(f"claim {found.id} ({found.short}): {found.result}", quiet=quiet)

    report = evaluate_claims(
        opened, rng=np.random.default_rng(seed), claims=claim or None, done=done
    )
    if json:
        _output.emit_json(report.to_json())
    else:
        _output.show(*report.lines())
    if plot is not None:
        _output.note(f"drawing {plot}", quiet=quiet)
        save_figure(plot, report)
