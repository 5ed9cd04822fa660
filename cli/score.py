"""``lrplan score``: what a recording says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrplan.cli import _options, _output
from lrplan.errors import EXIT_CANNOT_TELL, UsageError

EPILOG = """\b
Examples:
  lrplan score day1.nwb day2.nwb day3.nwb
  lrplan score mouse.nwb --checkpoint-by block:day --label stimulus_name --window 0.1,0.6
  lrplan score rehearsal/*.nwb --without 0123456789abcdef --json

Exit code 4 means: done, but the answer is 'cannot tell'."""


def score(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="NWB files: one per session, or one with all."),
    ],
    cohort: _options.Cohort = "starter",
    include_unlearned: _options.IncludeUnlearned = False,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Organisms to leave out of training; several by repeating it or with commas.",
            show_default="none",
        ),
    ] = None,
    position: Annotated[
        str,
        typer.Option(
            metavar="early|middle|deep|unknown", help="Where the recorded area lies, if known."
        ),
    ] = "unknown",
    noise: Annotated[
        float | None,
        typer.Option(
            parser=_options.number,
            metavar="SD",
            help="Noise of one response, as a fraction of the signal's standard deviation.",
            show_default="estimated from how trials vary",
        ),
    ] = None,
    units_table: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Table of units in the file.", show_default="found in the file"
        ),
    ] = None,
    signal: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="ROI series to read, by name or path.",
            show_default="dF/F, or computed from raw fluorescence",
        ),
    ] = None,
    intervals: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Table of trials.", show_default="found in the file"),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the trials that names the stimulus.",
            show_default="chosen by name",
        ),
    ] = None,
    align: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of times, in seconds, to which the window refers.",
            show_default="start_time",
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="[START,]END",
            help="Window of a response, in seconds after --align.",
            show_default="the whole trial; 0,1 where it has no end or --align is given",
        ),
    ] = None,
    checkpoint_by: Annotated[
        str | None,
        typer.Option(
            metavar="session|block:COLUMN",
            help="What is one session: each file, or each value of a column of the trials.",
            show_default="each file; a column that tells sessions apart in a single file",
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            metavar="time|name|given",
            help="Order of the files.",
            show_default="by start time, else by name",
        ),
    ] = None,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Say which rule a recording speaks for, or 'cannot tell'."""
    window_s = parse_window(window)
    left_out = _options.words(without, "--without")
    if position not in ("early", "middle", "deep", "unknown"):
        from lrplan.registry import nearest

        known = ("early", "middle", "deep", "unknown")
        raise UsageError(f"unknown position {position!r}; {nearest(position, known)}")

    if noise is not None:
        from lrplan.measure.design import Design

        Design(noise=noise)

    import numpy as np

    from lrplan import open_cohort, read_nwb

    recording = read_nwb(
        files,
        units=units_table,
        signal=signal,
        intervals=intervals,
        label=label,
        align=align,
        window_s=window_s,
        checkpoint_by=checkpoint_by,
        order=order,
    )
    opened = open_cohort(cohort, include_unlearned=include_unlearned)

    from lrplan import score as score_recording

    _output.note(
        f"training on virtual recordings of the cohort {opened.name} made as {recording.source}",
        quiet=quiet,
    )
    verdict = score_recording(
        recording,
        opened,
        rng=np.random.default_rng(seed),
        without=left_out,
        position=position,
        noise=noise,
    )
    if json:
        _output.emit_json(verdict.to_json())
    else:
        _output.show(*verdict.lines())
    if verdict.answer is None:
        raise typer.Exit(EXIT_CANNOT_TELL)


def parse_window(text: str | None) -> float | tuple[float, float] | None:
    """Return ``END`` or ``START,END`` in seconds; the reader checks what they mean."""
    if text is None:
        return None
    try:
        numbers = [float(n) for n in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    raise UsageError(
        f"--window is {text!r}; expected an end, or a start and an end, in seconds, such as 0.5 "
        "or 0.1,0.6"
    )
