"""``lrplan claims``: which of the paper's claims hold on a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrplan.cli import _options, _output
from lrplan.cli._pictures import check_plot, save_figure

if TYPE_CHECKING:
    from lrplan.claims.nayebi2020 import Claim, ClaimsReport

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

    from lrplan import open_cohort
    from lrplan.claims.nayebi2020 import evaluate_claims

    opened = open_cohort(cohort)
    _output.note(f"testing claims on the cohort {opened.name}", quiet=quiet)

    def done(found: Claim) -> None:
        _output.note(f"claim {found.id} ({found.short}): {found.result}", quiet=quiet)

    report = evaluate_claims(
        opened, rng=np.random.default_rng(seed), claims=claim or None, done=done
    )
    if json:
        _output.emit_json(report.to_json())
    else:
        _output.show(*claim_parts(report))
    if plot is not None:
        _output.note(f"drawing {plot}", quiet=quiet)
        save_figure(plot, report)


def claim_parts(report: ClaimsReport) -> list[Any]:
    """Return the claims as a table, and what stands behind each as lines."""
    rows = [
        [c.id, c.statement, c.result, _number(c.figure), _range(c.low, c.high)]
        for c in report.claims
    ]
    parts: list[Any] = [
        f"Claims of Nayebi et al. (2020) on the cohort {report.cohort}: {report.organisms} "
        f"organisms of {', '.join(report.rules)}",
        _output.table(None, ("", "claim", "result", "figure", "95% interval"), rows),
    ]
    for c in report.claims:
        parts.append(f"{c.id}. {c.note}")
    return parts + [f"Warning: {w}" for w in report.warnings]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
